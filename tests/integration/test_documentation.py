"""Pages whose every step is typed, in order, from an empty folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from streams.testing import KafkaForTests
from tests.docs.blocks import ROOT, blocks
from tests.docs.player import Player

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

BIN = str(Path(sys.executable).parent)


@pytest.mark.model
def test_the_tutorial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a broker and a model of its own, as the reader has them."""
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    folder = tmp_path / "empty"
    folder.mkdir()
    environment = {"PATH": f"{BIN}:{os.environ['PATH']}", "XDG_STATE_HOME": str(tmp_path / "state")}
    steps = list(blocks(ROOT / "docs" / "tutorial.md"))
    *before, last = steps
    assert last.text == "descant broker down\n"
    try:
        with Player(folder, environment) as reader:
            reader.play(before)
    finally:
        with Player(folder, environment) as reader:
            reader.play([last])


@pytest.mark.parametrize("page", ["assertion", "test"])
def test_how_to(page: str, kafka: KafkaForTests, tmp_path: Path) -> None:
    environment = {"PATH": f"{BIN}:{os.environ['PATH']}", "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap}
    with Player(tmp_path, environment) as reader:
        reader.play(blocks(ROOT / "docs" / "how-to" / f"{page}.md"))
