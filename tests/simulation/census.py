"""How often each thing happened in a search: a search in which something never happens proves nothing about it."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Final

from streams.core.plan import REQUEST, InputMode, OnError, StageKind
from streams.core.record import Kind
from tests.simulation.history import FAULTS, History
from tests.simulation.ingesting import REQUESTS
from tests.simulation.process import CONTROL
from tests.simulation.truth import Execution

PIPELINES: Final = (
    "a pipeline with a model",
    "a pipeline with a fork below a fork",
    "a pipeline with a join",
    "a pipeline with a broadcast",
    "a pipeline in which two ways meet below a join",
    "a pipeline with a filter",
    "a pipeline with a stage that fails",
    "a pipeline that drops errors",
    "a pipeline that passes errors on",
)
INPUTS: Final = (
    "a request is accepted",
    "a request without a key is accepted",
    "a request that is invalid is accepted",
    "an id is accepted again",
    "a request is accepted twice by ingress",
    "a cancel is accepted",
)
EVENTS: Final = (
    "a process dies with records in flight",
    "a process dies while it takes a slot over",
    "a replay is cut short",
    "a record of a dead process lands",
    "a record of a zombie lands",
    "a zombie starts a run",
    "a record is refused",
    "a member loses one partition of a slot and keeps another",
    "a revoke waits for a commit in flight",
    "an assignment is taken back on its way",
    "a member is told that what it was assigned is not its own",
    "a former member's commit is refused",
    "marks are lost",
    "a takeover finds a node finished",
    "a takeover finds a node without a mark",
    "a run is superseded or fails",
    "a node runs again",
    "a fork gives another number of children when it runs again",
    "two ways to a meeting have seen different runs",
    "a prompt is routed",
    "a generation is halted",
    "a fence is produced",
    "a text is resumed behind a fence",
    "a text is written again from nothing",
    "a transaction is left open",
    "a transaction was aborted before its commit",
    "a dead closer's transaction is committed",
    "a former member's transaction is committed",
    "a takeover waits for a pending transaction's answers",
    "ingress waits for room",
)
CLOSURES: Final = (
    "a request closes as answered",
    "a request closes as error",
    "a request closes as cancelled",
    "a request closes as deadline",
    "a request closes as duplicate",
    "a request closes as taken",
    "an id is answered again after the window",
)
SITUATIONS: Final = (*(f"fault: {fault}" for fault in FAULTS), *PIPELINES, *INPUTS, *EVENTS, *CLOSURES)


def take(history: History) -> Counter[str]:
    """What happened in one history, by SITUATIONS."""
    found = Counter(history.world.counts)
    found.update(_pipeline(history))
    found.update(_inputs(history))
    found.update(_runs(history))
    found.update(_closures(history))
    return found


def _pipeline(history: History) -> list[str]:
    plan, habits = history.pipeline.plan, history.pipeline.habits.values()
    inputs = [(stage, i) for stage in plan.stages for i in stage.inputs]
    is_so = {
        "a pipeline with a model": any(s.kind is StageKind.MODEL for s in plan.stages),
        "a pipeline with a fork below a fork": any(s.kind is StageKind.FORK and s.depth for s in plan.stages),
        "a pipeline with a join": any(i.mode is InputMode.STREAM and not i.is_text for _, i in inputs),
        "a pipeline with a broadcast": any(i.mode is InputMode.ITEM and i.depth < s.depth for s, i in inputs),
        "a pipeline in which two ways meet below a join": any(s.compares for s in plan.stages),
        "a pipeline with a filter": any(h.drop_chance for h in habits),
        "a pipeline with a stage that fails": any(h.fail_chance for h in habits),
        "a pipeline that drops errors": any(s.on_error is OnError.DROP for s in plan.stages),
        "a pipeline that passes errors on": any(s.on_error is OnError.PASS for s in plan.stages),
    }
    return [name for name, holds in is_so.items() if holds]


def _inputs(history: History) -> Counter[str]:
    broker, found = history.world.broker, Counter[str]()
    keyless = {f"{q}-{at}" for q, log in broker.of(REQUESTS) for at, r in enumerate(log.records) if not r.key}
    asked = Counter(r.key.decode() if r.key else "" for _, log in broker.of(REQUESTS) for r in log.records)
    for _, log in broker.of(f"p.{REQUEST}"):
        ids: Counter[str] = Counter()
        for record in log.records:
            envelope = record.envelope
            assert envelope is not None
            if envelope.kind is Kind.CANCEL:
                found["a cancel is accepted"] += 1
                continue
            found["a request is accepted"] += 1
            found["a request without a key is accepted"] += envelope.id in keyless
            found["a request that is invalid is accepted"] += envelope.kind is Kind.ERROR
            found["an id is accepted again"] += envelope.id in ids
            ids[envelope.id] += 1
        found["a request is accepted twice by ingress"] += sum(n > asked.get(name, 1) for name, n in ids.items())
    return found


def _runs(history: History) -> Counter[str]:
    found = Counter[str]()
    nodes: defaultdict[tuple[object, ...], list[Execution]] = defaultdict(list)
    for execution in history.world.truth.executions:
        nodes[execution.serial, execution.stage, execution.path].append(execution)
    for executions in nodes.values():
        found["a node runs again"] += len(executions) > 1
        counts = {e.children for e in executions if e.outcome == "ended"}
        found["a fork gives another number of children when it runs again"] += len(counts) > 1
    return found


def _closures(history: History) -> Counter[str]:
    broker, found = history.world.broker, Counter[str]()
    for _, log in broker.of(CONTROL):
        for _, record in log.committed():
            found[f"a request closes as {json.loads(record.value or b'{}')['reason']}"] += 1
    for _, log in broker.of("p.answers"):
        ids = Counter(r.envelope.id for _, r in log.committed() if r.envelope is not None)
        found["an id is answered again after the window"] += sum(n - 1 for n in ids.values())
    return found
