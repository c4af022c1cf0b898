"""What people said in place of what the model said: from a file, or from the topic on which labels are kept."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from assertions.core.observation import Observation, parse_value
from assertions.errors import ObservationError
from assertions.history import read_topic
from assertions.offline import json_lines
from streams.settings import KafkaSettings

LABELS: Final = "learning.labels"
"""Written by `descant labels` and the labelling page."""


def labelled(
    observations: Iterable[Observation], labels: Mapping[str, Any], field: str | None = None
) -> Iterator[Observation]:
    """The observations that have a label, holding it in place of what the model said.

    labels   subject ("<request>/<path>") → what a person says is right; for an observation of several stages, it stands
             for the last one
    field    the label is this field of the output, as a class is; without it, it is the whole output
    Validating labels is one of the uses that the paper shows: the assertions that doubt the model doubt people too.
    Raises ObservationError for an output without such a field.
    """
    for observation in observations:
        if observation.subject not in labels:
            continue
        label, said = labels[observation.subject], observation.values[-1]
        if field is not None:
            if not isinstance(said, Mapping) or field not in said:
                raise ObservationError(f"the output of {observation.subject!r} has no field {field!r} for its label")
            label = {**said, field: label}
        yield observation.with_values(*observation.values[:-1], label)


def read_labels(path: Path) -> dict[str, Any]:
    """Labels of a file, JSON lines with `subject` and `label`; the last line of a subject counts.

    Records of the labels topic will do as well.
    """
    found: dict[str, Any] = {}
    records: list[Mapping[str, Any]] = []
    for number, row in json_lines(path):
        if "subject" in row and "label" in row:
            found[str(row["subject"])] = row["label"]
        elif {"example", "value", "labeller", "labelled_at"} <= set(row):
            records.append(row)
        else:
            raise ObservationError(f"{path.name}, line {number}: a label needs `subject` and `label`")
    return {**standing(records), **found}


def labels_on_topic(kafka: KafkaSettings) -> dict[str, Any]:
    """All labels that people gave. Raises BrokerError when the topic cannot be read."""
    records = []
    for message in read_topic(kafka, LABELS, "beginning"):
        try:
            record = parse_value(message.value() or b"")
        except ValueError:
            continue  # of somebody else
        if isinstance(record, dict) and {"example", "value", "labeller", "labelled_at"} <= set(record):
            records.append(record)
    return standing(records)


def standing(records: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Example → the value that most labellers give it now; not those that are withdrawn, nor where two lead."""
    said: dict[str, dict[str, Mapping[str, Any]]] = defaultdict(dict)
    for record in sorted(records, key=lambda r: (str(r["labelled_at"]), str(r.get("id", "")))):
        said[str(record["example"])][str(record["labeller"])] = record
    found: dict[str, Any] = {}
    for example, by in said.items():
        values = Counter(str(r["value"]) for r in by.values() if not r.get("withdrawn") and r["value"] is not None)
        ranked = values.most_common(2)
        if ranked and (len(ranked) == 1 or ranked[0][1] > ranked[1][1]):
            found[example] = ranked[0][0]
    return found
