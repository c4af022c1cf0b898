"""The dummy Llamas of `benchmarks.routing.dummy` with a tokenizer of our own: one for which simulated engines and vLLM count
the same tokens, and a vocabulary of the published size.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from string import ascii_letters
from typing import Final

from benchmarks.headline.texts import WORDS
from benchmarks.routing.dummy import CONTEXT_MAX, SHAPES, write_folder

VOCABULARY: Final = {"tiny": 17_664, "1b": 128_256, "3b": 128_256, "8b": 128_256}
"""Tokens: as published for Llama 3, since the last layer is a good part of a small model; `tiny` has just our words."""

_UNKNOWN: Final = "<unk>"


def vocabulary(count: int) -> list[str]:
    """So many tokens: the unknown one, the words of our texts, then others of three letters that only models write."""
    known = set(WORDS)
    more = (f" {a}{b}{c}" for a, b, c in product(ascii_letters, repeat=3))
    tokens = [_UNKNOWN, *WORDS, *(word for word in more if word not in known)]
    if len(tokens) < count:
        raise ValueError(f"there are {len(tokens)} words of three letters, {count} were asked for")
    return tokens[:count]


def weight_bytes(size: str) -> int:
    """Of all weights in bfloat16, embedding and head untied."""
    s = SHAPES[size]
    attention = s.hidden * s.head * (2 * s.heads + 2 * s.kv_heads)
    return 2 * (s.layers * (attention + 3 * s.hidden * s.intermediate) + 2 * VOCABULARY[size] * s.hidden)


def kv_bytes_per_token(size: str) -> int:
    """Keys and values of all layers in bfloat16."""
    s = SHAPES[size]
    return 2 * 2 * s.layers * s.kv_heads * s.head


def write(folder: Path, size: str) -> Path:
    """A model folder that vLLM loads."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers  # noqa: PLC0415 — only where vLLM is

    tokens = {token.replace(" ", "\u2581"): number for number, token in enumerate(vocabulary(VOCABULARY[size]))}
    tokenizer = Tokenizer(models.WordLevel(vocab=tokens, unk_token=_UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always", split=True)
    tokenizer.decoder = decoders.Metaspace(replacement="\u2581", prepend_scheme="never")
    said = {"unk_token": _UNKNOWN, "model_max_length": CONTEXT_MAX}
    return write_folder(folder, size, tokenizer, said, vocabulary=VOCABULARY[size])
