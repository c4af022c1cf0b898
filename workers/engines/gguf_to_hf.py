"""The GGUF of a Gemma 3 text model as a folder that vLLM and transformers load: bf16 weights, config, tokenizer.

usage: python -m workers.engines.gguf_to_hf IN.gguf FOLDER      needs numpy, torch, gguf, safetensors, tokenizers

What GGUF does otherwise than the folder: RMSNorm weights are stored plus one, runs of spaces in the vocabulary are
literal, merges are not stored (they are in the order of the tokens), and the special tokens are numbers only.
"""

from __future__ import annotations

import json
import re
import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from streams.errors import ConfigError

# GGUF's value types; 8 is a string, 9 an array.
_SCALARS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9

_CONTROL, _USER_DEFINED, _BYTE = 3, 4, 6  # token types of llama.cpp
_SPACE: Final = "\N{LOWER ONE EIGHTH BLOCK}"

_LAYER: Final[Mapping[str, str]] = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_norm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_TOP: Final[Mapping[str, str]] = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a tensor is, relative to the data; rows first."""

    name: str
    shape: tuple[int, ...]
    kind: GGMLQuantizationType
    offset: int


class Header:
    """Metadata and tensor list. Read here: gguf's reader makes an array for each of 262,144 strings, 12 s in all."""

    def __init__(self, buffer: np.ndarray) -> None:
        self._buffer, self._at = memoryview(buffer), 4  # type: ignore[arg-type]
        if bytes(self._buffer[:4]) != b"GGUF" or self._number("I") < 2:
            raise ConfigError("this is not a GGUF file of version 2 or later.", code="config.model_unloadable")
        tensors, pairs = self._number("Q"), self._number("Q")
        self.values: dict[str, Any] = {self._text(): self._value(self._number("I")) for _ in range(pairs)}
        self.tensors = tuple(self._tensor() for _ in range(tensors))
        align = int(self.values.get("general.alignment", 32))
        self.data_offset = -(-self._at // align) * align

    def _number(self, kind: str) -> Any:
        (number,) = struct.unpack_from("<" + kind, self._buffer, self._at)
        self._at += struct.calcsize(kind)
        return number

    def _text(self) -> str:
        size = self._number("Q")
        self._at += size
        return bytes(self._buffer[self._at - size : self._at]).decode("utf-8", "replace")

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._text()
        if kind != _ARRAY:
            return self._number(_SCALARS[kind])
        kind, size = self._number("I"), self._number("Q")
        if kind in {_STRING, _ARRAY}:
            return [self._value(kind) for _ in range(size)]
        start, self._at = self._at, self._at + size * struct.calcsize(_SCALARS[kind])
        return list(struct.unpack_from(f"<{size}{_SCALARS[kind]}", self._buffer, start))

    def _tensor(self) -> Tensor:
        name, dimensions = self._text(), self._number("I")
        shape = tuple(self._number("Q") for _ in range(dimensions))[::-1]
        return Tensor(name, shape, GGMLQuantizationType(self._number("I")), self._number("Q"))


def convert(source: Path, folder: Path) -> None:
    """Write `folder` (550 MB for the 270M model, 13 s). Raises `ConfigError` for anything but a Gemma 3 text model."""
    buffer = np.memmap(source, dtype=np.uint8, mode="r")
    header = Header(buffer)
    architecture = header.values.get("general.architecture")
    if architecture != "gemma3":
        raise ConfigError(
            f"{source} holds a {architecture} model; only gemma3 is converted.", code="config.model_unloadable"
        )
    folder.mkdir(parents=True, exist_ok=True)
    config, special = _config(header)
    _write(folder / "config.json", config)
    _write(folder / "generation_config.json", {**special, "do_sample": False})
    save_file(_weights(buffer, header), folder / "model.safetensors", metadata={"format": "pt"})
    _tokenizer(header.values).save(str(folder / "tokenizer.json"), pretty=False)
    tokens: Sequence[str] = header.values["tokenizer.ggml.tokens"]
    _write(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "GemmaTokenizer",
            "add_bos_token": True,
            "clean_up_tokenization_spaces": False,
            "model_max_length": config["max_position_embeddings"],
            **{key.replace("_token_id", "_token"): tokens[number] for key, number in special.items()},
            "unk_token": tokens[header.values["tokenizer.ggml.unknown_token_id"]],
        },
    )


