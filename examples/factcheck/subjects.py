"""What a sentence is about: a claim must be checkable without the sentences before it."""

from __future__ import annotations

import re
from typing import Final

from examples.factcheck.tables import mentioned_country

_ABOUT: Final = re.compile(r"\b(?:about|is|are|of)\s+(?P<subject>[^?.!]+)", re.IGNORECASE)
_FIRST_NAME: Final = re.compile(r"^(?P<subject>(?:The\s+)?[A-Z][\w'’-]*(?:\s+(?:of|and|the|[A-Z][\w'’-]*))*)\s+[a-z]")
_OWNED: Final = re.compile(r"^(?:Its|Their|The (?:country|nation|island|state)['’]s)\s+")
_OWNER: Final = re.compile(r"^(?:It|The (?:country|nation|island|state))\s+")


def subject_of_question(question: str) -> str | None:
    """The country that the question names, as the tables call it, else the words that it asks about."""
    if country := mentioned_country(question):
        return country.name
    match = _ABOUT.search(question)
    return match["subject"].strip() or None if match else None


def subject_of_sentence(sentence: str) -> str | None:
    """The name that a sentence opens with: "Bolivia" of "Bolivia is a country in Asia."."""
    match = _FIRST_NAME.match(sentence)
    if match is None or _OWNED.match(sentence) or _OWNER.match(sentence):
        return None
    return match["subject"]


def named(sentence: str, subject: str | None) -> str:
    """The sentence with its subject in the place of a leading pronoun; unchanged where it opens otherwise."""
    if not subject:
        return sentence
    owner = f"{subject}’s " if "'" in subject else f"{subject}'s "
    sentence, owned = _OWNED.subn(lambda _: owner, sentence)
    return sentence if owned else _OWNER.sub(lambda _: f"{subject} ", sentence)
