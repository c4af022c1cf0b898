"""What each process must be allowed: derived from the plan, and no more than it says."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from learning.artefacts import FolderStore
from learning.following import following
from streams import Pipeline, Resource
from streams.access import Access, access_of_role, all_access, commands
from tests.integration.observed import made

PLAN = made("p", "m").plan


class Text(BaseModel):
    text: str


def topics(role: str, operation: str) -> set[str]:
    return {a.name for a in access_of_role(PLAN, role) if (a.resource, a.operation) == ("topic", operation)}


def test_only_ingress_reads_requests_and_only_the_closer_writes_answers() -> None:
    roles = ("ingress", *(stage.name for stage in PLAN.stages), "closer")
    assert [role for role in roles if "p.requests" in topics(role, "Read")] == ["ingress"]
    assert [role for role in roles if "p.answers" in topics(role, "Write")] == ["closer"]
    assert [role for role in roles if "p.control" in topics(role, "Write")] == ["closer"]


def test_a_stage_reads_its_sources_and_writes_its_topic() -> None:
    assert topics("verdict", "Read") == {"p.claims", "p.control"}
    assert topics("verdict", "Write") == {"p.verdict", "p.accepted", "p.dead-letters"}
    assert topics("draft", "Write") >= {"models.m.prompts"}
    assert "workers.state" in topics("draft", "Read")
    assert "workers.state" not in topics("verdict", "Read")


def test_a_stage_that_follows_a_model_reads_the_versions() -> None:
    followed = Resource(following("m", lambda _, content: content, lambda: FolderStore(Path()), bytes))
    pipeline = Pipeline("f")

    @pipeline.stage(uses=[followed])
    def judged(text: Text) -> Text:
        return text

    @pipeline.stage
    def told(text: Text) -> Text:
        return text

    @pipeline.flow
    def flow(text: Text) -> Text:
        return told(judged(text))

    needed = {Access("topic", "learning.models", "Read"), Access("group", "learning.following", "Describe")}
    assert needed <= access_of_role(pipeline.plan, "judged")
    assert not needed & access_of_role(pipeline.plan, "told")


def test_only_the_closer_has_transactions() -> None:
    having = {
        process: sorted(a.name for a in access if a.resource == "transactional-id")
        for process, access in all_access(PLAN).items()
    }
    assert {process: names for process, names in having.items() if names} == {
        "closer": ["p.closer."],
        "learning": ["learning.choosing.", "learning.retraining."],
    }


def test_every_kind_of_process_is_there() -> None:
    assert set(all_access(PLAN)) == {
        "ingress", "draft", "claims", "verdict", "report", "closer", "client", "worker-m", "assertions", "learning",
        "console",
    }  # fmt: skip


def test_a_worker_writes_texts_straight_to_the_stage_that_asked() -> None:
    found = all_access(PLAN)["worker-m"]
    assert Access("topic", "p.draft", "Write") in found
    assert Access("topic", "p.claims", "Write") not in found


def test_a_command_names_resource_operations_and_pattern() -> None:
    access = {
        Access("topic", "t", "Read"),
        Access("topic", "t", "Write"),
        Access("group", "g.", "Read", is_prefix=True),
    }
    group, topic = commands(access, "User:me")
    assert group.endswith("--allow-principal 'User:me' --operation Read --group 'g.' --resource-pattern-type prefixed")
    assert topic.endswith("--operation Read --operation Write --topic 't'")
