"""From label records to what is known of each example: who says what, what was withdrawn, where people
disagree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from learning.errors import LabelError
from learning.records import Label, LabelRequest, TrainingExample, TrainingSet


@dataclass(frozen=True)
class Opinion:
    """All standing labels of one example."""

    labels: tuple[Label, ...]

    @property
    def value(self) -> str | None:
        """The class of the strict majority; None where there is none: a person has to decide."""
        if not self.labels:
            return None
        (first, votes), *others = Counter(label.value for label in self.labels).most_common()
        return None if others and others[0][1] == votes else first

    @property
    def disagrees(self) -> bool:
        return len({label.value for label in self.labels}) > 1


@dataclass
class Labels:
    """The state that label and label-request records fold into. Records may come twice and in any order
    between topics: a label that is there before its request waits."""

    requests: dict[str, LabelRequest] = field(default_factory=dict)
    _said: dict[str, dict[str, Label]] = field(default_factory=dict)
    """By example, by labeller: that labeller's latest."""
    _ids: set[str] = field(default_factory=set)

    def ask(self, request: LabelRequest) -> None:
        self.requests[request.id] = request

    def say(self, label: Label) -> bool:
        """Fold in one label; False where it was known already.

        Raises LabelError for a value that is not a class of its request, or a withdrawal of what was never
        said; the state is then unchanged.
        """
        if label.id in self._ids:
            return False
        check(label, self.requests.get(label.example))
        mine = self._said.setdefault(label.example, {})
        earlier = mine.get(label.labeller)
        if label.withdrawn and earlier is None:
            raise LabelError(
                f"labeller {label.labeller!r} withdraws a label of {label.example!r} that never was.",
                code="learning.label.nothing-to-withdraw",
            )
        self._ids.add(label.id)
        if earlier is None or (earlier.labelled_at, earlier.id) < (label.labelled_at, label.id):
            mine[label.labeller] = label
        return True

    def opinion(self, example: str) -> Opinion:
        said = self._said.get(example, {}).values()
        return Opinion(tuple(sorted((s for s in said if not s.withdrawn), key=lambda s: (s.labelled_at, s.id))))

    def pending(self, model: str | None = None) -> list[LabelRequest]:
        """Requests that nobody has answered, oldest first."""
        found = [
            r
            for r in self.requests.values()
            if model in {None, r.model} and not r.dismissed and not self.opinion(r.id).labels
        ]
        return sorted(found, key=lambda r: (r.requested_at, r.id))

    def count(self, model: str) -> int:
        """Standing labels of a model's examples."""
        return sum(len(self.opinion(r.id).labels) for r in self.requests.values() if r.model == model)

    def unknown(self) -> list[str]:
        """Examples that were labelled and never asked for: kept, not trained on."""
        return sorted(set(self._said) - set(self.requests))

    def training_set(self, model: str, *, without: Iterable[str] = ()) -> TrainingSet:
        """The snapshot of now: one row an example on which people agree by majority, the rest listed as
        disagreements."""
        left_out = set(without)
        rows, open_questions = [], []
        for request in sorted(self.requests.values(), key=lambda r: r.id):
            opinion = self.opinion(request.id)
            if request.model != model or not opinion.labels or request.id in left_out:
                continue
            if opinion.value is None:
                open_questions.append(request.id)
                continue
            agreeing = tuple(label.id for label in opinion.labels if label.value == opinion.value)
            rows.append(
                TrainingExample(
                    id=request.id,
                    example=request.example,
                    value=opinion.value,
                    weight=len(agreeing) / len(opinion.labels),
                    labels=agreeing,
                    flags=request.flags,
                    request=request.request,
                    entity=request.entity,
                )
            )
        return TrainingSet(model=model, examples=tuple(rows), disagreements=tuple(open_questions))


def check(label: Label, request: LabelRequest | None) -> None:
    """Raises LabelError where the label and what was asked contradict each other; a request that is not known
    yet is fine."""
    if label.withdrawn != (label.value is None):
        raise LabelError("a label has a value, or is withdrawn and has none.", code="learning.label.value")
    if request is None:
        return
    if label.model != request.model:
        raise LabelError(
            f"example {label.example!r} was asked for model {request.model!r}, not {label.model!r}.",
            code="learning.label.wrong-model",
        )
    if label.value is not None and label.value not in request.classes:
        raise LabelError(
            f"example {label.example!r} has the classes {', '.join(request.classes)}; the label names another. "
            "Label it again with one of these.",
            code="learning.label.wrong-class",
        )


def precision(labels: Labels, model: str | None = None) -> Mapping[str, tuple[int, int]]:
    """By assertion: (confirmed, judged) flags, of one model or of all. A flag is judged when its example has a majority
    label, and confirmed when that label is not what the model predicted."""
    found: dict[str, list[int]] = {}
    for name, request in labels.requests.items():
        value = labels.opinion(name).value
        if value is None or request.predicted is None or model not in {None, request.model}:
            continue
        for assertion in request.severities:
            confirmed, total = found.setdefault(assertion, [0, 0])
            found[assertion] = [confirmed + (value != request.predicted), total + 1]
    return {assertion: (confirmed, total) for assertion, (confirmed, total) in sorted(found.items())}
