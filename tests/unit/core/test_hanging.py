"""How a transaction was decided that has no end everywhere: only what nobody can have seen may be aborted."""

from __future__ import annotations

import pytest

from streams.core.hanging import Stamp, was_committed

OURS, NEXT, ANOTHER = Stamp("shop.closer.1", 7), Stamp("shop.closer.1", 8), Stamp("shop.closer.2", 1)


@pytest.mark.parametrize(
    ("behind", "offsets", "visible", "committed"),
    [
        ([], "", [], False),
        ([OURS], "", [ANOTHER], False),
        ([OURS], "shop.closer.1/7", [], True),
        ([OURS], "shop.closer.1/6", [], False),
        ([OURS], "", [ANOTHER, OURS], True),
        ([OURS, ANOTHER], "shop.closer.2/1", [ANOTHER], False),
        ([OURS, NEXT], str(OURS), [], True),
    ],
    ids=["nothing is told", "only others", "offsets", "older offsets", "seen", "others went on", "the same went on"],
)
def test_what_is_told_decides(behind: list[Stamp], offsets: str, visible: list[Stamp], committed: bool) -> None:
    assert was_committed(OURS, behind=behind, offsets=offsets, visible=visible) is committed


def test_a_stamp_is_read_as_it_was_written() -> None:
    assert Stamp.parse(str(OURS)) == OURS


@pytest.mark.parametrize("text", ["", "7", "writer/", "writer/seven"])
def test_what_is_no_stamp_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"stamp|literal"):
        Stamp.parse(text)
