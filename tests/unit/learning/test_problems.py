"""Each label that cannot be used is told with its reason."""

from __future__ import annotations

from datetime import UTC, datetime

from learning.problems import problems
from learning.records import LABEL_REQUESTS, LABELS, Label, LabelRequest
from learning.view import Learned

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def learned(*labels: tuple[str, str, str]) -> Learned:
    found = Learned()
    for name in ("e1", "e2"):
        request = LabelRequest(id=name, model="m", example=None, classes=("x", "y"), requested_at=NOON)
        found.fold(LABEL_REQUESTS, name.encode(), request.encoded())
    for example, labeller, value in labels:
        label = Label(
            id=f"{example}-{labeller}", example=example, model="m", labeller=labeller, value=value, labelled_at=NOON
        )
        found.fold(LABELS, example.encode(), label.encoded())
    return found


def test_good_labels_are_no_problem() -> None:
    assert not problems(learned(("e1", "ann", "x"), ("e1", "bob", "x")))


def test_each_problem_says_what_it_is() -> None:
    found = learned(
        ("e1", "ann", "x"), ("e1", "bob", "y"), ("e1", "cem", "purple"), ("nobody-asked", "ann", "x"),
        ("e2", "ann", "x"), ("e2", "bob", "y"), ("e2", "cem", "x"),
    )  # fmt: skip
    found.fold(LABELS, b"e2", b"{not a label")
    told = {(p.example, p.code): p.why for p in problems(found)}
    assert set(told) == {
        ("e1", "learning.label.wrong-class"), ("e2", "learning.record"), ("nobody-asked", "learning.label.unknown"),
        ("e1", "learning.label.disagreement"), ("e2", "learning.label.disagreement"),
    }  # fmt: skip
    assert "left out" in told["e1", "learning.label.disagreement"]
    assert "majority counts, x" in told["e2", "learning.label.disagreement"]
