"""Llamas of real sizes with random weights, for vLLM's `load_format="dummy"`: a config and a tokenizer, no download.

Every word of benchmarks.headline.texts is one token. Without an end-of-text token nothing stops before `max_tokens`.
"""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from string import ascii_letters
from typing import Final

from benchmarks.headline.texts import WORDS

SIZES: Final[dict[str, dict[str, int]]] = {
    # Hidden size, feed-forward size, layers, attention heads, key-value heads, size of a head, vocabulary.
    "tiny": {"hidden": 256, "feed": 1024, "layers": 4, "heads": 8, "kv_heads": 4, "head": 32, "vocabulary": 32_000},
    # As published for Llama 3.2 1B and 3B and Llama 3.1 8B.
    "1b": {"hidden": 2048, "feed": 8192, "layers": 16, "heads": 32, "kv_heads": 8, "head": 64, "vocabulary": 128_256},
    "3b": {"hidden": 3072, "feed": 8192, "layers": 28, "heads": 24, "kv_heads": 8, "head": 128, "vocabulary": 128_256},
    "8b": {"hidden": 4096, "feed": 14336, "layers": 32, "heads": 32, "kv_heads": 8, "head": 128, "vocabulary": 128_256},
}

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
    s = SIZES[size]
    attention = s["hidden"] * s["head"] * (2 * s["heads"] + 2 * s["kv_heads"])
    return 2 * (s["layers"] * (attention + 3 * s["hidden"] * s["feed"]) + 2 * s["vocabulary"] * s["hidden"])


def kv_bytes_per_token(size: str) -> int:
    """Keys and values of all layers in bfloat16."""
    s = SIZES[size]
    return 2 * 2 * s["layers"] * s["kv_heads"] * s["head"]


def write(folder: Path, size: str) -> Path:
    """A model folder that vLLM loads."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers  # noqa: PLC0415 — only where vLLM is

    shape = SIZES[size]
    folder.mkdir(parents=True, exist_ok=True)
    tokens = {token.replace(" ", "\u2581"): number for number, token in enumerate(vocabulary(shape["vocabulary"]))}
    tokenizer = Tokenizer(models.WordLevel(vocab=tokens, unk_token=_UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always", split=True)
    tokenizer.decoder = decoders.Metaspace(replacement="\u2581", prepend_scheme="never")
    tokenizer.save(str(folder / "tokenizer.json"))
    _write(folder / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "unk_token": _UNKNOWN, "model_max_length": 32_768,
    })  # fmt: skip
    _write(folder / "config.json", {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "bfloat16",
        "vocab_size": shape["vocabulary"], "hidden_size": shape["hidden"], "intermediate_size": shape["feed"],
        "num_hidden_layers": shape["layers"], "num_attention_heads": shape["heads"],
        "num_key_value_heads": shape["kv_heads"], "head_dim": shape["head"], "max_position_embeddings": 32_768,
        "rms_norm_eps": 1e-5, "rope_theta": 500_000.0, "hidden_act": "silu", "tie_word_embeddings": False,
        "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
    })  # fmt: skip
    return folder


def _write(path: Path, value: dict[str, object]) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
