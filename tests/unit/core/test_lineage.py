from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.lineage import (
    Layout,
    RunId,
    Serial,
    format_lineage,
    format_path,
    parse_lineage,
    parse_path,
    parse_run,
    parse_serial,
    routing_key,
)
from streams.errors import RecordError
from tests.unit.core.plans import plan_of

runs = st.builds(RunId, st.integers(0, 2**40), st.integers(0, 2**40))
lineages = st.lists(st.none() | runs, min_size=1, max_size=6).map(tuple)
paths = st.lists(st.integers(0, 10_000), max_size=4).map(tuple)


@given(lin=lineages.filter(lambda lin: lin != (None,)))
def test_a_lineage_is_read_as_it_was_written(lin: tuple[RunId | None, ...]) -> None:
    assert parse_lineage(format_lineage(lin).encode()) == lin


@given(path=paths, run=runs)
def test_paths_runs_and_serials_are_read_as_they_were_written(path: tuple[int, ...], run: RunId) -> None:
    assert parse_path(format_path(path).encode()) == path
    assert parse_run(str(run).encode()) == run
    assert parse_serial(str(Serial(*run)).encode()) == Serial(*run)


@pytest.mark.parametrize("text", ["", "1", "1-", "-1", "a-b", "1-2-3", "1--2"])
def test_what_is_no_run_is_refused(text: str) -> None:
    with pytest.raises(RecordError) as refused:
        parse_run(text.encode())
    assert refused.value.code == "record.envelope"


@pytest.mark.parametrize("text", ["a", "1.", "+1", " 1", "1_0", "-1", "1.-2", "1..2"])
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(RecordError):
        parse_path(text.encode())


def test_entries_name_nodes_in_topological_order() -> None:
    layout = Layout(plan_of(("f", "fork", "accepted"), ("m", "map", "f")))
    assert layout.entries("m", (3,), (RunId(1, 2), RunId(3, 4))) == [((0, ()), RunId(1, 2)), ((1, (3,)), RunId(3, 4))]


def test_a_hole_names_no_node() -> None:
    layout = Layout(plan_of(("f", "fork", "accepted"), ("m", "map", "f")))
    assert layout.entries("m", (3,), (None, RunId(3, 4))) == [((1, (3,)), RunId(3, 4))]


@pytest.mark.parametrize(
    ("stage", "path", "lin", "code"),
    [
        ("x", (), (RunId(1, 1),), "record.stage"),
        ("m", (0,), (RunId(1, 1),), "record.lineage"),
        ("m", (), (RunId(1, 1), RunId(1, 2)), "record.path"),
    ],
)
def test_a_lineage_that_does_not_fit_the_plan_is_refused(
    stage: str, path: tuple[int, ...], lin: tuple[RunId, ...], code: str
) -> None:
    layout = Layout(plan_of(("f", "fork", "accepted"), ("m", "map", "f")))
    with pytest.raises(RecordError) as refused:
        layout.entries(stage, path, lin)
    assert refused.value.code == code


@given(path=paths, depth=st.integers(0, 4), rest=paths)
def test_what_must_meet_shares_its_key(path: tuple[int, ...], depth: int, rest: tuple[int, ...]) -> None:
    above = path[:depth]
    if len(above) == depth:
        assert routing_key("r", above + rest, depth) == routing_key("r", above, depth)
    assert routing_key("r", path, 0) == "r"
    assert routing_key("r", (), depth) == "r"
