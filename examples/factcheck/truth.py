"""Whether a sentence about a country is true, by the tables and the sentence alone.

Judges what the assertions found, so it shares nothing with them: it reads the sentence by its form, not by the triple
that the model made of it, and asks no verifier. What has none of these forms is not judged.
"""

from __future__ import annotations

import re
from typing import Final

from examples.factcheck.lookup import number
from examples.factcheck.tables import Country, Relation, find_country, plain

FORMS: Final[dict[Relation, re.Pattern[str]]] = {
    "capital": re.compile(r"\bcapital(?: city)? is (?:the city of )?(?P<said>[^,.;]+)[.]", re.IGNORECASE),
    "currency": re.compile(r"\bcurrency is (?:the )?(?P<said>[^,.;]+)[.]", re.IGNORECASE),
    "population": re.compile(
        r"\bpopulation (?:is|of)(?: about| approximately| around| over)? (?P<said>\d[\d.,]*(?: \w+)?)", re.IGNORECASE
    ),
    "language": re.compile(r"\bpeople speak (?:the )?(?P<said>[^.;]+?)(?: language)?[.]", re.IGNORECASE),
    "border": re.compile(r"\bit borders (?P<said>[^.;]+)[.]", re.IGNORECASE),
    "continent": re.compile(r"\bis an? (?:\w+ ){0,2}(?:country|nation) in (?P<said>[^,.;]+)[.]", re.IGNORECASE),
}
NEAR: Final = 0.1
"""A population within a tenth of the table's is right: the tables are some years old, and people round."""


def judged(sentence: str, country: Country) -> bool | None:
    """None: the sentence has none of the forms, or the tables say nothing of it."""
    for relation, form in FORMS.items():
        if (found := form.search(sentence)) is not None:
            facts = country.facts.get(relation, ())
            return _holds(relation, found["said"].strip(), facts, country) if facts else None
    return None


def _holds(relation: Relation, said: str, facts: tuple[str, ...], country: Country) -> bool | None:
    known = {plain(fact) for fact in facts}
    match relation:
        case "population":
            told, real = number(said), float(facts[0])
            return None if told is None else abs(told - real) <= NEAR * real
        case "border":
            named = [find_country(part) for part in _parts(said)]
            return None if None in named else all(n is not None and plain(n.name) in known for n in named)
        case "language":
            return all(plain(part) in known for part in _parts(said))
        case "currency":  # "Thai baht" is the baht
            own = plain(country.adjective)
            return plain(said) in known or plain(said).removeprefix(own).strip() in {f.split()[-1] for f in known}
        case _:
            return plain(said) in known


def _parts(said: str) -> list[str]:
    return [part for part in re.split(r",\s*(?:and\s+)?|\s+and\s+", said) if part.strip()]
