"""Follows an answer back to the request by the tokens in the values, and says whatever does not fit together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from streams.core.plan import REQUEST, InputMode, InputPlan, Plan, StageKind, StagePlan
from tests.chaos.texts import Texts
from tests.chaos.wire import Path, Rec, Run


@dataclass(frozen=True, slots=True)
class Execution:
    """One run of one node, as its records tell."""

    token: str
    serial: str
    stage: str
    path: Path
    run: Run
    lin: tuple[Run | None, ...]


class Log:
    """The stages' topics of one pipeline by what is looked for."""

    def __init__(self, plan: Plan, topics: Mapping[str, list[Rec]], prompts: Iterable[Rec]) -> None:
        """The plan is read as a drawing of the flow: who reads whom, and which runs a lineage names."""
        self.plan = plan
        self.stages = {stage.name: stage for stage in plan.stages}
        self.faults: list[str] = []
        self.made: dict[str, list[Rec]] = {}  # token -> values
        self.ends: dict[tuple[str, str, Path], list[Rec]] = {}  # fork's node -> ends
        self.gone: dict[tuple[str, str, Path], list[Rec]] = {}  # (topic's stage, serial, path) -> tombstones
        self._executions: dict[str, Execution] = {}
        self._tokens: dict[tuple[str, str, Path, Run], str] = {}
        models = [s.name for s in plan.stages if s.kind is StageKind.MODEL]
        self.texts = Texts(rec for name in models for rec in topics[plan.topic(name)])
        self.faults += self.texts.faults
        self.prompts = {(r.serial, r.stage, r.path, r.lin): r for r in prompts if r.kind == "item"}
        for rec in self.prompts.values():
            self._execution(rec, _prompt_of(rec)["token"])
        for name in self.stages:
            for rec in topics[plan.topic(name)]:
                self._index(name, rec)

    def _index(self, topic_stage: str, rec: Rec) -> None:
        if rec.kind == "tombstone":
            self.gone.setdefault((topic_stage, rec.serial, rec.path), []).append(rec)
        elif rec.kind == "end" and rec.w is None and rec.stage == topic_stage:
            self.ends.setdefault((rec.stage, rec.serial, rec.path), []).append(rec)
        elif rec.kind == "item":
            token = rec.body()["token"]
            self.made.setdefault(token, []).append(rec)
            self._execution(rec, token)

    def _execution(self, rec: Rec, token: str) -> None:
        stage = self.stages[rec.stage]
        run = rec.lin[-1]
        if run is None or len(rec.lin) != len(stage.lineage):
            self.faults.append(f"a lineage that does not fit its stage: {rec}")
            return
        found = Execution(token, rec.serial, rec.stage, rec.path[: stage.depth], run, rec.lin)
        known = self._executions.setdefault(token, found)
        if (known.serial, known.stage, known.path, known.run) != (found.serial, found.stage, found.path, found.run):
            self.faults.append(f"one execution under two run ids, {known} and {found}")
        name = (found.serial, found.stage, found.path, found.run)
        if self._tokens.setdefault(name, token) != token:
            self.faults.append(f"two executions under one run id: {self._tokens[name]} and {found}")

    def execution(self, token: str) -> Execution | None:
        return self._executions.get(token)

    def run_of(self, rec: Rec, stage: str) -> Run | None:
        """The run of `stage` that a record's lineage names."""
        names = self.stages[rec.stage].lineage
        return rec.lin[names.index(stage)] if stage in names else None


