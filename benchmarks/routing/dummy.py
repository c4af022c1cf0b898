"""Llamas of real sizes with random weights, for vLLM: nothing is downloaded, and a step takes as long as with real ones.

Every token is a word of four letters out of eight, so that four bytes are a token, about as in English.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from workers.engines.protocol import Engine
from workers.engines.vllm import create

MODEL: Final = "dummy-llama"
_LETTERS: Final = "abcdefgh"
_WORD: Final = 4
_SPECIAL: Final = ("<pad>", "<s>", "<unk>")
SHARED_SETTINGS: Final[Mapping[str, Any]] = {"max_num_batched_tokens": 2_048, "block_size": 32, "load_format": "dummy"}
"""Of every engine here, and of the simulated ones."""

CONTEXT_MAX: Final = 32_768

KV_SHARE: Final = 0.5
"""Of a GPU engine's memory for its KV cache; the rest is for weights, activations and CUDA graphs."""


@dataclass(frozen=True, slots=True)
class Shape:
    hidden: int
    layers: int
    intermediate: int
    heads: int
    kv_heads: int
    head: int


# The published configurations of Llama 3.2 1B and 3B and of Llama 3.1 8B, but for the vocabulary of 4,099 words; `tiny`
# is the smallest on which a CPU shows what prefix caching saves.
SHAPES: Final[Mapping[str, Shape]] = MappingProxyType(
    {
        "tiny": Shape(512, 8, 2_048, 16, 16, 32),
        "1b": Shape(2_048, 16, 8_192, 32, 8, 64),
        "3b": Shape(3_072, 28, 8_192, 24, 8, 128),
        "8b": Shape(4_096, 32, 14_336, 32, 8, 128),
    }
)


def write_model(size: str, folder: Path) -> Path:
    """A model folder of one of SHAPES whose texts never end by themselves."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors  # noqa: PLC0415 (vLLM's)

    words = ("".join(letters) for letters in itertools.product(_LETTERS, repeat=_WORD))
    vocabulary = {token: number for number, token in enumerate((*_SPECIAL, *words))}
    tokenizer = Tokenizer(models.WordLevel(vocab=vocabulary, unk_token="<unk>"))  # noqa: S106 (not a password)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(f"[{_LETTERS}]{{{_WORD}}}"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(list(_SPECIAL))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    said = {"bos_token": "<s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return write_folder(folder, size, tokenizer, said, vocabulary=len(vocabulary), bos=1, pad=0)


def write_folder(
    folder: Path,
    size: str,
    tokenizer: Any,
    tokens: Mapping[str, object],
    *,
    vocabulary: int,
    bos: int | None = None,
    pad: int | None = None,
) -> Path:
    """A model folder that vLLM loads: one of SHAPES, with a tokenizer of the caller's. Without an end-of-text token nothing
    stops before `max_tokens`.

    tokens   what the tokenizer's configuration says besides its class
    """
    shape = SHAPES[size]
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "vocab_size": vocabulary,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head,
        "max_position_embeddings": CONTEXT_MAX,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500_000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "bos_token_id": bos,
        "eos_token_id": None,
        "pad_token_id": pad,
    }
    written = {"config": config, "tokenizer_config": {"tokenizer_class": "PreTrainedTokenizerFast", **tokens}}
    for name, value in written.items():
        (folder / f"{name}.json").write_text(json.dumps(value, indent=1), encoding="utf-8")
    return folder


def text(tokens: int, rng: random.Random) -> str:
    """Random words; the model puts one token more before every text."""
    return "".join(rng.choices(_LETTERS, k=_WORD * tokens))


def engine_settings(path: Path, *, context: int, parallel: int, gpu_memory_fraction: float | None) -> dict[str, Any]:
    """For the vLLM engine and, as `--set`, for `descant worker`."""
    arguments = dict(SHARED_SETTINGS)
    if gpu_memory_fraction is not None:
        arguments |= {
            "gpu_memory_utilization": gpu_memory_fraction,
            # Said, since vLLM's own measuring fails while another engine starts on the same GPU.
            "kv_cache_memory_bytes": int(KV_SHARE * gpu_memory_fraction * gpu_memory_bytes()),
            # A start in seconds instead of minutes; a step costs the same but for what fusing would save.
            "compilation_config": {"mode": 0, "cudagraph_mode": "FULL_DECODE_ONLY"},
        }
    return {
        "path": str(path),
        "model": MODEL,
        "context": context,
        "parallel": parallel,
        "engine_args": arguments,
    }


class DummyModel:
    """`with DummyModel("1b") as path`: the folder lives as long as the block."""

    def __init__(self, size: str) -> None:
        self._size = size
        self._folder = tempfile.TemporaryDirectory(prefix="descant-llama-")

    def __enter__(self) -> Path:
        return write_model(self._size, Path(self._folder.name) / "model")

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


def dummy_engine(path: Path, *, context: int, parallel: int, gpu_memory_fraction: float | None) -> Engine:
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")  # its start alone is a page of progress
    settings = engine_settings(path, context=context, parallel=parallel, gpu_memory_fraction=gpu_memory_fraction)
    return create(settings)


def gpu_memory_bytes() -> int:
    """Of the first GPU. Raises RuntimeError without one."""
    import torch  # noqa: PLC0415 (only in vLLM's environment)

    return int(torch.cuda.get_device_properties(0).total_memory)


def is_gpu() -> bool:
    """Whether vLLM will run on one here."""
    import torch  # noqa: PLC0415 (only in vLLM's environment)

    return bool(torch.cuda.is_available())


def hardware_name() -> str:
    """As the accelerator calls itself, else the processor."""
    import torch  # noqa: PLC0415 (only in vLLM's environment)

    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"
