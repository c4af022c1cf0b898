"""Was every promise kept? Reads the topics from their beginning when all is over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from streams.core.plan import Plan
from tests.chaos.provenance import Log, Trail
from tests.chaos.wire import Rec, read_topics


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that the load produced."""

    id: str
    fails: bool = False


@dataclass(slots=True)
class Verdict:
    requests: int = 0
    answered: int = 0
    errors: int = 0
    """Typed errors that were asked for."""
    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    mixed: list[str] = field(default_factory=list)
    """Answers that are not made of one run of each stage, or not of everything that belongs to it."""
    unasked: list[str] = field(default_factory=list)
    """Errors that nobody asked for."""
    faults: list[str] = field(default_factory=list)
    """Whatever else the log should not hold."""
    stories: dict[str, list[Rec]] = field(default_factory=dict)
    """Everything in the log about the requests that went wrong."""

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.duplicated or self.mixed or self.unasked or self.faults)


def check(bootstrap: str, plan: Plan, prompts_topic: str, asked: Mapping[str, Asked]) -> Verdict:
    """Judge one pipeline by its log."""
    inner = [plan.topic(name) for name in ("accepted", "answers", "control", "dead-letters")]
    stages = [plan.topic(stage.name) for stage in plan.stages]
    return judge(plan, read_topics(bootstrap, [*inner, *stages, prompts_topic]), prompts_topic, asked)


def judge(plan: Plan, topics: Mapping[str, list[Rec]], prompts_topic: str, asked: Mapping[str, Asked]) -> Verdict:
    """`topics`: all that was committed, in log order of each partition."""
    mine = {stage.name for stage in plan.stages}
    prompts = [rec for rec in topics[prompts_topic] if rec.stage in mine and rec.head("plan") == plan.digest]
    log = Log(plan, topics, prompts)
    verdict = Verdict(requests=len(asked), faults=[*log.faults, *_control(plan, topics)])
    verdict.faults += [f"a dead letter: {rec}" for rec in topics[plan.topic("dead-letters")]]
    answers: dict[str, list[Rec]] = {}
    for rec in topics[plan.topic("answers")]:
        answers.setdefault(rec.id, []).append(rec)
    verdict.lost = [i for i in asked if i not in answers]
    verdict.duplicated = [i for i, found in answers.items() if len(found) > 1]
    verdict.faults += [f"an answer to nobody: {found[0]}" for i, found in answers.items() if i not in asked]
    for request_id, request in asked.items():
        for rec in answers.get(request_id, ()):
            _judge(verdict, log, request, rec)
    wrong = {*verdict.lost, *verdict.duplicated, *(line.split(":")[0] for line in (*verdict.mixed, *verdict.unasked))}
    for records in topics.values():
        for rec in records:
            if rec.id in wrong:
                verdict.stories.setdefault(rec.id, []).append(rec)
    return verdict


def _judge(verdict: Verdict, log: Log, request: Asked, answer: Rec) -> None:
    verdict.answered += 1
    if answer.kind == "error":
        if request.fails and answer.body()["error"]["code"] == "stage.raised":
            verdict.errors += 1
        else:
            verdict.unasked.append(f"{request.id}: {answer}")
        return
    trail = Trail(log, answer.serial)
    trail.follow(answer.body()["token"])
    if request.fails and len(trail.runs) > 2:
        trail.faults.append("asked for an error and got a value")
    verdict.mixed += [f"{request.id}: {fault}" for fault in trail.faults]


def _control(plan: Plan, topics: Mapping[str, list[Rec]]) -> list[str]:
    """Every accepted record is closed once, and none is said to be closed before it is."""
    faults = []
    accepted = {(rec.partition, rec.offset) for rec in topics[plan.topic("accepted")]}
    closed: Counter[tuple[int, int]] = Counter()
    for rec in topics[plan.topic("control")]:
        closed[rec.partition, rec.body()["offset"]] += 1
    faults += [f"accepted {q}:{o} is closed {n} times" for (q, o), n in closed.items() if n > 1]
    faults += [f"accepted {q}:{o} is never closed" for q, o in sorted(accepted) if not closed[q, o]]
    low = {q: 0 for q, _ in accepted}
    seen: set[tuple[int, int]] = set()
    for rec in topics[plan.topic("control")]:
        q, body = rec.partition, rec.body()
        seen.add((q, body["offset"]))
        low[q] = max(low.get(q, 0), body["low"])
        # Entries of one transaction share their `low`: it may be ahead of those that follow at once.
        ahead = [o for p, o in accepted if p == q and o < body["low"] and (p, o) not in seen]
        if ahead and not _follow_soon(topics[plan.topic("control")], rec, set(ahead)):
            faults.append(f"control says that all below {body['low']} are closed, {ahead} are not: {rec}")
    return faults


def _follow_soon(control: list[Rec], rec: Rec, ahead: set[int]) -> bool:
    """Whether entries for `ahead` come in the same run of offsets, which a transaction's marker ends."""
    after = {r.offset: r.body()["offset"] for r in control if r.partition == rec.partition and r.offset > rec.offset}
    offset = rec.offset + 1
    while offset in after:
        ahead.discard(after[offset])
        offset += 1
    return not ahead
