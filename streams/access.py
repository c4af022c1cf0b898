"""What each process must be allowed to do in Kafka: derived from the plan, printed and set by `descant acls`.

Packages say what their own processes need by an entry point of the group `descant.access`: a function that takes the
plan and returns process name -> Access.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Final, Literal

from streams.core.plan import REQUEST, Plan, StageKind
from streams.runtime.topics import (
    WORKERS_STATE,
    answers_topic,
    control_topic,
    dead_letters_topic,
    group_of,
    models_of,
    prompts_topic,
    requests_topic,
)

GROUP: Final = "descant.access"

Resource = Literal["topic", "group", "transactional-id"]
Operation = Literal["Read", "Write", "Describe", "Create", "AlterConfigs"]


@dataclass(frozen=True, slots=True, order=True)
class Access:
    """One permission, as Kafka's authorizer knows it."""

    resource: Resource
    name: str
    operation: Operation
    is_prefix: bool = False
    """`name` is how the names of these resources begin."""

    def __str__(self) -> str:
        return f"{self.operation} on {self.resource} {self.name}{'*' * self.is_prefix}"


def read(*topics: str) -> set[Access]:
    return {Access("topic", topic, "Read") for topic in topics}


def write(*topics: str) -> set[Access]:
    return {Access("topic", topic, "Write") for topic in topics}


def describe(*topics: str) -> set[Access]:
    return {Access("topic", topic, "Describe") for topic in topics}


def member_of(group: str) -> set[Access]:
    """Of a group whose session timeout its members set (`DESCANT_SESSION_SECONDS`)."""
    return {Access("group", group, "Read"), Access("group", group, "AlterConfigs")}


def topics_seen(plan: Plan) -> set[Access]:
    """Every process looks whether the pipeline's topics are as the settings say."""
    names = [f(plan.pipeline) for f in (requests_topic, dead_letters_topic, answers_topic, control_topic)]
    stages = [plan.topic(source) for source in (REQUEST, *(s.name for s in plan.stages))]
    return describe(*names, *stages, *map(prompts_topic, models_of(plan)), WORKERS_STATE)


def access_of_role(plan: Plan, role: str) -> frozenset[Access]:
    """Of ingress, a stage or the closer."""
    name = plan.pipeline
    found = topics_seen(plan) | member_of(group_of(name, role))
    found |= read(control_topic(name)) | write(dead_letters_topic(name), plan.topic(REQUEST))
    if role == "ingress":
        return frozenset(found | read(requests_topic(name)))
    if role == "closer":
        found |= read(plan.topic(REQUEST), plan.topic(plan.answer), answers_topic(name))
        found |= write(answers_topic(name), control_topic(name))
        prefix = f"{group_of(name, role)}."
        return frozenset(found | {Access("transactional-id", prefix, "Write", is_prefix=True)})
    stage = plan[role]
    found |= read(*(plan.topic(source) for source in stage.sources)) | write(plan.topic(role))
    if stage.kind is StageKind.MODEL:
        found |= write(prompts_topic(str(stage.options["model"]))) | read(WORKERS_STATE)
    return frozenset(found.union(*(resource.access for resource in stage.uses)))


def access_of_pipeline(plan: Plan) -> dict[str, frozenset[Access]]:
    """Process -> what it needs: ingress, each stage, the closer, and a client that watches."""
    roles = ("ingress", *(stage.name for stage in plan.stages), "closer")
    stages = [plan.topic(stage.name) for stage in plan.stages]
    client = write(requests_topic(plan.pipeline)) | read(answers_topic(plan.pipeline), *stages)
    return {**{role: access_of_role(plan, role) for role in roles}, "client": frozenset(client)}


Provider = Callable[[Plan], Mapping[str, frozenset[Access]]]


def all_access(plan: Plan) -> dict[str, frozenset[Access]]:
    """Of the pipeline's processes, and of those of every package that says so."""
    found = dict(access_of_pipeline(plan))
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        provider: Provider = point.load()
        found.update(provider(plan))
    return found


def commands(access: Iterable[Access], principal: str) -> list[str]:
    """For `kafka-acls.sh`, one line a resource."""
    together: dict[tuple[str, str, bool], list[str]] = {}
    for each in sorted(access):
        together.setdefault((each.resource, each.name, each.is_prefix), []).append(each.operation)
    return [
        f"kafka-acls.sh --bootstrap-server \"$BOOTSTRAP\" --add --allow-principal '{principal}' "
        + " ".join(f"--operation {operation}" for operation in operations)
        + f" --{resource} '{name}'"
        + (" --resource-pattern-type prefixed" if is_prefix else "")
        for (resource, name, is_prefix), operations in together.items()
    ]
