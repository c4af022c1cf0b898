"""The checks themselves: pure functions of text, without streams. Severities from 0 to 1 where not said otherwise."""

from __future__ import annotations

import json
import math
import re
import statistics
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

WORD: Final = re.compile(r"\w+(?:['’]\w+)*")
# A loop is a run of words that comes back at once; below this many words in repetition it is style ("very, very").
REPEATED_WORDS_MIN: Final = 12
REPEATED_PERIOD_MAX: Final = 40
# Shorter shared passages are idiom or a quoted instruction's ordinary words.
LEAKED_WORDS_MIN: Final = 8
# Half of that: so many words in a row that the request or an example says too are said after it.
SHOWN_WORDS_MIN: Final = LEAKED_WORDS_MIN // 2

REFUSALS: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\bi(?:'|’)?(?:m| am) (?:sorry|afraid|unable|not able)\b.{0,60}"
        r"\b(?:can(?:no|'|’)?t|unable|not able|help|assist|provide)",
        r"\bi (?:can(?:no|'|’)t|cannot|can not|won(?:'|’)t|will not|must decline to|am unable to|'m unable to)"
        r" (?:help|assist|provide|answer|comply|fulfil|fulfill|discuss|share|create|write|generate|do that|continue)\b",
        r"\bas an? (?:ai|artificial intelligence|(?:large )?language model)\b",
        r"\bi do(?:n(?:'|’)t| not) (?:feel comfortable|have (?:access|the ability|personal opinions))\b",
        r"\b(?:this|that|your) (?:request|question) (?:violates|goes against)\b",
        r"\bi(?:'|’|\s+a)?m (?:not (?:able|allowed|permitted)|unable) to\b",
    )
)
# A refusal opens an answer; the same words far into one are usually quoted.
REFUSAL_WITHIN: Final = 240

