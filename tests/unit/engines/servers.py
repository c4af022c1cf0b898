"""What each engine needs before it can be tested: a small context, a server to talk to, a model folder."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

CONTEXT = 512


async def settings_of(name: str, stack: AsyncExitStack, folder: Path) -> dict[str, object]:
    """Settings for a test of the engine `name`; what has to be stopped afterwards is put on the stack."""
    if name == "llamacpp":
        return {"context": CONTEXT, "slots": 4, "parallel": 4, "threads": 1}
    if name == "simulated":
        return {"context": CONTEXT, "speed": 20.0}
    return {}
