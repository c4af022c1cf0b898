"""Sentences out of a text that is still being written, each as soon as it has surely ended."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

# A base model can repeat itself without ever ending a sentence; nothing that long is one claim.
SENTENCE_CHARS_MAX: Final = 300

_ABBREVIATIONS: Final = frozenset(
    {"approx", "ca", "cf", "dr", "e.g", "etc", "i.e", "jr", "mr", "mrs", "ms"}
    | {"mt", "prof", "rev", "sq", "sr", "st", "ste", "vs"}
)
_INITIALS: Final = re.compile(r"(?:[A-Za-z]\.)*[A-Za-z]$")
_END: Final = re.compile(r"[.!?]+[\"'”’)\]]*(?=\s)")
_NEXT_WORD: Final = re.compile(r"\s+(\S+?)(?=[\s.,;:!?]|$)")
# After initials ("Washington, D.C.") only a word that opens sentences says that one has ended.
_OPENERS: Final = frozenset({"A", "An", "He", "In", "It", "Its", "She", "Their", "The", "There", "They", "This"})


class Sentences:
    """Give it pieces of text as they come; it gives back the sentences that they complete.

    The sentences do not depend on where the pieces were cut. A sentence is given once the white space after its
    full stop has come, so decimals and abbreviations end none. Memory is bounded: what runs on for more than
    `SENTENCE_CHARS_MAX` characters without an end is discarded up to the next end.
    """

    def __init__(self) -> None:
        self._rest = ""
        self._skipping = False

    def feed(self, text: str) -> Iterator[str]:
        for character in text:  # one at a time, so that no cut of the text can change what comes out
            self._rest += character
            if (end := self._end(final=False)) is not None:
                yield from self._take(end)
            elif len(self._rest) > SENTENCE_CHARS_MAX:
                self._rest, self._skipping = self._rest[-2:], True

    def close(self) -> Iterator[str]:
        """The last sentence, if it is whole: a text cut short by a token limit ends in half a claim."""
        self._rest += " "
        while (end := self._end(final=True)) is not None:
            yield from self._take(end)
        self._rest = ""

    def _take(self, end: int) -> Iterator[str]:
        sentence, self._rest = " ".join(self._rest[:end].split()), self._rest[end:]
        if sentence and not self._skipping:
            yield sentence
        self._skipping = False

    def _end(self, *, final: bool) -> int | None:
        for match in _END.finditer(self._rest):
            word = self._rest[: match.start()].split()[-1:] or [""]
            bare = word[0].lstrip("(\"'“‘[")
            if bare.casefold() in _ABBREVIATIONS and not final:
                continue
            if match.group().startswith(".") and _INITIALS.fullmatch(bare):
                following = _NEXT_WORD.match(self._rest, match.end())
                complete = following is not None and (following.end() < len(self._rest))
                if following is None or not complete:
                    if final:
                        return match.end()
                    continue
                if following.group(1) not in _OPENERS:
                    continue
            return match.end()
        return None