NUMBER: Final = re.compile(r"(?<![\w.])[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\w])|(?<![\w.,])[-+]?\d+(?:\.\d+)?(?!\w)")
SCALES: Final = {"thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}
SCALED: Final = re.compile(r"\s*(thousand|million|billion|trillion)\b", re.IGNORECASE)
NUMBER_WORDS: Final = {
    word: float(n)
    for n, word in enumerate(
        (
            *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
            *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
            "twenty",
        )
    )
}

# The commonest short words of a language; a text of twenty words holds several of its own and hardly any of another's.
FUNCTION_WORDS: Final = {
    "en": "the of and to in is that it was for on are with as be at by this have from or had not but which its has an",
    "de": "der die und das ist nicht ein eine mit von den dem des im für auf sich auch es an werden aus bei nach wird",
    "fr": "le la les des et est une dans que qui pour pas sur au avec par il elle ce sont plus du aux cette ses été",
    "es": "el los las del y es una que en por con para no se su al lo como más pero fue son esta entre está muy",
    "it": "il lo gli della di che è un una per con non si dei nel alla sono come più anche del le questo era dal",
    "pt": "o os as da do em que é um uma para com não se na no por mais dos como mas foi ao das são seu sua",
    "nl": "de het een van en is dat op te in voor met niet zijn aan er om ook als maar door bij naar uit werd",
}
LANGUAGE_WORDS_MIN: Final = 8


def words(text: str) -> list[str]:
    return WORD.findall(text.casefold())


def refused(text: str) -> float:
    """1 when the text declines instead of answering, 0.5 when such words stand later in it."""
    places = [found.start() for pattern in REFUSALS if (found := pattern.search(text)) is not None]
    if not places:
        return 0.0
    return 1.0 if min(places) < REFUSAL_WITHIN else 0.5


def repeats(text: str) -> float:
    """Share of the text that is the loop it ends in; 0 without one. A loop repeats a passage three times or more."""
    tokens = words(text)
    longest = 0
    for period in range(1, min(REPEATED_PERIOD_MAX, len(tokens) // 3) + 1):
        length = 0
        while length + period < len(tokens) and tokens[-1 - length] == tokens[-1 - length - period]:
            length += 1
        covered = length + period
        if covered >= max(REPEATED_WORDS_MIN, 3 * period):
            longest = max(longest, covered)
    return longest / len(tokens) if tokens else 0.0


def json_fault(text: str) -> str | None:
    """What is wrong with a text that should be JSON; None when it is JSON. A Markdown fence around it is allowed."""
    body = text.strip()
    if body.startswith("```"):
        body = re.sub(r"\A```[a-zA-Z]*\s*|\s*```\Z", "", body)
    try:
        json.loads(body, parse_constant=_refuse_constant)
    except ValueError as error:
        return "empty" if not body else str(error).partition(":")[0]
    except RecursionError:
        return "nested too deeply"
    return None


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON: a value")


def numbers(text: str) -> list[float]:
    """Numbers written in a text: digits with separators, with a scale ("1.2 million"), and small ones in words."""
    found: list[float] = []
    for match in NUMBER.finditer(text):
        value = float(match.group().replace(",", ""))
        if (scale := SCALED.match(text, match.end())) is not None:
            value *= SCALES[scale.group(1).lower()]
        found.append(value)
    found += [NUMBER_WORDS[word] for word in words(text) if word in NUMBER_WORDS and word not in ("one", "zero")]
    return found


def unsupported(text: str, source: str) -> list[float]:
    """The text's numbers that the source does not hold, rounded as the text rounds them."""
    known = numbers(source)
    return [value for value in numbers(text) if not any(_same(value, other) for other in known)]


def _same(stated: float, known: float) -> bool:
    if stated == known or abs(stated) == abs(known):
        return True
    if stated == 0 or known == 0:
        return False
    # "about 12 million" of 12,080,000: equal at the digits that were stated, of which at least two.
    digits = max(2, len(f"{abs(stated):.12g}".replace(".", "").strip("0")))
    return float(f"{known:.{digits - 1}e}") == float(f"{stated:.{digits - 1}e}")


def languages(text: str) -> Counter[str]:
    """Function words by language; empty for too short a text."""
    tokens = words(text)
    if len(tokens) < LANGUAGE_WORDS_MIN:
        return Counter()
    counts = {code: sum(token in set(listed.split()) for token in tokens) for code, listed in FUNCTION_WORDS.items()}
    return Counter({code: n for code, n in counts.items() if n})


def language(text: str) -> str | None:
    """The language that a text is most likely in, or a script's name; None when it cannot be told."""
    letters = [c for c in text if c.isalpha()]
    if len(letters) >= 8:
        scripts = Counter(unicodedata.name(c, "?").split()[0] for c in letters)
        script, n = scripts.most_common(1)[0]
        if script not in ("LATIN", "?") and n > len(letters) / 2:
            return script.lower()
    ranked = languages(text).most_common(2)
    if not ranked or ranked[0][1] < 3 or (len(ranked) > 1 and ranked[0][1] < 1.5 * ranked[1][1]):
        return None
    return ranked[0][0]


def switched(text: str, expected: str | None = None) -> tuple[str, str] | None:
    """(expected, found) when a passage is in another language than the text's first, or than `expected`."""
    passages = [
        p for p in re.split(r"(?<=[.!?。])\s+|\n+", text) if len(words(p)) >= LANGUAGE_WORDS_MIN or not p.isascii()
    ]
    known = [code for code in map(language, passages) if code is not None]
    first = expected or (known[0] if known else None)
    other = next((code for code in known if code != first), None)
    return (first, other) if first is not None and other is not None else None


def quoted_missing(text: str, evidence: str) -> list[str]:
    """Quotations of three words or more in a text that its evidence does not hold; case and punctuation aside."""
    held = " ".join(words(evidence))
    quotes = re.findall(r"[\"“”«]([^\"“”»]{8,400})[\"“”»]", text)
    return [q for q in quotes if len(words(q)) >= 3 and " ".join(words(q)) not in held]


def leaked(text: str, prompt: str, shown: Iterable[str] = ()) -> list[str]:
    """Passages of the prompt that stand in the text, LEAKED_WORDS_MIN words or more of each in nothing of `shown`."""
    told, said = words(prompt), words(text)
    open_to_see = _places(said, shown, SHOWN_WORDS_MIN)
    passages: list[str] = []
    for start, end in _runs(said, [told], LEAKED_WORDS_MIN):
        if sum(at not in open_to_see for at in range(start, end)) >= LEAKED_WORDS_MIN:
            passages.append(" ".join(said[start:end]))
    return passages


def _places(said: Sequence[str], shown: Iterable[str], least: int) -> set[int]:
    return {at for start, end in _runs(said, map(words, shown), least) for at in range(start, end)}


def _runs(said: Sequence[str], sources: Iterable[Sequence[str]], least: int) -> Iterator[tuple[int, int]]:
    """[start, end) of what is said of which all of `least` words in a row stand in a source."""
    held = {tuple(source[i : i + least]) for source in sources for i in range(len(source) - least + 1)}
    at = 0
    while at + least <= len(said):
        end = at + least
        if tuple(said[at:end]) not in held:
            at += 1
            continue
        while end < len(said) and tuple(said[end - least + 1 : end + 1]) in held:
            end += 1
        yield at, end
        at = end


def surprise(length: int, earlier: Sequence[int]) -> float:
    """How far a length lies from the earlier ones: robust standard deviations of its logarithm."""
    logs = [math.log1p(n) for n in earlier]
    middle = statistics.median(logs)
    spread = 1.4826 * statistics.median(abs(value - middle) for value in logs)
    # Equal lengths would make every other one endlessly surprising: a tenth is the least spread assumed.
    return abs(math.log1p(length) - middle) / max(spread, 0.1)
