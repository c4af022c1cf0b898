"""Labels travel as files and come back the same."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime

import numpy as np
import pytest

from learning.compare import compare
from learning.errors import LabelError, SelectionError, UnknownNameError
from learning.exchange import Format, export_requests, import_labels
from learning.records import LabelRequest, LabelSource
from learning.select import select

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
REQUESTS = [
    LabelRequest(
        id=f"e{i}", model="m", example={"text": 'a "quoted", line\nand another'}, classes=("x", "y"), requested_at=NOON
    )
    for i in range(3)
]


def filled(text: str, form: Format) -> str:
    """The file as a labeller gives it back: the first two are y."""
    if form is Format.CSV:
        rows = list(csv.DictReader(io.StringIO(text)))
        out = io.StringIO()
        writer = csv.DictWriter(out, rows[0])
        writer.writeheader()
        writer.writerows({**row, "value": "y" if i < 2 else ""} for i, row in enumerate(rows))
        return out.getvalue()
    if form is Format.JSONL:
        rows = [json.loads(line) for line in text.splitlines()]
        return "\n".join(json.dumps({**row, "value": "y" if i < 2 else None}) for i, row in enumerate(rows))
    tasks = json.loads(text)
    for task in tasks[:2]:
        task["annotations"] = [{"completed_by": {"email": "bob"}, "result": [{"value": {"choices": ["y"]}}]}]
    return json.dumps(tasks)


@pytest.mark.parametrize("form", list(Format))
def test_out_and_in_again(form: Format) -> None:
    text = filled(export_requests(REQUESTS, form), form)
    labels = import_labels(text, form, labeller="bob", at=NOON, source=LabelSource.IMPORT)
    assert [(label.example, label.model, label.value, label.labeller) for label in labels] == [
        ("e0", "m", "y", "bob"),
        ("e1", "m", "y", "bob"),
    ]
    again = import_labels(text, form, labeller="bob", at=NOON, source=LabelSource.IMPORT)
    assert [label.id for label in again] == [label.id for label in labels], "the same file twice is the same labels"


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("not json", Format.JSONL),
        ("[1]", Format.LABEL_STUDIO),
        ('{"value": "y"}', Format.JSONL),
        ("[]x", Format.LABEL_STUDIO),
    ],
)
def test_a_file_of_another_kind_is_told(text: str, form: Format) -> None:
    with pytest.raises(LabelError) as caught:
        import_labels(text, form, labeller="bob", at=NOON, source=LabelSource.IMPORT)
    assert caught.value.code == "learning.label.import"


def test_compare_ranks_by_errors_found() -> None:
    rng = np.random.default_rng(0)
    wrong = rng.random(500) < 0.1
    severities = (wrong & (rng.random(500) < 0.8))[:, None].astype(float)
    found = compare(severities, None, wrong, selectors=["random", "error-seeking"], budget=10, rounds=3, seeds=5)
    assert [f.selector for f in found] == ["error-seeking", "random"]
    assert found[0].errors[-1] > 2 * found[1].errors[-1]
    assert list(found[0].errors) == sorted(found[0].errors)


def test_an_unknown_selector_and_missing_arrays_are_told() -> None:
    with pytest.raises(UnknownNameError, match="error-seeking"):
        select(np.ones((3, 1)), None, 1, None, np.random.default_rng(0), using="clairvoyance")
    with pytest.raises(SelectionError, match="uncertainty"):
        select(np.ones((3, 1)), None, 1, None, np.random.default_rng(0), using="margin")
