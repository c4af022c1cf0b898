"""Consistency assertions: what is said about one identifier must agree, and must not flicker.

Source: Kang et al., Model Assertions for Monitoring and Improving ML Models, MLSys 2020, section 4: `Id`, `Attrs` and
`T` generate one attribute check for each attribute and checks that at most one transition happens within T seconds.
The paper runs over a whole recorded data set. Here every output is judged among those within T seconds on either side
of it, so that the result is a function of the set of outputs and not of their order of arrival.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, Literal, TypeAlias

from assertions.core.observation import Observation, canonical, digest
from assertions.core.severity import Correction, Finding
from assertions.core.window import HORIZON_SECONDS

Transition = Literal["flicker", "appear"]
WeakLabel: TypeAlias = Callable[[Any, Any, float], Any]
"""(before, after, time) → the output that should have been there."""
# References in one flag. A conflict is understood from the nearest few; all of them could be a record of megabytes.
REFERENCES_MAX: Final = 20
# Characters of an identifier in the rule of a flag: a whole text, given as one, is not repeated there.
LABEL_MAX: Final = 200


@dataclass(slots=True)  # not frozen, nor is Step: made for each observation, and freezing doubles what that costs
class Output:
    """One output of an observation: what it is about, and what it says of it."""

    id: str
    label: str
    """The identifier as people read it."""
    attrs: Mapping[str, Any]
    value: Any = field(default=None, compare=False)


@dataclass(slots=True)
class Step:
    """An observation with the outputs that were found in it; none is a step in which nothing was there."""

    observation: Observation
    outputs: tuple[Output, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ConsistencyRule:
    """Pure: steps of one key in, findings for each out."""

    id: Callable[..., Any]
    attrs: Callable[..., Mapping[str, Any]] | None
    within: float
    """T, in seconds."""
    transitions: tuple[Transition, ...] = ()
    explode: Callable[..., Iterable[Any]] | None = None
    weak_label: WeakLabel | None = None

    def outputs(self, *items: Any) -> tuple[Output, ...]:
        """What an observation holds. Calls the user's functions; an id of None is no output."""
        found: list[Output] = []
        for given in [(each,) for each in self.explode(*items)] if self.explode else [items]:
            identifier = self.id(*given)
            if identifier is None:
                continue
            attrs = dict(self.attrs(*given)) if self.attrs else {}
            name = _readable(identifier)
            found.append(Output(canonical(name), _named(str(name)), attrs, given))
        return tuple(found)

    def findings(self, steps: Sequence[Step], key: str | None) -> list[list[Finding]]:
        """What is wrong with each step, among the others; `key` narrows the attribute checks to one identifier."""
        found: list[list[Finding]] = [[] for _ in steps]
        for at, finding in self._disagreements(steps, key):
            found[at].append(finding)
        if self.transitions:
            for at, finding in self._transitions(steps):
                found[at].append(finding)
        return found

    def _disagreements(self, steps: Sequence[Step], key: str | None) -> Iterator[tuple[int, Finding]]:
        said: dict[tuple[str, str], list[tuple[int, Output, str]]] = defaultdict(list)
        for at, step in enumerate(steps):
            for output in step.outputs:
                if key is None or output.id == key:
                    for name, value in output.attrs.items():
                        said[output.id, name].append((at, output, canonical(_readable(value))))
        for (_, name), mentions in said.items():
            yield from self._minorities(steps, name, mentions)

    def _minorities(
        self, steps: Sequence[Step], name: str, mentions: Sequence[tuple[int, Output, str]]
    ) -> Iterator[tuple[int, Finding]]:
        times = [steps[at].observation.time for at, _, _ in mentions]
        counts: Counter[str] = Counter()
        low = high = 0
        for (at, output, value), time in zip(mentions, times, strict=True):
            while high < len(times) and times[high] - time <= self.within:
                counts[mentions[high][2]] += 1
                high += 1
            while time - times[low] > self.within:
                counts[mentions[low][2]] -= 1
                low += 1
            near = {said: n for said, n in counts.items() if n}
            if len(near) == 1:
                continue
            most = max(near.values())
            leaders = [said for said, n in near.items() if n == most]
            if leaders == [value]:
                continue
            others = [m for m in mentions[low:high] if m[2] != value]
            winner = next(o.attrs[name] for _, o, said in others if said == leaders[0]) if len(leaders) == 1 else None
            references = sorted({steps[m[0]].observation.id for m in _nearest(others, times, low, time)})
            yield (
                at,
                Finding(
                    rule=f"attr.{name}:{output.label}",
                    severity=len(others) / (high - low - 1),
                    why=f"{output.label}: {name} is {_short(output.attrs[name])} here and "
                    f"{', '.join(sorted({_short(o.attrs[name]) for _, o, _ in others}))} elsewhere",
                    correction=None if winner is None else Correction("modify", changes={name: _readable(winner)}),
                    references=tuple(references),
                ),
            )

    def _transitions(self, steps: Sequence[Step]) -> Iterator[tuple[int, Finding]]:
        for start, end in _recordings(steps):
            yield from self._recording(steps, start, end)

    def _recording(self, steps: Sequence[Step], start: int, end: int) -> Iterator[tuple[int, Finding]]:
        # Observations of one time are one step: a frame whose boxes came as several items.
        starts = [
            i for i in range(start, end) if i == start or steps[i].observation.time != steps[i - 1].observation.time
        ]
        times = [steps[i].observation.time for i in starts]
        present: list[dict[str, tuple[int, Output]]] = []
        for first, last in zip(starts, [*starts[1:], end], strict=True):
            present.append({o.id: (i, o) for i in range(first, last) for o in steps[i].outputs})
        seen: dict[str, list[int]] = defaultdict(list)
        for at, there in enumerate(present):
            for identifier in there:
                seen[identifier].append(at)
        for identifier, at_steps in seen.items():
            episodes = _episodes(at_steps)
            if "appear" in self.transitions:
                yield from self._brief(identifier, episodes, times, present, steps)
            if "flicker" in self.transitions:
                yield from self._gaps(identifier, episodes, times, present, steps)

    def _brief(
        self,
        identifier: str,
        episodes: Sequence[tuple[int, int]],
        times: Sequence[float],
        present: Sequence[Mapping[str, tuple[int, Output]]],
        steps: Sequence[Step],
    ) -> Iterator[tuple[int, Finding]]:
        for first, last in episodes:
            if first == 0 or last + 1 == len(times):  # it was there before we looked, or still is
                continue
            lasted = times[last + 1] - times[first]
            if lasted > self.within:
                continue
            ids = tuple(steps[present[at][identifier][0]].observation.id for at in range(first, last + 1))
            subject, output = present[first][identifier]
            yield (
                subject,
                Finding(
                    rule=f"appear:{output.label}",
                    severity=2 - lasted / self.within,
                    why=f"{output.label} appeared and was gone after {lasted:.3g} s",
                    correction=Correction("remove", targets=ids[:REFERENCES_MAX]),
                    references=ids[1:REFERENCES_MAX],
                ),
            )

    def _gaps(
        self,
        identifier: str,
        episodes: Sequence[tuple[int, int]],
        times: Sequence[float],
        present: Sequence[Mapping[str, tuple[int, Output]]],
        steps: Sequence[Step],
    ) -> Iterator[tuple[int, Finding]]:
        for (_, last), (first, _) in pairwise(episodes):
            missing = times[first] - times[last + 1]
            if missing > self.within:
                continue
            before, after = present[last][identifier], present[first][identifier]
            additions = self._labels(before[1], after[1], times[last + 1 : first])
            yield (
                after[0],
                Finding(
                    rule=f"flicker:{after[1].label}",
                    severity=2 - missing / self.within,
                    why=f"{after[1].label} was missing for {missing:.3g} s and came back",
                    correction=Correction("add", additions=additions) if additions else None,
                    references=(steps[before[0]].observation.id,),
                ),
            )

    def _labels(self, before: Output, after: Output, missing: Sequence[float]) -> tuple[Any, ...]:
        if self.weak_label is None:
            return ()
        first = before.value[0] if len(before.value) == 1 else before.value
        second = after.value[0] if len(after.value) == 1 else after.value
        proposed = (self.weak_label(first, second, time) for time in missing[:REFERENCES_MAX])
        return tuple(_readable(each) for each in proposed if each is not None)


