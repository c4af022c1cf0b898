"""The flags that a retraining job counts: those that came to stand since its last snapshot, each once."""

from __future__ import annotations

from typing import Any

import pytest

from learning.standing import Standing
from learning.training import Recipe
from learning.trigger import TriggerPolicy
from streams.errors import ConfigError
from tests.unit.learning.test_rounds import CHOOSING, flag


def standing(*flags: tuple[dict[str, Any], tuple[int, int]]) -> Standing:
    found = Standing("m", CHOOSING)
    for each, place in flags:
        found.take(each, place)
    return found


def test_what_lies_before_the_snapshot_counts_no_more() -> None:
    flags = [(flag(n), (n % 2, n // 2)) for n in range(8)]  # four in each of two partitions
    assert standing(*flags).since({}) == 8
    assert standing(*flags).since({0: 3}) == 5
    assert standing(*flags).since({0: 4, 1: 4}) == 0
    found = standing(*flags)
    assert [found.since({0: 2}), found.since({0: 2, 1: 1})] == [6, 5]


def test_only_standing_flags_of_the_model_count_and_each_once() -> None:
    found = standing(
        (flag(1, state="provisional"), (0, 0)),
        (flag(1), (0, 1)),
        (flag(1), (0, 2)),
        (flag(1, assertion="loud"), (0, 3)),
        (flag(2, state="withdrawn"), (0, 4)),
        ({**flag(3), "subject": "other"}, (0, 5)),
        ({"id": "broken"}, (0, 6)),
    )
    assert found.since({}) == 2


def test_a_trigger_on_flags_needs_to_know_which_are_its_own() -> None:
    with pytest.raises(ConfigError, match="choosing="):
        Recipe("m", ("x", "y"), None, trigger=TriggerPolicy(new_flags=5))  # type: ignore[arg-type]
