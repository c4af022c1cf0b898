"""`descant top`: what is folded, reckoned and drawn, without a broker."""

from __future__ import annotations

import io

from rich.console import Console

from console.top.cluster import Group, Probed, Seen
from console.top.requests import OpenRequests
from console.top.rows import in_flow_order, lag_of, lane_rows, models_in, pipelines_in, stage_row
from console.top.screen import screen
from console.top.snapshot import AssertionRow, LaneRow, ModelRow, PipelineRow, Snapshot, StageRow
from streams.core.control import Control, ControlEntry
from streams.core.lineage import Serial
from streams.core.record import Envelope, Kind


def drawn(snapshot: Snapshot) -> str:
    out = io.StringIO()
    Console(file=out, width=160).print(screen(snapshot))
    return out.getvalue()


def empty(**parts: object) -> Snapshot:
    given = {"pipelines": (), "models": (), "workers": (), "assertions": ()} | parts
    return Snapshot(at="2026-01-01T00:00:00Z", bootstrap="localhost:9092", **given)


def stage(name: str, **values: object) -> StageRow:
    given = {
        "name": name,
        "group": f"p.{name}",
        "members": 1,
        "partitions": 2,
        "unowned": 0,
        "lag": 0,
        "oldest_seconds": None,
        "oldest_request": None,
        "read_per_second": 0.0,
        "written_per_second": 0.0,
    }
    return StageRow.model_validate(given | values)


class TestOpenRequests:
    def test_what_is_accepted_and_not_closed_is_open_whatever_came_first(self) -> None:
        control = Control()
        requests = OpenRequests(control)
        control.of(0).on(0, ControlEntry(1, "answered", 0, 0))
        requests.accepted(Serial(0, 1), Envelope("early", Kind.ITEM), 10.0)  # closed before it was read
        requests.accepted(Serial(0, 2), Envelope("late", Kind.ITEM, deadline=99_000), 20.0)
        requests.accepted(Serial(1, 0), Envelope("old", Kind.ITEM), 5.0)
        requests.accepted(Serial(1, 1), Envelope("bad", Kind.ERROR), 1.0)
        assert len(requests) == 2
        assert requests.oldest is not None
        assert (requests.oldest.id, requests.oldest.since) == ("old", 5.0)
        requests.closed(Serial(1, 0))
        assert requests.oldest == ("late", 20.0, 99.0)

    def test_a_low_that_jumps_closes_what_lies_below_it(self) -> None:
        control = Control()
        requests = OpenRequests(control)
        for offset in range(3):
            requests.accepted(Serial(0, offset), Envelope(f"r{offset}", Kind.ITEM), float(offset))
        control.of(0).on(7, ControlEntry(1, "answered", 2, 7))
        requests.sweep()
        assert requests.oldest is not None
        assert (len(requests), requests.oldest.id) == (1, "r2")


class TestRows:
    TOPICS = ("a.requests", "a.accepted", "a.control", "a.answers", "a.draft", "a.claims", "other.accepted", "b.x")

    def test_pipelines_are_told_by_their_topics(self) -> None:
        assert pipelines_in(self.TOPICS) == {"a": ("claims", "draft")}
        assert models_in(("models.gemma-3.1.prompts", "models.x", "a.prompts")) == ("gemma-3.1",)

    def test_stages_come_in_the_order_of_the_flow(self) -> None:
        groups = {
            "a.draft": Group(1, frozenset(), {("a.accepted", 0): 0}),
            "a.claims": Group(1, frozenset(), {("a.draft", 0): 0}),
            "a.best": Group(1, frozenset(), {("a.claims", 0): 0, ("a.accepted", 0): 0}),
        }
        assert in_flow_order("a", ("best", "claims", "draft"), groups) == ["draft", "claims", "best"]

    def test_lag_age_and_rates_of_a_stage(self) -> None:
        group = Group(2, frozenset({("a.draft", 0)}), {("a.draft", 0): 5, ("a.draft", 1): 9})
        ends = {("a.draft", 0): 8, ("a.draft", 1): 9, ("a.claims", 0): 40}
        now = Seen(12.0, {"a.draft": 2, "a.claims": 1}, ends, {"a.claims": group})
        before = Seen(10.0, now.topics, {at: end - 4 for at, end in ends.items()}, {})
        probes = {("a.draft", 0, 5): Probed(90.0, {"id": "q7"})}
        row = stage_row("claims", "a.claims", (), "a.claims", now, before, probes, 100.0)
        assert (row.members, row.partitions, row.unowned, row.lag) == (2, 2, 1, 3)
        assert (row.oldest_seconds, row.oldest_request) == (10.0, "q7")
        assert (row.read_per_second, row.written_per_second) == (4.0, 2.0)
        assert lag_of(group, [("a.draft", 0)], ends) == 3

    def test_a_lane_says_who_owns_it_and_why_its_last_prompt_came(self) -> None:
        now = Seen(1.0, {"models.m.prompts": 2}, {("models.m.prompts", 0): 3, ("models.m.prompts", 1): 0}, {})
        probes = {("models.m.prompts", 0, 2): Probed(1.0, {"route": "prefix"})}
        first, second = lane_rows("m", {0: "w1"}, now, probes)
        assert (first.worker, first.lag, first.last_route) == ("w1", 3, "prefix")
        assert (second.worker, second.lag, second.last_route) == (None, 0, None)


class TestScreen:
    def test_nothing_runs(self) -> None:
        assert "no pipeline has made its topics" in drawn(empty())
        assert "descant run" in drawn(empty())

    def test_what_nobody_runs_is_said(self) -> None:
        pipeline = PipelineRow(
            name="p",
            waiting=3,
            open=0,
            oldest_seconds=None,
            oldest_request=None,
            accepted_per_second=0.0,
            closed_per_second=0.0,
            stages=(stage("ingress", members=0, unowned=2, lag=3),),
        )
        model = ModelRow(model="gemma", lanes=(LaneRow(lane=0, worker=None, lag=1, last_route="no_worker"),))
        text = drawn(empty(pipelines=(pipeline,), models=(model,)))
        for said in ("nobody runs it", "3 waiting", "(2 unowned)", "nobody serves it", "no_worker"):
            assert said in text

    def test_names_from_topics_are_not_markup(self) -> None:
        row = AssertionRow(
            name="[red]x[/]", state="broken", evaluated=1, abstained=0, fired=0, errors=1, seconds_p99=0.001,
            last_error="raised: ValueError",
        )  # fmt: skip
        text = drawn(empty(pipelines=(), workers=(), models=(ModelRow(model="m", lanes=()),), assertions=(row,)))
        assert "[red]x[/]" in text
        assert "raised: ValueError" in text
