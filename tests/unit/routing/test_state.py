"""Worker states from outside."""

from __future__ import annotations

import json

import pytest

from streams.errors import RecordError
from tests.unit.routing.strategies import state
from workers.routing import WorkerState, pack_blocks

GOOD = json.loads(state("w1", added=[1, 2, 3]).model_dump_json())


def test_a_state_survives_the_topic() -> None:
    original = state("w1", added=[1, 2, 3], outputs={"ask": 40.5}, pend=12.0)
    assert WorkerState.parse(original.model_dump_json()) == original


@pytest.mark.parametrize(
    "nonsense",
    [
        {"pend": float("nan")},
        {"pend": -1.0},
        {"rate": 0.0},
        {"rate": float("inf")},
        {"share": 1.01},
        {"base": -0.001},
        {"ts": -5.0},
        {"epoch": -1},
        {"epoch": True},
        {"lanes": [1, 1]},
        {"lanes": [-1]},
        {"lanes": list(range(5_000))},
        {"worker": ""},
        {"worker": "w" * 300},
        {"free_blocks": 9, "blocks": 8},
        {"added": "not base64!"},
        {"added": "A" * 4_000_000},
        {"outputs": {"ask": -1}},
        {"outputs": {str(i): 1.0 for i in range(2_000)}},
    ],
    ids=lambda n: ",".join(n) if isinstance(n, dict) else "",
)
def test_nonsense_is_a_record_error_that_names_the_field_only(nonsense: dict[str, object]) -> None:
    with pytest.raises(RecordError) as error:
        WorkerState.parse(json.dumps({**GOOD, **nonsense}))
    assert error.value.code == "record.worker_state"
    assert len(str(error.value)) < 400
    assert "w" * 300 not in str(error.value)


@pytest.mark.parametrize("value", [b"", b"{", b"[]", b"null", b'{"worker": "w"}', b"\xff\xfe"])
def test_what_is_no_state_is_a_record_error(value: bytes) -> None:
    with pytest.raises(RecordError):
        WorkerState.parse(value)


def test_a_newer_workers_extra_field_is_ignored() -> None:
    assert WorkerState.parse(json.dumps({**GOOD, "invented_later": 1})).worker == "w1"


def test_packed_blocks_are_the_compact_form() -> None:
    assert len(pack_blocks(range(2**63, 2**63 + 3_000))) < 11 * 3_000
