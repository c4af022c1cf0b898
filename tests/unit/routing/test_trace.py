"""Traces from outside: what is read, what is refused and how it is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.routing.__main__ import main
from benchmarks.routing.calibrate import stored
from benchmarks.routing.trace import Spec, Trace, TraceError, compiled, dump, load

LINE: dict[str, Any] = {"t": 0.5, "root": "r", "id": "a", "stage": "s", "segs": [["T", 64], ["q", 10]], "out": 5}


def read(tmp_path: Path, *lines: object) -> Trace:
    path = tmp_path / "trace.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), "utf-8")
    return load(path)


def test_a_fork_and_its_join(tmp_path: Path) -> None:
    trace = read(
        tmp_path,
        {**LINE, "out": 20, "at_token": [[5, "c0"], [900, "c1"]]},
        {**LINE, "id": "c0", "stage": "check", "needs": 1, "when_done": ["end"]},
        {**LINE, "id": "c1", "stage": "check", "needs": 1, "delay": 0.1, "when_done": ["end"]},
        {**LINE, "id": "end", "stage": "report", "needs": 2},
    )
    assert [c.group for c in trace.calls] == [-1, 0, 0, -1]
    assert trace.groups[0].origins == (0,)
    assert trace.calls[0].at_token == ((5, 1), (20, 2)), "a token beyond the last counts as the last"
    assert trace.arrivals == (0.0,), "time starts with the first request"


def test_equal_contents_are_equal_blocks_wherever_they_are_cut(tmp_path: Path) -> None:
    trace = read(
        tmp_path,
        {**LINE, "id": "a", "segs": [["T", 40], ["x", 40]]},
        {**LINE, "id": "b", "segs": [["T", 40], ["x", 24], ["y", 30]]},
        {**LINE, "id": "c", "segs": [["T", 40], ["z", 40]]},
    )
    a, b, c = (call.blocks for call in trace.calls)
    assert len(a) == len(b) == 2
    assert a == b, "the second block ends where x's 24th token does, in both"
    assert a[0] == c[0]
    assert a[1] != c[1]


def test_lines_are_written_as_they_are_read(tmp_path: Path) -> None:
    specs = [
        Spec(t=0.0, root=1, id=2, stage="s", segs=(("T", 50),), out=3, at_token=((2, 4),)),
        Spec(t=0.0, root=1, id=4, stage="s", segs=(("T", 50),), out=3, needs=1),
    ]
    dump(specs, tmp_path / "t.jsonl")
    assert [c.blocks for c in load(tmp_path / "t.jsonl").calls] == [c.blocks for c in compiled(specs).calls]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{", "line 1 .* not JSON"),
        ("[1]", "not an object"),
        ({k: v for k, v in LINE.items() if k != "segs"}, "'segs' is missing"),
        ({**LINE, "t": -1}, "'t' must be a number of seconds"),
        ({**LINE, "t": "soon"}, "'t' must be a number"),
        ({**LINE, "t": True}, "'t' must be a number"),
        ('{"t": NaN, "root": 1, "id": 1, "stage": 1, "segs": [[1, 5]], "out": 1}', "'t' must be"),
        ({**LINE, "root": None}, "'root' must be a string or an integer"),
        ({**LINE, "out": 0}, "'out' must be a whole number from 1"),
        ({**LINE, "out": 1.5}, "'out' must be a whole number"),
        ({**LINE, "out": 1e300}, "'out' must be a whole number"),
        ({**LINE, "segs": []}, "at least|1 to"),
        ({**LINE, "segs": [["T"]]}, "list of pairs"),
        ({**LINE, "segs": [["T", -4]]}, "tokens of a segment"),
        ({**LINE, "segs": {"T": 4}}, "list of pairs"),
        ({**LINE, "segs": [[["T"], 4]]}, "content id"),
        ({**LINE, "when_done": "b"}, "list of call ids"),
        ({**LINE, "when_done": ["b"]}, "which the request does not have"),
        ({**LINE, "needs": 1}, "needs 1 triggers, gets 0"),
        ({**LINE, "needs": 1, "when_done": ["a"]}, "waits for itself"),
        ({**LINE, "delay": -1}, "'delay'|delay"),
        ("", "empty"),
    ],
)
def test_a_broken_line_is_refused_with_a_reason(tmp_path: Path, line: object, what: str) -> None:
    with pytest.raises(TraceError, match=what):
        read(tmp_path, line)


def test_one_id_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="two calls with the id 'a'"):
        read(tmp_path, LINE, LINE)


def test_the_command_says_what_is_wrong_and_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text("nonsense")
    assert main(["--trace", str(path)]) == 2
    assert main(["--trace", str(tmp_path / "none.jsonl")]) == 2
    assert main(["--workload", "nothing"]) == 2
    assert main(["--workload", "mix", "--policy", "nothing"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 4
    assert all(line.startswith("error (") for line in errors)


def test_the_command_ends_with_one_json_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "small.jsonl"
    path.write_text("\n".join(json.dumps({**LINE, "t": i / 20, "root": i}) for i in range(60)))
    assert main(["--json", "--trace", str(path), "--seeds", "1", "--policy", "round_robin"]) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(printed["workloads"]) == {"small"}
    assert printed["workloads"]["small"]["best_peer"] == "round_robin"
    assert 0.5 < printed["geomean_p90"] < 1.5
    errors = [result["calibration_error"] for result in stored().values()]
    assert printed["calibration_error"] == max(errors, default=None)
    assert bool(printed.get("calibration_error_reason")) is not bool(errors)
