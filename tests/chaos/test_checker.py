"""The checker's own proof: a log that keeps every promise passes, and each broken promise is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tests.chaos.checker import Asked, Verdict, judge
from tests.chaos.pipelines import forks, reviews
from tests.chaos.wire import Path, Rec

FORKS = next(plan for seed in range(50) if len((plan := forks(seed).plan).stages) == 3)  # parts, work, total
REVIEWS = reviews().plan
PROMPTS = "models.chaos.prompts"


@dataclass
class Log:
    pipeline: str
    topics: dict[str, list[Rec]] = field(default_factory=dict)

    def put(
        self,
        source: str,
        kind: str,
        value: object = None,
        *,
        lin: str = "",
        path: Path = (),
        stage: str = "",
        **more: str,
    ) -> Rec:
        topic = PROMPTS if source == "prompts" else f"{self.pipeline}.{source}"
        records = self.topics.setdefault(topic, [])
        headers = {"id": "r", "kind": kind, "serial": "0:0", "plan": "", "lin": lin} | more
        headers |= {"stage": stage or source, "path": ".".join(map(str, path))}
        body = None if value is None else json.dumps(value).encode()
        records.append(Rec(topic, 0, len(records), 0, "r", body, headers))
        return records[-1]

    def named(self, source: str) -> list[Rec]:
        return self.topics[PROMPTS if source == "prompts" else f"{self.pipeline}.{source}"]


def made(token: str, index: int = 0, text: str = "", **used: list[str]) -> dict[str, object]:
    return {"token": token, "index": index, "used": used, "text": text}


def good() -> Log:
    """Two children; the second was filtered."""
    log = Log(FORKS.pipeline)
    log.put("accepted", "item", {"n": 1})
    log.put("parts", "item", made("a", 0), lin="1-1", path=(0,))
    log.put("parts", "item", made("a", 1), lin="1-1", path=(1,))
    log.put("parts", "end", lin="1-1", count="2")
    log.put("work", "item", made("b", part=["a.0"]), lin="1-1,1-2", path=(0,))
    log.put("work", "tombstone", lin="1-1,1-3", path=(1,))
    log.put("total", "item", made("c", items=["b.0"]), lin="1-1,1-4")
    log.put("answers", "item", made("c", items=["b.0"]), lin="1-1,1-4", stage="total")
    log.put("control", "", {"offset": 0, "low": 1})
    log.put("dead-letters", "")
    log.topics[f"{log.pipeline}.dead-letters"].clear()
    log.topics[PROMPTS] = []
    return log


def verdict(log: Log) -> Verdict:
    plan = FORKS if log.pipeline == FORKS.pipeline else REVIEWS
    return judge(plan, log.topics, PROMPTS, {"r": Asked("r")})


def test_a_log_that_keeps_every_promise_passes() -> None:
    found = verdict(good())
    assert found.is_good, found
    assert (found.requests, found.answered) == (1, 1)


def no_answer(log: Log) -> None:
    log.named("answers").clear()


def two_answers(log: Log) -> None:
    log.put("answers", "item", made("c", items=["b.0"]), lin="1-1,1-4", stage="total")


def an_error(log: Log) -> None:
    log.named("answers").clear()
    log.put("answers", "error", {"error": {"code": "stage.raised"}}, stage="total")


def a_child_is_missing(log: Log) -> None:
    log.named("work").pop()


def a_child_too_many(log: Log) -> None:
    log.named("parts")[-1].headers["count"] = "0"


def children_of_two_runs(log: Log) -> None:
    log.put("parts", "item", made("x", 1), lin="2-1", path=(1,))
    log.put("work", "item", made("y", part=["x.1"]), lin="2-1,1-9", path=(1,))
    log.named("total").clear()
    log.named("answers").clear()
    log.put("total", "item", made("c", items=["b.0", "y.0"]), lin="1-1,1-4")
    log.put("answers", "item", made("c", items=["b.0", "y.0"]), lin="1-1,1-4", stage="total")


def no_end(log: Log) -> None:
    log.named("parts").pop()


def an_answer_that_nobody_made(log: Log) -> None:
    log.named("answers").clear()
    log.put("answers", "item", made("z"), lin="1-1,1-4", stage="total")


def two_executions_under_one_run(log: Log) -> None:
    log.put("work", "item", made("q", part=["a.0"]), lin="1-1,1-2", path=(0,))


def closed_twice(log: Log) -> None:
    log.put("control", "", {"offset": 0, "low": 1})


def never_closed(log: Log) -> None:
    log.named("control").clear()


def said_to_be_closed_too_early(log: Log) -> None:
    log.put("accepted", "item", {"n": 2})
    log.named("control").clear()
    log.put("control", "", {"offset": 0, "low": 2})
    log.named("control").append(Rec(f"{log.pipeline}.control", 0, 5, 0, "r", b'{"offset": 1, "low": 2}', {}))


def a_dead_letter(log: Log) -> None:
    log.put("dead-letters", "item")


@pytest.mark.parametrize(
    ("break_it", "where"),
    [
        (no_answer, "lost"),
        (two_answers, "duplicated"),
        (an_error, "unasked"),
        (a_child_is_missing, "mixed"),
        (a_child_too_many, "mixed"),
        (children_of_two_runs, "mixed"),
        (no_end, "mixed"),
        (an_answer_that_nobody_made, "mixed"),
        (two_executions_under_one_run, "faults"),
        (closed_twice, "faults"),
        (never_closed, "faults"),
        (said_to_be_closed_too_early, "faults"),
        (a_dead_letter, "faults"),
    ],
)
def test_a_broken_promise_is_found(break_it: Callable[[Log], None], where: str) -> None:
    log = good()
    break_it(log)
    found = verdict(log)
    assert getattr(found, where), found
    assert not found.is_good


# -- texts -------------------------------------------------------------------------------------------------------------


def chunk(log: Log, position: int, text: str, *, w: str = "5-1", base: str = "5-1", lin: str = "1-1") -> None:
    body = {"text": text, "ids": list(range(len(text)))}
    log.put("draft", "chunk", body, lin=lin, pos=str(position), w=w, base=base)


def reviewed(text: str = "ab.cd") -> Log:
    """One text of five tokens, read as two claims, each verified by a text of one token."""
    log = Log(REVIEWS.pipeline)
    log.put("accepted", "item", {"n": 1})
    prompt = json.dumps({"token": "p", "used": {}})
    log.put("prompts", "item", {"prompt": prompt}, lin="1-1", stage="draft", plan=REVIEWS.digest)
    chunk(log, 0, text[:2])
    chunk(log, 2, text[2:])
    log.put("draft", "end", lin="1-1", count=str(len(text)), w="5-1", base="5-1")
    log.put("claims", "item", made("a", 0, "ab."), lin="1-1,1-2", path=(0,))
    log.put("claims", "item", made("a", 1, "cd"), lin="1-1,1-2", path=(1,))
    log.put("claims", "end", lin="1-1,1-2", count="2")
    for i in range(2):
        lin = f"1-1,1-2,1-{3 + i},2-{3 + i}"
        log.put("evidence", "item", made(f"e{i}", claim=[f"a.{i}"]), lin=f"1-1,1-2,1-{3 + i}", path=(i,))
        prompt = json.dumps({"token": f"v{i}", "used": {"claim": [f"a.{i}"], "evidence": [f"e{i}.0"]}})
        log.put("prompts", "item", {"prompt": prompt}, lin=lin, path=(i,), stage="verify", plan=REVIEWS.digest)
        ends = {"w": "5-2", "base": "5-2", "lin": lin, "path": (i,)}
        log.put("verify", "chunk", {"text": "y", "ids": [1]}, pos="0", **ends)  # type: ignore[arg-type]
        log.put("verify", "end", count="1", **ends)  # type: ignore[arg-type]
        value = made(f"w{i}", 0, "y", claim=[f"a.{i}"])
        log.put("verdict", "item", value, lin=f"{lin},3-{3 + i}", path=(i,))
    report = made("r", verdicts=["w0.0", "w1.0"])
    log.put("report", "item", report, lin="1-1,1-2,1-9")
    log.put("answers", "item", report, lin="1-1,1-2,1-9", stage="report")
    log.put("control", "", {"offset": 0, "low": 1})
    log.topics[f"{log.pipeline}.dead-letters"] = []
    return log


def test_texts_that_are_read_whole_pass() -> None:
    found = verdict(reviewed())
    assert found.is_good, found


def test_a_text_that_was_restarted_after_it_was_read_still_counts() -> None:
    log = reviewed()
    chunk(log, 0, "zzzz", w="6-1", base="6-1")
    assert verdict(log).is_good


def test_a_text_of_two_writers_is_found() -> None:
    log = reviewed()
    log.named("draft")[1].headers.update(w="6-1", base="6-1")  # as if a restart went on where the other had been
    assert verdict(log).faults


def test_claims_of_a_text_that_nobody_wrote_are_found() -> None:
    assert verdict(reviewed(text="ab.ce")).mixed


def test_evidence_of_another_run_than_the_claim_is_found() -> None:
    log = reviewed()
    log.put("claims", "item", made("b", 0, "ab."), lin="1-1,2-2", path=(0,))
    log.named("evidence")[0] = Rec(
        "reviews.evidence",
        0,
        0,
        0,
        "r",
        json.dumps(made("e0", claim=["b.0"])).encode(),
        log.named("evidence")[0].headers,
    )
    assert verdict(log).mixed
