"""docs/reference and docs/metrics.md are what the code says."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT

GENERATED: dict[Path, str] = runpy.run_path(str(ROOT / "docs" / "generate.py"))["pages"]()


@pytest.mark.parametrize("page", GENERATED, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_generated_page_is_current(page: Path) -> None:
    assert page.read_text() == GENERATED[page], "run `make docs`"


def test_the_pages_say_something_of_every_kind() -> None:
    text = "\n".join(GENERATED.values())
    for known in ("DESCANT_PARTITIONS", "DESCANT_VLLM_DTYPE", "`flow.unjoinable`", "`broker.topic`", "## descant ask"):
        assert known in text
