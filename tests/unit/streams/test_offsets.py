"""Offsets as a client gives them whose broker is away; with a real broker: tests/integration/test_offset_lookup.py."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from streams.runtime import offsets
from streams.runtime.offsets import OffsetLookup
from streams.settings import KafkaSettings


class Admin:
    """Gives these offsets, one a call."""

    given: Iterator[int]

    def __init__(self, _config: object) -> None: ...

    def list_offsets(self, asked: dict[Any, Any], **_: Any) -> dict[Any, Future[Any]]:
        future: Future[Any] = Future()
        future.set_result(SimpleNamespace(offset=next(self.given)))
        return dict.fromkeys(asked, future)


@pytest.fixture
def lookup(monkeypatch: pytest.MonkeyPatch) -> OffsetLookup:
    monkeypatch.setattr(offsets, "AdminClient", Admin)
    return OffsetLookup(KafkaSettings(bootstrap="localhost:1"))


def test_an_offset_that_cannot_be_is_no_answer(lookup: OffsetLookup) -> None:
    Admin.given = iter((-1001, -1, 7))
    assert lookup.end(("topic", 0)) == 7


def test_nothing_so_late_is_an_answer(lookup: OffsetLookup) -> None:
    Admin.given = iter((-1001, -1))
    assert lookup.since(("topic", 0), 1) is None
