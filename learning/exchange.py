"""Labels in and out as files: JSON lines, CSV, and tasks of Label Studio. Pure: text in, text out."""

from __future__ import annotations

import csv
import enum
import io
import json
from collections.abc import Iterable, Sequence
from datetime import datetime

from pydantic import JsonValue, ValidationError

from learning.errors import LabelError
from learning.records import Label, LabelRequest, LabelSource, digest


class Format(enum.StrEnum):
    JSONL = "jsonl"
    CSV = "csv"
    LABEL_STUDIO = "label-studio"


def export_requests(requests: Sequence[LabelRequest], form: Format) -> str:
    """Tasks for whoever labels: fill in `value` (CSV, JSON lines) or annotate the choice `class` (Label Studio)."""
    if form is Format.JSONL:
        return "".join(json.dumps(_row(r), ensure_ascii=False) + "\n" for r in requests)
    if form is Format.CSV:
        out = io.StringIO()
        writer = csv.DictWriter(
            out, ["example", "model", "classes", "predicted", "shown", "value"], lineterminator="\n"
        )
        writer.writeheader()
        for r in requests:
            shown = r.example if isinstance(r.example, str) else json.dumps(r.example, ensure_ascii=False)
            writer.writerow(
                {"example": r.id, "model": r.model, "classes": "|".join(r.classes), "predicted": r.predicted or "",
                 "shown": shown, "value": ""}
            )  # fmt: skip
        return out.getvalue()
    tasks = [
        {"data": {**_row(r), "text": r.example if isinstance(r.example, str) else json.dumps(r.example)}}
        for r in requests
    ]
    return json.dumps(tasks, ensure_ascii=False, indent=1) + "\n"


def _row(request: LabelRequest) -> dict[str, JsonValue]:
    return {
        "example": request.id,
        "model": request.model,
        "classes": list(request.classes),
        "predicted": request.predicted,
        "shown": request.example,
        "value": None,
    }


def import_labels(text: str, form: Format, *, labeller: str, at: datetime, source: LabelSource) -> list[Label]:
    """The labels of a file. Rows without a value are skipped; the same row imported twice is one label.

    Raises LabelError with the number of the row, counted from 1, and what is missing.
    """
    rows = list(_rows(text, form))
    labels = []
    for number, row in enumerate(rows, 1):
        example, model, value = row.get("example"), row.get("model"), row.get("value")
        if not value:
            continue
        if not isinstance(example, str) or not isinstance(model, str) or not isinstance(value, str):
            raise LabelError(
                f"row {number} needs example, model and value, each a text. Nothing was imported.",
                code="learning.label.import",
            )
        who = str(row.get("labeller") or labeller)
        identity = digest([example, who, value, source.value])
        try:
            label = Label(
                id=identity, example=example, model=model, labeller=who, value=value, source=source, labelled_at=at
            )
        except ValidationError as error:
            fields = ", ".join(str(problem["loc"][0]) for problem in error.errors(include_input=False))
            raise LabelError(
                f"row {number} cannot be a label: {fields} is empty or too long. Nothing was imported.",
                code="learning.label.import",
            ) from error
        labels.append(label)
    return labels


def _rows(text: str, form: Format) -> Iterable[dict[str, object]]:
    try:
        if form is Format.CSV:
            return [dict(row) for row in csv.DictReader(io.StringIO(text))]
        if form is Format.JSONL:
            return [_object(json.loads(line)) for line in text.splitlines() if line.strip()]
        return [row for task in json.loads(text) for row in _annotated(_object(task))]
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise LabelError(
            f"this is not a {form.value} file of labels ({type(error).__name__}). Nothing was imported.",
            code="learning.label.import",
        ) from error


def _annotated(task: dict[str, object]) -> Iterable[dict[str, object]]:
    """One row an annotation of a Label Studio export: the first choice counts, the annotator is the labeller."""
    data, annotations = _object(task["data"]), task.get("annotations") or []
    if not isinstance(annotations, list):
        raise TypeError("annotations are a list")
    for annotation in annotations:
        choices = [r["value"]["choices"][0] for r in annotation.get("result", []) if "choices" in r.get("value", {})]
        by = annotation.get("completed_by")
        yield {
            "example": data["example"],
            "model": data["model"],
            "value": choices[0] if choices else None,
            "labeller": by.get("email") if isinstance(by, dict) else by,
        }


def _object(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value
