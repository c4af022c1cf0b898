"""The dummy Llamas of `benchmarks.routing.dummy` with a tokenizer of our own: one for which simulated engines and vLLM count
the same tokens, and a vocabulary of the published size. Without an end-of-text token nothing stops before `max_tokens`.
"""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from string import ascii_letters
from typing import Final

from benchmarks.headline.texts import WORDS
from benchmarks.routing.dummy import SHAPES

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

    shape = SHAPES[size]
    folder.mkdir(parents=True, exist_ok=True)
    tokens = {token.replace(" ", "\u2581"): number for number, token in enumerate(vocabulary(VOCABULARY[size]))}
    tokenizer = Tokenizer(models.WordLevel(vocab=tokens, unk_token=_UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always", split=True)
    tokenizer.decoder = decoders.Metaspace(replacement="\u2581", prepend_scheme="never")
    tokenizer.save(str(folder / "tokenizer.json"))
    _write(folder / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "unk_token": _UNKNOWN, "model_max_length": 32_768,
    })  # fmt: skip
    _write(folder / "config.json", {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "bfloat16",
        "vocab_size": VOCABULARY[size], "hidden_size": shape.hidden, "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads, "head_dim": shape.head, "max_position_embeddings": 32_768,
        "rms_norm_eps": 1e-5, "rope_theta": 500_000.0, "hidden_act": "silu", "tie_word_embeddings": False,
        "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
    })  # fmt: skip
    return folder


def _write(path: Path, value: dict[str, object]) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