def said(step: Step, key: str) -> Iterator[tuple[str, str]]:
    """(attribute, value in one spelling) of the step's outputs of one identifier."""
    for output in step.outputs:
        if output.id == key:
            for name, value in output.attrs.items():
                yield name, canonical(_readable(value))


def _recordings(steps: Sequence[Step]) -> Iterator[tuple[int, int]]:
    """Index ranges without a pause longer than the horizon: over a pause nothing is known to have changed."""
    start = 0
    for at in range(1, len(steps) + 1):
        if at == len(steps) or steps[at].observation.time - steps[at - 1].observation.time > HORIZON_SECONDS:
            yield start, at
            start = at


def _episodes(at_steps: Sequence[int]) -> list[tuple[int, int]]:
    """Runs of consecutive steps, as (first, last)."""
    episodes: list[tuple[int, int]] = []
    for at in at_steps:
        if episodes and at == episodes[-1][1] + 1:
            episodes[-1] = (episodes[-1][0], at)
        else:
            episodes.append((at, at))
    return episodes


def _nearest(
    others: Sequence[tuple[int, Output, str]], times: Sequence[float], low: int, time: float
) -> Sequence[tuple[int, Output, str]]:
    if len(others) <= REFERENCES_MAX:
        return others
    middle = max(0, min(bisect_left(times, time) - low - REFERENCES_MAX // 2, len(others) - REFERENCES_MAX))
    return others[middle : middle + REFERENCES_MAX]


def _readable(value: Any) -> Any:
    """JSON for what users' functions return: models by their fields, tuples as lists, the rest as text."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Mapping):
        return {str(k): _readable(v) for k, v in value.items()}
    if isinstance(value, Sequence):
        return [_readable(v) for v in value]
    dump = getattr(value, "model_dump", None)
    return dump(mode="json") if callable(dump) else str(value)


def _named(text: str) -> str:
    """An identifier as a flag's rule names it: whole up to LABEL_MAX, and then still its own."""
    return text if len(text) <= LABEL_MAX else f"{text[:LABEL_MAX]}…{digest(text)}"


def _short(value: Any) -> str:
    text = str(_readable(value))
    return text if len(text) <= 60 else text[:57] + "..."
