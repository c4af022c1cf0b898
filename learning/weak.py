"""Weak supervision: what rules say of unlabelled examples becomes weighted training examples that name their
rules.

A rule is an assertion whose flags propose a class, as by a correction, or a function that a user wrote. Its word counts
by its measured precision, on the few examples that people have labelled; a rule that nobody has checked counts by the
prior.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pydantic import JsonValue

from learning.choosing import Flagged
from learning.errors import TrainingError
from learning.records import TrainingExample

PRIOR = (2.0, 1.0)
"""Right and wrong answers that every rule is credited with. Corrections were right on 20–68 % and precise
user rules on 90 % and more, so two thirds, held weakly, is neither trust nor disbelief."""
LIKELY = 0.6
"""Least probability of the winning class; below it the rules' disagreement is reported and nothing is trained
on it."""


@dataclass(frozen=True)
class WeakLabels:
    """What a recipe learns from beside people: what flags propose (`Flagged.proposed`), and its own functions."""

    rules: Mapping[str, Callable[[JsonValue], str | None]] = field(default_factory=dict)
    """By name: an example -> its class, None where the rule cannot tell."""
    examples: Callable[[], Sequence[Flagged]] = tuple
    """What the rules look at beside flagged examples: recorded ones that nobody has labelled."""


@dataclass(frozen=True)
class Proposal:
    """One rule's word on one example."""

    example: str
    rule: str
    value: str


@dataclass(frozen=True)
class Trust:
    """How often a rule was right where people could tell."""

    right: int
    judged: int

    @property
    def precision(self) -> float:
        return (PRIOR[0] + self.right) / (sum(PRIOR) + self.judged)


@dataclass(frozen=True)
class Conflict:
    """An example on which rules contradict each other; `value` is what won, None where nothing did."""

    example: str
    said: Mapping[str, tuple[str, ...]]
    """By class, the rules for it."""
    value: str | None


@dataclass(frozen=True)
class WeakExamples:
    examples: tuple[TrainingExample, ...]
    conflicts: tuple[Conflict, ...]
    doubtful: int
    """Examples without a conflict whose only rules are not trusted enough."""
    trusted: Mapping[str, Trust] = field(default_factory=dict)
    """By rule, what it was weighed by; a rule that is not here, by the prior."""


def weak_examples(
    weak: WeakLabels, found: Iterable[Flagged], classes: Sequence[str], people: Sequence[TrainingExample],
    without: Collection[str] = (),
) -> WeakExamples:  # fmt: skip
    """What the rules say of examples that nobody labelled, each with the flags that it was found by.

    found    flagged examples, and those of `weak`; of two with one id the later counts
    people   what people agree on: each rule's precision is measured there, and no rule overrides it
    without  ids of further examples that are no rule's to decide
    Raises   TrainingError for a function that says a class which the model does not have; whatever else it raises
    """
    points = {e.id: Flagged(e.id, e.example) for e in people} | {e.id: e for e in found}
    proposals = [word for point in points.values() for word in _words(weak, point, classes)]
    truth = {e.id: e.value for e in people}
    examples = {name: point.example for name, point in points.items()}
    made = resolve(proposals, examples, classes, trust(proposals, truth), labelled={*truth, *without})
    origin = ("flags", "request", "entity")
    rows = (row.model_copy(update={n: getattr(points[row.id], n) for n in origin}) for row in made.examples)
    return replace(made, examples=tuple(rows))


def _words(weak: WeakLabels, point: Flagged, classes: Sequence[str]) -> Iterator[Proposal]:
    # A correction may be of something else than the class, or name one that only another model has.
    yield from (Proposal(point.id, name, value) for name, value in point.proposals.items() if value in classes)
    for name, rule in weak.rules.items():
        value = rule(point.example)
        if value is None:
            continue
        if value not in classes:
            raise TrainingError(
                f"rule {name!r} says a class that is none of {', '.join(classes)}. Let it say one of them, or None.",
                code="learning.weak.class",
            )
        yield Proposal(point.id, name, value)


def trust(proposals: Iterable[Proposal], truth: Mapping[str, str]) -> dict[str, Trust]:
    """By rule, measured on the examples whose true class is known. `truth` must not be the gate's held-out
    set."""
    found: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for proposal in proposals:
        if proposal.example in truth:
            found[proposal.rule][0] += proposal.value == truth[proposal.example]
            found[proposal.rule][1] += 1
    return {rule: Trust(right, judged) for rule, (right, judged) in sorted(found.items())}


def resolve(
    proposals: Sequence[Proposal],
    examples: Mapping[str, JsonValue],
    classes: Sequence[str],
    trusted: Mapping[str, Trust] | None = None,
    *,
    labelled: Iterable[str] = (),
) -> WeakExamples:
    """Weigh the rules' words against each other, as independent witnesses of which one is right with its
    precision and wrong to any other class alike (naive Bayes). The probability of the winner above chance is
    the example's weight.

    labelled   examples that people have labelled: no rule overrides a person, so they are left out
    """
    known = set(labelled)
    said: dict[str, dict[str, str]] = defaultdict(dict)
    for proposal in proposals:
        if proposal.example not in known and proposal.example in examples:
            said[proposal.example][proposal.rule] = proposal.value
    rows: list[TrainingExample] = []
    conflicts: list[Conflict] = []
    doubtful = 0
    for example, words in sorted(said.items()):
        value, likely = _winner(words, classes, trusted or {})
        by_class: dict[str, list[str]] = defaultdict(list)
        for rule, word in sorted(words.items()):
            by_class[word].append(rule)
        sure = likely >= LIKELY
        if len(by_class) > 1:
            conflicts.append(
                Conflict(example, {c: tuple(r) for c, r in sorted(by_class.items())}, value if sure else None)
            )
        elif not sure:
            doubtful += 1
        if sure:
            chance = 1 / len(classes)
            weight = (likely - chance) / (1 - chance)
            rows.append(
                TrainingExample(
                    id=example, example=examples[example], value=value, weight=weight, rules=tuple(by_class[value])
                )
            )
    return WeakExamples(tuple(rows), tuple(conflicts), doubtful, dict(trusted or {}))


def _winner(words: Mapping[str, str], classes: Sequence[str], trusted: Mapping[str, Trust]) -> tuple[str, float]:
    score = dict.fromkeys(classes, 0.0)
    for rule, word in sorted(words.items()):  # in one order: sums of floats depend on it
        precision = trusted.get(rule, Trust(0, 0)).precision
        for c in classes:
            score[c] += math.log(precision if c == word else (1 - precision) / max(1, len(classes) - 1))
    most = max(score.values())
    total = sum(math.exp(s - most) for s in score.values())
    # The earlier class wins a tie; its probability is then at most a half, below what is trained on.
    winner = max(classes, key=lambda c: score[c])
    return winner, math.exp(score[winner] - most) / total


def own_predictions(
    predicted: Mapping[str, str], examples: Mapping[str, JsonValue], *, without: Iterable[str], weight: float
) -> tuple[TrainingExample, ...]:
    """The model's own predictions where no rule spoke: training on corrected points alone taught a model that
    everything looks like them (balanced accuracy −0.29 and −0.15 on two tasks)."""
    spoken = set(without)
    return tuple(
        TrainingExample(id=i, example=examples[i], value=value, weight=weight, rules=("own-prediction",))
        for i, value in sorted(predicted.items())
        if i not in spoken
    )
