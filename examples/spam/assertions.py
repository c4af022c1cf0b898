"""What spam looks like, and what it does not: assertions on a classifier of text messages. Words and limits are those
of `benchmarks/active_learning`, where they find errors to label; no precision was looked at to choose them."""

from __future__ import annotations

import re
from typing import Any, Final

from assertions import Severity, assertion

LABEL: Final = "spam.label"

WORDS: Final = re.compile(
    r"\b(prize|won|win|claim|urgent|cash|guaranteed|awarded|ringtone|tones?|txt|offer|congratulations|voucher)\b",
    re.IGNORECASE,
)
NUMBERS: Final = re.compile(r"\d{5,}|£\s?\d|\b\d+p\b", re.IGNORECASE)
"""Numbers to call or to text, and prices."""
LOUD: Final = 0.25
"""Share of capitals."""
LONG: Final = 130
SHORT: Final = 80
"""Characters. A message is paid for up to 160: who sells something uses them."""


@assertion(on=LABEL, severity="words of spam in what was called ham")
def spam_words(message: dict[str, Any]) -> Severity | float:
    found = WORDS.findall(message["text"]) if message["label"] == "ham" else []
    return Severity(len(found), f"says {', '.join(found[:3])}" if found else "")


@assertion(on=LABEL, severity="long numbers and prices in what was called ham")
def spam_numbers(message: dict[str, Any]) -> int:
    return len(NUMBERS.findall(message["text"])) if message["label"] == "ham" else 0


@assertion(on=LABEL, severity="share of capitals in what was called ham")
def shouts(message: dict[str, Any]) -> float:
    share = sum(c.isupper() for c in message["text"]) / max(1, len(message["text"]))
    return share if message["label"] == "ham" and share > LOUD else 0.0


@assertion(on=LABEL, severity="1: long, with a number in it, and called ham")
def long_with_a_number(message: dict[str, Any]) -> bool:
    text = message["text"]
    return message["label"] == "ham" and len(text) > LONG and any(c.isdigit() for c in text)


@assertion(on=LABEL, severity="1: short, without a number, and called spam")
def short_and_harmless(message: dict[str, Any]) -> bool:
    text = message["text"]
    return message["label"] == "spam" and len(text) < SHORT and not any(c.isdigit() for c in text)