def _write(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")


def _config(header: Header) -> tuple[dict[str, Any], dict[str, int]]:
    values = header.values

    def of(name: str) -> Any:
        return values[f"gemma3.{name}"]

    layers = of("block_count")
    named = (("bos", "bos"), ("eos", "eos"), ("pad", "padding"))
    special = {f"{ours}_token_id": int(values[f"tokenizer.ggml.{theirs}_token_id"]) for ours, theirs in named}
    return {
        "architectures": ["Gemma3ForCausalLM"],
        "model_type": "gemma3_text",
        "dtype": "bfloat16",
        "transformers_version": "5.0.0",  # without one, AutoTokenizer warns about the regexes of another model
        "vocab_size": len(values["tokenizer.ggml.tokens"]),
        "hidden_size": of("embedding_length"),
        "intermediate_size": of("feed_forward_length"),
        "num_hidden_layers": layers,
        "num_attention_heads": of("attention.head_count"),
        "num_key_value_heads": of("attention.head_count_kv"),
        "head_dim": of("attention.key_length"),
        "query_pre_attn_scalar": of("attention.key_length"),
        "max_position_embeddings": of("context_length"),
        "sliding_window": of("attention.sliding_window"),
        "layer_types": ["full_attention" if layer % 6 == 5 else "sliding_attention" for layer in range(layers)],
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": of("rope.freq_base")},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        },
        "rms_norm_eps": 1e-6,
        "hidden_activation": "gelu_pytorch_tanh",
        "attention_bias": False,
        "attn_logit_softcapping": None,
        "final_logit_softcapping": None,
        "tie_word_embeddings": all(tensor.name != "output.weight" for tensor in header.tensors),
        **special,
    }, special


def _hf_name(name: str) -> str:
    if layer := re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", name):
        return f"model.layers.{layer[1]}.{_LAYER[layer[2]]}.weight"
    return _TOP[name]


def _weights(buffer: np.ndarray, header: Header) -> dict[str, torch.Tensor]:
    out: dict[str, torch.Tensor] = {}
    for tensor in header.tensors:
        block, block_bytes = GGML_QUANT_SIZES[tensor.kind]
        *rows, columns = tensor.shape
        row_bytes = columns // block * block_bytes
        start = header.data_offset + tensor.offset
        raw = buffer[start : start + int(np.prod(rows, dtype=np.int64)) * row_bytes].reshape(*rows, row_bytes)
        weight = torch.from_numpy(dequantize(raw, tensor.kind).reshape(tensor.shape).copy())
        if "norm" in tensor.name:
            weight = weight - 1
        out[_hf_name(tensor.name)] = weight.to(torch.bfloat16).contiguous()
    return out


def _tokenizer(values: Mapping[str, Any]) -> Tokenizer:
    types: Sequence[int] = values["tokenizer.ggml.token_type"]
    tokens = [
        token.replace(" ", _SPACE) if kind == _USER_DEFINED else token
        for token, kind in zip(values["tokenizer.ggml.tokens"], types, strict=True)
    ]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    unknown = tokens[values["tokenizer.ggml.unknown_token_id"]]
    merges = _merges(vocabulary, types)
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, unk_token=unknown, fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Replace(" ", _SPACE)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_tokens(
        [
            AddedToken(token, normalized=False, special=kind == _CONTROL)
            for token, kind in zip(tokens, types, strict=True)
            if kind == _CONTROL or (kind == _USER_DEFINED and token.strip(_SPACE))
        ]
    )
    if values.get("tokenizer.ggml.add_bos_token", True):
        number = int(values["tokenizer.ggml.bos_token_id"])
        begin = tokens[number]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A", pair=f"{begin} $A {begin}:1 $B:1", special_tokens=[(begin, number)]
        )
    return tokenizer


def _merges(vocabulary: Mapping[str, int], types: Sequence[int]) -> list[tuple[str, str]]:
    """Pairs in the order in which they merge: by the token that they make, then the longer left part first."""
    ranked: list[tuple[int, int, tuple[str, str]]] = []
    for token, number in vocabulary.items():
        if types[number] in {_CONTROL, _BYTE}:
            continue
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in vocabulary and right in vocabulary:
                ranked.append((number, -cut, (left, right)))
    return [pair for *_, pair in sorted(ranked)]


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
