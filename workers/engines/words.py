"""Text without a model: tokens of a prompt, and words that are a function of what they follow. For simulations."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Final

# At most so many characters in one token, so that a long text without spaces is long in tokens too.
_PIECE: Final = re.compile(r"\s*\S{1,12}|\s+")
_SYLLABLES: Final = tuple(consonant + vowel for consonant in "bdklmnrst" for vowel in "aeio")
_WORDS_IN_SENTENCE: Final = 9
_ALTERNATIVE_SHARE: Final = 0.4  # of the probability that is left, for each next alternative


def tokens_of(text: str) -> tuple[int, ...]:
    """Ids of word-like pieces; the same piece has the same id everywhere."""
    return tuple(zlib.crc32(piece.encode()) & 0x7FFFFFFF for piece in _PIECE.findall(text))


class Words:
    """The text that follows one prompt: word `i` is a function of the prompt, the key and `i` alone."""

    def __init__(self, prompt: str, key: str) -> None:
        self._digest = hashlib.blake2b(f"{key}\0{prompt}".encode(), digest_size=16).digest()

    def _draw(self, position: int, what: bytes) -> int:
        whole = hashlib.blake2b(self._digest + what + position.to_bytes(8, "big"), digest_size=8).digest()
        return int.from_bytes(whole, "big")

    def word(self, position: int, alternative: int = 0) -> str:
        """With its leading space; a full stop ends every ninth."""
        drawn = self._draw(position, b"w") + alternative * 1_000_003
        word = _SYLLABLES[drawn % len(_SYLLABLES)] + _SYLLABLES[drawn // 64 % len(_SYLLABLES)]
        place = position % _WORDS_IN_SENTENCE
        return " " + (word.capitalize() if place == 0 else word) + ("." if place == _WORDS_IN_SENTENCE - 1 else "")

    def ends_after(self, position: int, probability: float) -> bool:
        """Whether the text ends by itself there."""
        return self._draw(position, b"e") < probability * 2**64

    def logprobs(self, position: int, alternatives: int, log: Sequence[float]) -> Mapping[str, float]:
        """So many alternatives (at least the word itself), likeliest first."""
        found: dict[str, float] = {}
        for rank in range(max(alternatives, 1)):
            found.setdefault(self.word(position, rank), log[rank])
        return found


class StopFilter:
    """Lets text through up to the first stop string; holds back what may be the beginning of one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.stopped = False

    def push(self, text: str) -> str:
        """What can be shown now."""
        self._held += text
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.stopped, shown, self._held = True, self._held[: min(found)], ""
            return shown
        keep = max((self._overlap(stop) for stop in self._stops), default=0)
        cut = len(self._held) - keep
        shown, self._held = self._held[:cut], self._held[cut:]
        return shown

    def flush(self) -> str:
        """What was held back, when no more text comes."""
        shown, self._held = self._held, ""
        return shown

    def _overlap(self, stop: str) -> int:
        """How much of the end of the held text begins this stop string."""
        longest = min(len(stop) - 1, len(self._held))
        return next((size for size in range(longest, 0, -1) if self._held.endswith(stop[:size])), 0)
