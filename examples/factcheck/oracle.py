"""Labels from the fact tables, in the place of a person: marked as an oracle's, here and on the topic."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from pydantic import JsonValue

from examples.factcheck.tables import find_country
from examples.factcheck.truth import judged
from learning.records import Label, LabelRequest, LabelSource, Record, digest

NAME: Final = "fact-tables"


def truth(example: JsonValue) -> str | None:
    """The class of a verdict's example, by its sentence and the tables alone: neither the triple that the model made of
    it nor its features are looked at. None where the sentence has no form that can be judged so."""
    assert isinstance(example, dict)  # noqa: S101 made by recipe.shown
    country = find_country(str(example["entity"]))
    holds = None if country is None else judged(str(example["sentence"]), country)
    return None if holds is None else ("supported" if holds else "refuted")


def answers(requests: Iterable[LabelRequest], now: datetime) -> list[Record]:
    """A label for each request, or its dismissal where the tables cannot tell."""
    found: list[Record] = []
    for request in requests:
        value = truth(request.example)
        if value is None:
            found.append(request.model_copy(update={"dismissed": True}))
        else:
            found.append(
                Label(
                    id=digest([request.id, NAME, value]), example=request.id, model=request.model, labeller=NAME,
                    value=value, source=LabelSource.ORACLE, labelled_at=now,
                )
            )  # fmt: skip
    return found
