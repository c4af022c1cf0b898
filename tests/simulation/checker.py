"""The six invariants of DESIGN §4, checked on what is in the logs and on what the functions truly were given.

It shares no code with the joins of streams.core: it knows the wire format, the plan, and tests.simulation.truth.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from streams.core.lineage import Path, RunId, Serial
from streams.core.plan import REQUEST, InputMode
from streams.core.record import Envelope, Kind
from tests.simulation.broker import Record
from tests.simulation.history import History
from tests.simulation.host import Phase
from tests.simulation.ingesting import REQUESTS
from tests.simulation.process import CONTROL
from tests.simulation.truth import Execution, Taken

NodeName = tuple[str, Path]


@dataclass(frozen=True, slots=True)
class Violation:
    invariant: str
    """completeness | mixing | one answer | durability | memory | progress | runs | record"""
    why: str
    step: int | None = None

    def __str__(self) -> str:
        return f"{self.invariant}: {self.why}"


def check(history: History) -> list[Violation]:
    """Everything that is wrong with a history; empty when nothing is.

    Where a process has refused to go on, and said so, requests may wait until an operator has acted; whatever was
    answered must be right all the same.
    """
    return list(_Checker(history).violations())


class _Checker:
    def __init__(self, history: History) -> None:
        self.history: Final = history
        self.world: Final = history.world
        self.truth: Final = history.world.truth
        self.plan: Final = history.pipeline.plan
        self.partitions: Final = max([history.schedule.partitions, *history.world.broker.grown.values()])
        self.answers: Final = [
            (q, offset, record)
            for q in range(self.partitions)
            for offset, record in self.world.broker.log("p.answers", q).committed()
        ]
        self.control: Final = [
            (q, offset, json.loads(record.value or b"{}"))
            for q in range(self.partitions)
            for offset, record in self.world.broker.log(CONTROL, q).committed()
        ]

    def violations(self) -> Iterator[Violation]:
        for step, complaint in self.world.complaints:
            yield Violation("record", complaint, step)
        yield from self.unique_runs()
        yield from self.one_answer()
        for q, offset, record in self.answers:
            yield from self.answer(f"answers[{q}]@{offset}", record)
        if not self.world.refusals:
            yield from self.durability()
            yield from self.progress()
            yield from self.memory()

    # -- runs ------------------------------------------------------------------------------------------------------

    def unique_runs(self) -> Iterator[Violation]:
        seen: dict[tuple[Serial, str, Path, RunId], Execution] = {}
        for execution in self.truth.executions:
            at = (execution.serial, execution.stage, execution.path, execution.run)
            if at in seen:
                yield Violation("runs", f"{seen[at]} and {execution} share a run id", execution.step)
            seen[at] = execution

    # -- one answer, durability, progress, memory --------------------------------------------------------------------

    def one_answer(self) -> Iterator[Violation]:
        window = self.history.schedule.window
        last: dict[str, int] = {}
        count: Counter[int] = Counter()
        serials: set[str] = set()
        for q, offset, record in self.answers:
            envelope = _envelope(record)
            count[q] += 1
            at = last.get(envelope.id)
            if at is not None and count[q] - at <= window:
                yield Violation("one answer", f"{envelope.id} is answered again at answers[{q}]@{offset}", record.step)
            if str(envelope.serial) in serials:
                yield Violation("one answer", f"serial {envelope.serial} is answered twice", record.step)
            last[envelope.id] = count[q]
            serials.add(str(envelope.serial))
        closed = Counter((q, entry["offset"]) for q, _, entry in self.control)
        for serial, times in closed.items():
            if times > 1:
                yield Violation("one answer", f"serial {serial} is closed {times} times")

    def durability(self) -> Iterator[Violation]:
        broker = self.world.broker
        closed = {(q, entry["offset"]) for q, _, entry in self.control}
        reasons = {(q, entry["offset"]): entry["reason"] for q, _, entry in self.control}
        answered = {str(_envelope(r).serial): r for _, _, r in self.answers}
        accepted: set[str] = set()
        for q in range(self.partitions):
            for offset, record in enumerate(broker.log(f"p.{REQUEST}", q).records):
                envelope = _envelope(record)
                if envelope.kind not in (Kind.ITEM, Kind.ERROR):
                    continue
                accepted.add(envelope.id)
                if (q, offset) not in closed:
                    yield Violation("durability", f"request {envelope.id}, serial {q}:{offset}, is never closed")
                elif reasons[q, offset] != "duplicate" and f"{q}:{offset}" not in answered:
                    yield Violation("durability", f"serial {q}:{offset} is closed without an answer")
        ids = {_envelope(r).id for _, _, r in self.answers}
        for q in range(self.partitions):
            for offset, record in enumerate(broker.log(REQUESTS, q).records):
                name = record.key.decode() if record.key else f"{q}-{offset}"
                if record.headers.get("kind") == b"cancel":
                    continue
                if name not in ids:
                    yield Violation("durability", f"request {name} at requests[{q}]@{offset} is never answered")

    def progress(self) -> Iterator[Violation]:
        if self.history.is_endless:
            yield Violation("progress", "the history goes round in circles", self.world.step)
        for q, _, entry in self.control:
            if entry["reason"] == "failed" or (entry["reason"] == "deadline" and not self._has_passed(q, entry)):
                yield Violation("progress", f"serial {q}:{entry['offset']} closes as {entry['reason']}")

    def _has_passed(self, q: int, entry: dict[str, int]) -> bool:
        accepted = self.world.broker.log(f"p.{REQUEST}", q).records[entry["offset"]]
        return _envelope(accepted).deadline <= self.world.now_ms

    def memory(self) -> Iterator[Violation]:
        broker = self.world.broker
        for process in self.history.processes:
            for host in process.hosts.values():
                if host.phase != Phase.ACTIVE and host.have != set(host.topics):
                    yield Violation("progress", f"{host} never gets all of its partitions")
                elif left := getattr(host, "leftovers", ""):
                    yield Violation("memory", left)
        groups = {p.group.name: p.group for p in self.history.processes}
        for group in groups.values():
            for topic in group.topics:
                for i in range(group.partitions):
                    offset, _ = broker.offsets.get((group.name, topic, i), (0, ""))
                    end = broker.log(topic, i).end
                    if offset != end:
                        yield Violation("memory", f"{group} has committed {topic}[{i}]@{offset} of {end}")
                    if group.owner[topic, i] is None:
                        yield Violation("progress", f"nobody owns {topic}[{i}] of {group}")

    # -- answers: mixing and completeness ----------------------------------------------------------------------------

    def answer(self, where: str, record: Record) -> Iterator[Violation]:
        envelope = _envelope(record)
        if envelope.kind is Kind.ERROR:
            yield from self._error(where, record)
            return
        walk = _Walk(self, envelope)
        for why in walk.value(record.value, self.plan.answer):
            yield Violation(why[0], f"{where} of {envelope.id}: {why[1]}", record.step)
        for why in walk.complete():
            yield Violation(why[0], f"{where} of {envelope.id}: {why[1]}", record.step)

    def _error(self, where: str, record: Record) -> Iterator[Violation]:
        body = json.loads(record.value or b"{}")["error"]
        code, message = body["code"], body["message"]
        habits = self.history.pipeline.habits.values()
        asks = self.history.schedule.asks
        envelope = _envelope(record)
        allowed = {
            "dropped": any(h.drop_chance for h in habits) or any(s.on_error == "drop" for s in self.plan.stages),
            "model.prompt": any(h.text_fail_chance for h in habits),
            "cancelled": any(a.kind == 1 and f"r{a.id}" == envelope.id for a in asks),
            "request.empty": any(a.kind == 2 and (f"r{a.id}" == envelope.id or a.id < 0) for a in asks),
            "produce.refused": any(f.kind for f in self.history.schedule.faults),
        }
        if code == "stage.raised":
            execution = self.truth.executions[int(message[1:])]
            if execution.outcome != "failed" or execution.serial != envelope.serial:
                yield Violation("record", f"{where} fails by {execution}, which did not fail for it", record.step)
        elif code not in ("deadline", "failed") and not allowed.get(code, False):
            yield Violation("record", f"{where} of {envelope.id} is an error out of nowhere: {code}", record.step)


class _Walk:
    """From an answer to everything that went into it."""

    def __init__(self, checker: _Checker, envelope: Envelope) -> None:
        self.checker: Final = checker
        self.truth: Final = checker.truth
        self.plan: Final = checker.plan
        self.serial: Final = envelope.serial
        self.envelope: Final = envelope
        self.by_node: dict[NodeName, Execution] = {}
        self.runs: dict[NodeName, RunId] = {}
        self.is_vague = False
        """An empty text was read: nothing in it says which prompt it answers."""

    def value(self, value: bytes | None, stage: str) -> Iterator[tuple[str, str]]:
        source = self.truth.source(value)
        if source is None:
            yield "mixing", f"value {value!r} was computed by nobody"
            return
        execution = source[0]
        if execution.stage != "closer":
            yield "mixing", f"the answer is {execution}"
        waiting = [execution]
        seen: set[int] = set()
        while waiting:
            execution = waiting.pop()
            if execution.number in seen:
                continue
            seen.add(execution.number)
            if execution.serial != self.serial:
                yield "mixing", f"{execution} is of another request"
            yield from self._note(execution.stage, execution.path, execution.run, f"{execution}")
            self.by_node[execution.stage, execution.path] = execution
            for taken in (t for items in execution.items.values() for t in items):
                yield from self._taken(execution, taken, waiting)
            for parameter, tokens in execution.tokens.items():
                yield from self._text(execution, parameter, tokens, waiting)

    def _note(self, stage: str, path: Path, run: RunId, who: str) -> Iterator[tuple[str, str]]:
        known = self.runs.setdefault((stage, path), run)
        if known != run:
            at = ".".join(map(str, path)) or "()"
            yield "mixing", f"{stage}@{at} contributed in run {known} and in run {run} ({who})"

    def _taken(self, execution: Execution, taken: Taken, waiting: list[Execution]) -> Iterator[tuple[str, str]]:
        envelope = taken.envelope
        if envelope.stage:
            names = self.plan[envelope.stage].lineage
            for name, run in zip(names, envelope.lin, strict=True):
                if run is not None:
                    path = envelope.path[: self.plan[name].depth]
                    yield from self._note(name, path, run, f"{taken.kind} taken by {execution}")
        if taken.kind != "item":
            return
        source = self.truth.source(taken.value)
        if source is None:
            return
        producer, child = source
        waiting.append(producer)
        expected = producer.path if child is None else (*producer.path, child)
        if taken.path != expected:
            yield "mixing", f"{execution} took {expected} of {producer} as {taken.path}"

    def _text(
        self, execution: Execution, parameter: str, tokens: list[int], waiting: list[Execution]
    ) -> Iterator[tuple[str, str]]:
        ended = execution.texts.get(parameter)
        prompt = self.truth.tokens[tokens[0]].prompt if tokens else None
        if ended is None or ended[2]:
            return
        stage, path, _ = ended
        if not tokens:
            self.is_vague = True
            known = {p for p, last in self.truth.endings if last == -1}
            producers = [s[0] for s in map(self.truth.source, known) if s is not None]
            if not any(p.stage == stage and p.path == path and p.serial == self.serial for p in producers):
                yield "completeness", f"{execution} read an empty text of {stage} that nobody wrote"
            return
        if why := self.truth.chain(tokens, prompt):
            yield "mixing", f"{execution} read a text of {stage} that no model wrote: {why}"
        source = self.truth.source(prompt)
        if source is None or (source[0].stage, source[0].path) != (stage, path):
            yield "mixing", f"{execution} read a text of {prompt!r} as that of {stage}"
        elif source is not None:
            waiting.append(source[0])

    # -- completeness ------------------------------------------------------------------------------------------------

    def complete(self) -> Iterator[tuple[str, str]]:
        for execution in list(self.by_node.values()):
            if execution.stage == "closer" or execution.is_early:
                continue
            stage = self.plan[execution.stage]
            for plan in stage.inputs:
                if plan.mode is not InputMode.STREAM:
                    if len(execution.items.get(plan.parameter, ())) != 1:
                        yield "completeness", f"{execution} was not given one {plan.parameter}"
                elif plan.is_text:
                    if plan.parameter not in execution.texts:
                        yield "completeness", f"{execution} did not read {plan.parameter} to its end"
                else:
                    forks = self.plan[plan.source].ancestry
                    if self.plan[plan.source].kind == "fork":
                        forks = (*forks, plan.source)
                    taken = execution.items.get(plan.parameter, [])
                    yield from self._children(execution, plan.parameter, taken, forks)

    def _children(
        self, execution: Execution, parameter: str, taken: list[Taken], forks: tuple[str, ...]
    ) -> Iterator[tuple[str, str]]:
        times = Counter(t.path for t in taken)
        for path, count in times.items():
            if count > 1:
                yield "completeness", f"{execution} was given {path} of {parameter} {count} times"
        below: dict[Path, set[int]] = defaultdict(set)
        for t in taken:
            for depth in range(len(execution.path), len(t.path)):
                below[t.path[:depth]].add(t.path[depth])
        waiting = [execution.path]
        while waiting:
            path = waiting.pop()
            if path in times:
                continue
            name = forks[len(path)] if len(path) < len(forks) else ""
            if not name:
                yield "completeness", f"{execution} was not given {path} of {parameter}"
                continue
            found = self._fork(execution, name, path)
            if found is None:
                if path in below:
                    if self.is_vague:
                        continue
                    yield "completeness", f"{execution} was given children of {name}@{path}, which never ran"
                elif not self._may_be_empty(forks, path):
                    yield "completeness", f"{execution} was given nothing below {name}@{path} of {parameter}"
                continue
            extra = {i for i in below[path] if i >= found.children}
            if extra or found.outcome != "ended":
                yield "completeness", f"{execution} was given {sorted(below[path])} of {found} ({found.children})"
            waiting.extend((*path, i) for i in range(found.children))

    def _fork(self, execution: Execution, name: str, path: Path) -> Execution | None:
        """The fork's execution that this answer is built on, if anything of it is left in what was taken."""
        found = self.by_node.get((name, path))
        run = self.runs.get((name, path))
        if found is None and run is not None:
            for other in self.truth.executions:
                if (other.serial, other.stage, other.path, other.run) == (self.serial, name, path, run):
                    return other
        return found

    def _may_be_empty(self, forks: tuple[str, ...], path: Path) -> bool:
        """Whether some execution of the fork here ended with nothing below it."""
        if len(path) == len(forks):
            return False
        return any(
            all(self._may_be_empty(forks, (*path, i)) for i in range(e.children))
            for e in self.truth.executions
            if (e.serial, e.stage, e.path, e.outcome) == (self.serial, forks[len(path)], path, "ended")
        )


def _envelope(record: Record) -> Envelope:
    assert record.envelope is not None
    return record.envelope