class Trail:
    """One answer, followed back."""

    def __init__(self, log: Log, serial: str) -> None:
        self._log = log
        self._serial = serial
        self.faults: list[str] = []
        self.runs: dict[tuple[str, Path], tuple[str, Run]] = {}
        """(stage, path) -> the execution that the answer is made of."""

    def follow(self, token: str) -> None:
        execution = self._log.execution(token)
        if execution is None:
            self.faults.append(f"nobody wrote a value of execution {token}")
            return
        if execution.serial != self._serial:
            self.faults.append(f"{execution} belongs to another request than {self._serial}")
        known = self.runs.setdefault((execution.stage, execution.path), (token, execution.run))
        if known[0] != token:
            self.faults.append(f"made of two runs of {execution.stage}{execution.path}: {known} and {execution}")
            return
        stage = self._log.stages[execution.stage]
        for given in stage.inputs:
            if given.source == REQUEST:
                continue
            if given.is_text:
                self._text(execution, stage, given)
            elif given.mode is InputMode.ITEM:
                self._plain(execution, given)
            else:
                self._joined(execution, stage, given)

    # -- plain inputs ----------------------------------------------------------------------------------------------

    def _used(self, execution: Execution, parameter: str) -> list[str]:
        if self._log.stages[execution.stage].kind is StageKind.MODEL:
            prompt = self._log.prompts[execution.serial, execution.stage, execution.path, execution.lin]
            return list(_prompt_of(prompt)["used"].get(parameter, []))
        longest: list[str] = []
        for rec in self._log.made[execution.token]:
            used = rec.body()["used"].get(parameter, [])
            longest = used if len(used) > len(longest) else longest
        return longest

    def _value(self, name: str) -> Rec | None:
        token, _, index = name.partition(".")
        found = [r for r in self._log.made.get(token, []) if r.body()["index"] == int(index)]
        if len(found) != 1:
            self.faults.append(f"value {name} is {len(found)} times in the log")
            return None
        return found[0]

    def _plain(self, execution: Execution, given: InputPlan) -> None:
        used = self._used(execution, given.parameter)
        if len(used) != 1:
            self.faults.append(f"{execution} was given {len(used)} values for {given.parameter}")
        for name in used:
            rec = self._value(name)
            if rec is None:
                continue
            if rec.stage != given.source or rec.path != execution.path[: given.depth]:
                self.faults.append(f"{execution} was given {rec} for {given.parameter}")
            self.follow(name.partition(".")[0])

    # -- joins -----------------------------------------------------------------------------------------------------

    def _joined(self, execution: Execution, stage: StagePlan, given: InputPlan) -> None:
        children: dict[Path, Rec] = {}
        paths: list[Path] = []
        for name in self._used(execution, given.parameter):
            rec = self._value(name)
            if rec is not None:
                if rec.stage != given.source or rec.path[: stage.depth] != execution.path or rec.path in children:
                    self.faults.append(f"{execution} was given {rec} among {given.parameter}")
                children[rec.path] = rec
                paths.append(rec.path)
        if paths != sorted(paths):
            self.faults.append(f"{execution} was given {given.parameter} out of order: {paths}")
        forks = self._log.stages[given.source].ancestry
        if self._log.stages[given.source].kind is StageKind.FORK:
            forks = (*forks, given.source)
        self._covered(execution, given.source, execution.path, forks[stage.depth :], children)
        for rec in children.values():
            self.follow(rec.body()["token"])

    def _covered(
        self, execution: Execution, source: str, node: Path, forks: tuple[str, ...], children: dict[Path, Rec]
    ) -> None:
        """Every child that the fork's end counts was given or filtered, and none beside."""
        fork = forks[0]
        below = {path: rec for path, rec in children.items() if path[: len(node)] == node}
        runs = {self._log.run_of(rec, fork) for rec in below.values()} - {None}
        if len(runs) > 1:
            self.faults.append(
                f"{execution} joins children of {len(runs)} runs of {fork}{node}: {sorted(map(str, runs))}"
            )
            return
        ends = [
            end for end in self._log.ends.get((fork, execution.serial, node), []) if not runs or end.lin[-1] in runs
        ]
        why = [self._uncovered(execution, source, node, forks, below, end) for end in ends]
        if "" in why:
            return
        self.faults.append(f"{execution} joined {fork}{node} without its end" if not why else why[-1])

    def _uncovered(
        self, execution: Execution, source: str, node: Path, forks: tuple[str, ...], below: dict[Path, Rec], end: Rec
    ) -> str:
        count = int(end.head("count"))
        extra = [path for path in below if path[len(node)] >= count]
        if extra:
            return f"{execution} was given children {extra} of a fork that has {count}"
        for index in range(count):
            child = (*node, index)
            if self._is_gone(source, forks[0], child, execution.serial, end.lin[-1]):
                continue
            if len(forks) == 1:
                if child not in below:
                    return f"{execution} joined {forks[0]}{node} without its child {index} of {count}"
            else:
                before = len(self.faults)
                self._covered(execution, source, child, forks[1:], below)
                if len(self.faults) > before:
                    return self.faults.pop()
        return ""

    def _is_gone(self, source: str, fork: str, child: Path, serial: str, run: Run | None) -> bool:
        found = self._log.gone.get((source, serial, child), [])
        return any(self._log.run_of(rec, fork) == run for rec in found)

    # -- texts -----------------------------------------------------------------------------------------------------

    def _text(self, execution: Execution, stage: StagePlan, given: InputPlan) -> None:
        values = sorted(self._log.made[execution.token], key=lambda rec: rec.path)
        if stage.kind is StageKind.FORK:
            ends = self._log.ends.get((stage.name, execution.serial, execution.path), [])
            counts = {int(e.head("count")) for e in ends if e.lin[-1] == execution.run}
            if counts != {len(values)}:
                self.faults.append(f"{execution} has {len(values)} children and its ends say {sorted(counts)}")
        read = "".join(rec.body()["text"] for rec in values)
        wholes = list(self._log.texts.whole(execution.serial, given.source, execution.path))
        lineages = {lin for lin, whole in wholes if whole == read}
        if len(lineages) != 1:
            self.faults.append(
                f"{execution} read a text that {given.source}{execution.path} never wrote: {read[:60]!r}; "
                f"it wrote {[whole[:60] for _, whole in wholes]}"
            )
            return
        (lin,) = lineages
        prompt = self._log.prompts.get((execution.serial, given.source, execution.path, lin))
        if prompt is None:
            self.faults.append(f"{execution} read a text of no prompt")
            return
        self.follow(_prompt_of(prompt)["token"])


def _prompt_of(rec: Rec) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(rec.body()["prompt"])
    return found
