"""From latencies to figures, by hand."""

from __future__ import annotations

import pytest

from benchmarks.headline import figures
from benchmarks.headline.figures import Point, Throughput


def point(rate: float, mean: float, p99: float | None = None, *, is_valid: bool = True) -> Point:
    return Point(rate, mean, mean, mean, mean if p99 is None else p99, is_valid)


def test_quantiles_lie_between_ranks() -> None:
    assert figures.quantile([4.0, 1.0, 3.0, 2.0], 0.5) == 2.5
    assert figures.quantile([1.0], 0.99) == 1.0
    assert figures.quantile([float(i) for i in range(101)], 0.99) == pytest.approx(99.0)
    with pytest.raises(ValueError, match="no values"):
        figures.quantile([], 0.5)


def test_throughput_is_where_the_line_between_two_points_meets_the_target() -> None:
    curve = [point(4, 6.0), point(1, 3.0), point(2, 3.5)]
    found = figures.throughput_at(curve, 4.0)
    assert found is not None
    assert found.rate == pytest.approx(2.4)
    assert not found.is_bound
    assert figures.throughput_at(curve, 3.0) == Throughput(1.0, is_bound=False)


def test_throughput_counts_up_to_the_first_crossing_only() -> None:
    assert figures.throughput_at([point(1, 3.0), point(2, 5.0), point(3, 3.0)], 4.0) == Throughput(1.5, is_bound=False)


def test_a_curve_that_never_passes_the_target_gives_a_bound() -> None:
    assert figures.throughput_at([point(1, 3.0), point(2, 3.1)], 4.0) == Throughput(2, is_bound=True)


def test_a_curve_that_begins_above_the_target_gives_nothing() -> None:
    assert figures.throughput_at([point(1, 5.0)], 4.0) is None
    assert figures.throughput_at([], 4.0) is None


def test_ratios_need_a_base_that_passes_the_target() -> None:
    base, other = [point(1, 3.0), point(2, 5.0)], [point(1, 2.0), point(8, 3.9)]
    found = figures.throughput_ratio(base, other, 4.0)
    assert found == {"ratio": 5.333, "at_least": True, "rate": 8.0, "baseline_rate": 1.5}
    assert figures.throughput_ratio(other, base, 4.0) is None
    assert figures.throughput_ratio([point(1, 9.0)], other, 4.0) is None


def test_tails_are_compared_at_equal_rates_from_mid_load_on() -> None:
    base = [point(1, 3.0, 4.0), point(2, 3.5, 6.0), point(4, 7.0, 20.0)]
    other = [point(1, 3.0, 4.0), point(2, 3.0, 3.0), point(4, 3.5, 5.0), point(8, 9.0, 30.0)]
    assert figures.tail_ratios(base, other, 2.0) == {2: 2.0, 4: 4.0}


def test_the_verdict_leaves_out_points_of_a_saturated_harness() -> None:
    curves = {
        figures.BASELINE: [point(1, 3.0), point(2, 9.0)],
        figures.BOTH: [point(1, 2.5), point(2, 3.0), point(4, 5.0, is_valid=False)],
    }
    both = figures.verdict(curves, idle=3.0, target=4.0)["arms"][figures.BOTH]
    assert both["throughput"] == {"ratio": 1.714, "at_least": True, "rate": 2.0, "baseline_rate": 1.167}
    assert both["throughput_at_idle_times"]["2.0"]["baseline_rate"] == 1.5
    assert both["mean_by_rate"] == {"1": 1.2, "2": 3.0}


def test_the_headline_is_null_where_nothing_was_measured() -> None:
    curves = {figures.BASELINE: [point(1, 3.0), point(2, 9.0)], figures.BOTH: [point(1, 2.5), point(2, 5.0)]}
    found = figures.headline({figures.DOCUMENT: figures.verdict(curves, 3.0, 4.0)}, {})
    assert found["throughput_ratio"] == pytest.approx(1.371, abs=0.001)
    assert found["p99_ratio"] == pytest.approx(1.469, abs=0.001)
    for name in ("throughput_ratio_streaming_only", "p99_ratio_routing_only", "templates_throughput_ratio",
                 "templates_p99_ratio", "langgraph_latency_ratio"):  # fmt: skip
        assert found[name] is None
