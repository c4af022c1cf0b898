"""Reads the line "Bolivia | capital | La Paz" that the model writes for a claim, strictly."""

from __future__ import annotations

from typing import Final, cast

from examples.factcheck.models import Triple
from examples.factcheck.tables import RELATIONS, Relation, plain

PARTS: Final = 3


class TripleError(ValueError):
    """The model's line is not a triple of its claim; the message says in which way, and quotes nothing."""


def parse_triple(line: str, claim: str) -> Triple:
    """The triple, if it has the form and says nothing that its claim does not say.

    Raises TripleError: not three parts, an empty one, an unknown relation, or an entity or object that does
    not occur in the claim (a small model copies from its examples when it is lost).
    """
    parts = [" ".join(part.split()) for part in line.strip().removesuffix(".").split("|")]
    if len(parts) != PARTS:
        raise TripleError(f"the model wrote {len(parts)} parts where a triple has {PARTS}")
    entity, relation, said = parts
    if not (plain(entity) and relation and plain(said)):
        raise TripleError("the model left a part of the triple empty")
    if relation.casefold() not in RELATIONS:
        raise TripleError(f"the model named a relation that is none of: {', '.join(RELATIONS)}")
    words = plain(claim)
    for name, part in (("entity", entity), ("object", said)):
        if plain(part) not in words:
            raise TripleError(f"the {name} of the triple does not occur in its claim")
    if plain(entity) == plain(said):
        raise TripleError("entity and object of the triple are the same")
    return Triple(entity=entity, relation=cast("Relation", relation.casefold()), object=said)
