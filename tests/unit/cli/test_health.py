"""The file by which a container sees that a process is ready and its event loop turns."""

import asyncio
from pathlib import Path

import pytest

from streams.cli.health import beat
from streams.errors import ConfigError


async def test_the_file_is_there_while_the_process_is_ready_and_gone_when_it_leaves(tmp_path: Path) -> None:
    file = tmp_path / "alive"
    beating = asyncio.create_task(beat(file))
    await asyncio.sleep(0)  # its first turn of the loop
    assert file.exists()
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)
    assert not file.exists()


async def test_a_file_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--health-file") as refused:
        await beat(tmp_path / "nowhere" / "alive")
    assert refused.value.code == "config.health_file"
