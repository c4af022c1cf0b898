"""What is wrong with the labels, as sentences for whoever can put it right. Nothing here is lost: the records stay on
the topic, and are trained on as soon as they can be."""

from __future__ import annotations

from dataclasses import dataclass

from learning.view import Learned


@dataclass(frozen=True)
class Problem:
    example: str
    code: str
    why: str


def problems(learned: Learned) -> list[Problem]:
    """Labels that were passed over, labels of examples that nobody asked about, and examples on which labellers
    disagree."""
    found = [Problem(key, error.code, str(error)) for key, error in learned.refused]
    found += [
        Problem(name, "learning.label.unknown", "it was labelled and nobody asked about it; it is not trained on.")
        for name in learned.labels.unknown()
    ]
    for name in sorted(learned.labels.requests):
        opinion = learned.labels.opinion(name)
        if opinion.disagrees:
            said = ", ".join(f"{label.labeller} says {label.value}" for label in opinion.labels)
            what = "it is left out of training" if opinion.value is None else f"the majority counts, {opinion.value}"
            found.append(Problem(name, "learning.label.disagreement", f"{said}; {what}."))
    return found
