"""The file by which a process shows, to a container's health check, that it is ready and its event loop turns."""

import asyncio
from pathlib import Path
from typing import Final

from streams.errors import ConfigError

BEAT_SECONDS: Final = 1.0


async def beat(file: Path) -> None:
    """Touch `file` every second until cancelled, then remove it. Raises ConfigError when it cannot be written."""
    try:
        while True:
            # A stat and a utime: microseconds on the tmpfs where such a file belongs.
            file.touch()  # noqa: ASYNC240
            await asyncio.sleep(BEAT_SECONDS)
    except OSError as error:
        raise ConfigError(
            f"the health file {file} cannot be written: {error.strerror}. Name another one with --health-file.",
            code="config.health_file",
        ) from error
    finally:
        file.unlink(missing_ok=True)  # noqa: ASYNC240
