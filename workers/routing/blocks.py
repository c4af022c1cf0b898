"""Prompts as chained block hashes: two prompts share block i exactly when their first i + 1 blocks are the
same.

Routers and workers must cut alike. A worker says how in its state (`hashing`): `tokens/32` where the stage
instance has the tokenizer, `bytes/128` where it has none. The second cuts the UTF-8 text every 128 bytes,
about 32 tokens of English; the worker, which sees text and token ids, announces a block of text when all of
its tokens are in its cache.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import sys
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final

from streams.errors import ConfigError, RecordError

BLOCK_TOKENS: Final = 32
"""Tokens a block. vLLM on a CPU takes only multiples of 32; 16 doubles every list for no better placement."""
BLOCK_BYTES: Final = 128
"""Bytes a block of text; at about 4 bytes a token of English this is BLOCK_TOKENS."""
# A stage's template is at the head of each of its prompts: only what follows is hashed again. Bounded,
# since stage names come from flows (few), but a process may host many.
_REMEMBERED_STAGES: Final = 256


class BlockHasher:
    """Cuts prompts into blocks and hashes each with everything before it; 64-bit hashes.

    The hash is BLAKE2b, so that no tenant can write a prompt that passes for another's prefix. The last
    prompt of each stage is remembered, and what it shares with the next one (the template) is not hashed
    again. Cost: 0.7 µs a new block, 0.05 µs a remembered one.
    """

    def __init__(self, hashing: str = f"bytes/{BLOCK_BYTES}") -> None:
        unit, _, size = hashing.partition("/")
        if unit not in {"tokens", "bytes"} or not size.isascii() or not size.isdigit() or not 1 <= int(size) <= 65_536:
            raise ConfigError(
                f"block hashing {hashing[:40]!r} is not known: use tokens/N or bytes/N, 1 ≤ N ≤ 65536, "
                "the same for every worker of a model.",
                code="config.block_hashing",
            )
        self.hashing = f"{unit}/{int(size)}"
        self.of_text = unit == "bytes"
        self._width = int(size) * (1 if self.of_text else 4)
        self._last: OrderedDict[str, tuple[bytes, tuple[int, ...]]] = OrderedDict()

    def text(self, text: str, *, stage: str = "") -> tuple[int, ...]:
        """Hashes of the full blocks of a text. Raises ConfigError where this hasher cuts tokens."""
        if not self.of_text:
            raise ConfigError("this hasher cuts token ids: tokenize the prompt first.", code="config.block_hashing")
        return self._hash(text.encode("utf-8", "surrogatepass"), stage)

    def tokens(self, token_ids: Sequence[int], *, stage: str = "") -> tuple[int, ...]:
        """Hashes of the full blocks of token ids (each 0 ≤ id < 2³²). Raises ConfigError where this cuts
        text."""
        if self.of_text:
            raise ConfigError("this hasher cuts text: give it the prompt's text.", code="config.block_hashing")
        try:
            ids = array("I", token_ids)
        except (OverflowError, TypeError) as error:
            raise RecordError("a token id is not an integer in [0, 2³²).", code="record.token_ids") from error
        if sys.byteorder == "big":
            ids.byteswap()
        return self._hash(ids.tobytes(), stage)

    def _hash(self, data: bytes, stage: str) -> tuple[int, ...]:
        width = self._width
        before, known = self._last.get(stage, (b"", ()))
        hashes = list(known[: _shared_blocks(before, data, width, len(known))])
        previous = hashes[-1].to_bytes(8, "little") if hashes else b""
        for start in range(len(hashes) * width, len(data) - width + 1, width):
            previous = hashlib.blake2b(previous + data[start : start + width], digest_size=8).digest()
            hashes.append(int.from_bytes(previous, "little"))
        result = tuple(hashes)
        self._last[stage] = data, result
        self._last.move_to_end(stage)
        if len(self._last) > _REMEMBERED_STAGES:
            self._last.popitem(last=False)
        return result


def _shared_blocks(first: bytes, second: bytes, width: int, most: int) -> int:
    """How many leading blocks are the same in both, found by bisection over comparisons of whole prefixes."""
    low, high = 0, min(most, len(first) // width, len(second) // width)
    one, two = memoryview(first), memoryview(second)
    while low < high:
        middle = (low + high + 1) // 2
        if one[low * width : middle * width] == two[low * width : middle * width]:
            low = middle
        else:
            high = middle - 1
    return low


def pack_blocks(hashes: Iterable[int]) -> str:
    """64-bit hashes as base64 of little-endian words: 10.7 characters each, a third of the decimal list."""
    words = array("Q", hashes)
    if sys.byteorder == "big":
        words.byteswap()
    return base64.b64encode(words.tobytes()).decode()


def unpack_blocks(packed: str) -> tuple[int, ...]:
    """The inverse. Raises RecordError when it is not base64 of whole words."""
    try:
        raw = base64.b64decode(packed, validate=True)
        words = array("Q", raw)
    except (binascii.Error, ValueError) as error:
        raise RecordError(
            "a list of prefix blocks is not base64 of 64-bit words: workers must write it with pack_blocks.",
            code="record.worker_state",
        ) from error
    if sys.byteorder == "big":
        words.byteswap()
    return tuple(words)
