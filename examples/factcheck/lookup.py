"""Evidence for a claim: its triple, and what the tables say of that entity and relation."""

from __future__ import annotations

import re
from typing import Final

from rapidfuzz import fuzz

from examples.factcheck.models import Evidence, Triple
from examples.factcheck.tables import NUMERIC, SOURCES, find_country, plain
from examples.factcheck.triples import TripleError, parse_triple

_SIZES: Final = {"thousand": 1e3, "million": 1e6, "billion": 1e9, "m": 1e6, "bn": 1e9}
_NUMBER: Final = re.compile(
    r"(?P<digits>\d[\d,]*(?:\.\d+)?)\s*(?P<size>thousand|million|billion|m|bn)?\b", re.IGNORECASE
)


def number(text: str) -> float | None:
    """The first number in a text: "about 1.4 billion" is 1.4e9. None where there is none."""
    match = _NUMBER.search(text)
    if match is None:
        return None
    return float(match["digits"].replace(",", "")) * _SIZES.get((match["size"] or "").casefold(), 1.0)


def in_words(value: float) -> str:
    """68_432_000 as "68 million": a number as the prompts write them."""
    for unit, size in (("billion", 1e9), ("million", 1e6)):
        if value >= size:
            return f"{float(f'{value / size:.2g}'):g} {unit}"
    return f"{float(f'{value:.2g}'):,.0f}"


def look_up(triple: Triple) -> Evidence:
    """What the tables say; `facts` is empty, with the reason, where they cannot tell."""
    country = find_country(triple.entity)
    if country is None:
        return Evidence(triple=triple, reason="no country of that name is in the tables")
    facts = country.facts.get(triple.relation, ())
    if not facts:
        return Evidence(triple=triple, entity=country.name, reason=f"the tables know no {triple.relation} of it")
    if triple.relation in NUMERIC:
        facts = tuple(in_words(float(fact)) for fact in facts)
    closest = sorted(facts, key=lambda fact: -fuzz.ratio(plain(fact), plain(triple.object)))
    return Evidence(triple=triple, entity=country.name, facts=tuple(closest), source=SOURCES[triple.relation])


def evidence_for(claim: str, line: str) -> Evidence:
    """Parses the model's line and looks it up. Never raises: what is no triple is evidence of nothing."""
    try:
        return look_up(parse_triple(line, claim))
    except TripleError as error:
        return Evidence(reason=str(error))
