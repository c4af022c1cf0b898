"""Llamas of real sizes with random weights, for vLLM: nothing is downloaded, and a step takes as long as with real ones.

Tokens are single ASCII characters, so that a prompt of n characters has n tokens and the one before every text.
"""

from __future__ import annotations

import json
import os
import string
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from tests.fixtures.tiny_llama import write_tiny_llama
from workers.engines.protocol import Engine
from workers.engines.registry import create_engine

MODEL: Final = "dummy-llama"
ALPHABET: Final = string.ascii_lowercase
SHARED_SETTINGS: Final[Mapping[str, Any]] = {"max_num_batched_tokens": 2_048, "block_size": 32, "load_format": "dummy"}
"""Of every engine here, and of the simulated ones."""


@dataclass(frozen=True, slots=True)
class Shape:
    hidden: int
    layers: int
    intermediate: int
    heads: int
    kv_heads: int
    head: int


# The published configurations of Llama 3.2 1B and 3B and of Llama 3.1 8B, but for the vocabulary; `tiny` is the smallest
# on which a CPU shows what prefix caching saves.
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
    shape = SHAPES[size]
    write_tiny_llama(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config |= {
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head,
        "eos_token_id": None,
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    path = folder / "tokenizer_config.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    del tokenizer["eos_token"]
    path.write_text(json.dumps(tokenizer), encoding="utf-8")
    return folder


def engine_settings(path: Path, *, context: int, parallel: int, gpu_memory_fraction: float | None) -> dict[str, Any]:
    """For `create_engine("vllm", …)` and, as `--set`, for `descant worker`."""
    arguments = dict(SHARED_SETTINGS)
    if gpu_memory_fraction is not None:
        arguments["gpu_memory_utilization"] = gpu_memory_fraction
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
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")  # it logs to standard output, which is the result's
    settings = engine_settings(path, context=context, parallel=parallel, gpu_memory_fraction=gpu_memory_fraction)
    return create_engine("vllm", settings)


def hardware_name() -> str:
    """As the accelerator calls itself, else the processor."""
    import torch  # noqa: PLC0415 (only in vLLM's environment)

    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"
