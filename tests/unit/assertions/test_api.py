"""What may be declared, what is refused, and what users' functions may do."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

import assertions
from assertions import (
    Abstain,
    Correction,
    Flag,
    Observation,
    Registry,
    Severity,
    Window,
    assertion,
    consistency,
    evaluate,
)
from assertions.core.health import HealthState
from assertions.core.severity import Fault
from assertions.errors import AssertionSetupError, DuplicateAssertionError
from assertions.labels import labelled


class Verdict(BaseModel):
    entity: str
    value: int


def seen(n: int, value: Any, time: float | None = None) -> Observation:
    return Observation(
        pipeline="p", stages=("s",), values=(value,), serial=f"0:{n}", path="", time=float(n) if time is None else time
    )


def test_public_names_are_few_sorted_and_there() -> None:
    assert list(assertions.__all__) == sorted(assertions.__all__)
    assert len(assertions.__all__) <= 15
    assert all(hasattr(assertions, name) for name in assertions.__all__)


def test_a_stage_object_and_its_name_mean_the_same(registry: Registry) -> None:
    from streams.flow import Pipeline

    pipeline = Pipeline("facts")

    @pipeline.stage
    def verdict(claim: str) -> str:
        return claim

    @assertion(on=verdict, registry=registry)
    def one(value: str) -> bool:
        return False

    @assertion(on="facts.verdict", registry=registry)
    def two(value: str) -> bool:
        return False

    assert one.on == two.on


def test_items_come_as_the_annotated_type(registry: Registry) -> None:
    kinds: list[tuple[type, type]] = []

    @assertion(on="p.s", window=2, registry=registry)
    def typed(verdict: Verdict, recent: Window[Verdict]) -> bool:
        if recent:
            kinds.append((type(verdict), type(recent[-1])))
        return verdict.value > 1

    result = evaluate(registry, [seen(n, {"entity": "e", "value": n}) for n in range(3)])
    assert kinds == [(Verdict, Verdict)] * 2
    assert [f.data.example for f in result.flags] == [{"s": {"entity": "e", "value": 2}}]


def refused_setups() -> list[Callable[[Registry], object]]:
    def no_window(registry: Registry) -> object:
        return assertion(on="p.s", registry=registry)(lambda v, recent: 0)

    return [
        lambda r: assertion(on="nodot", name="a", registry=r)(lambda v: 0),
        lambda r: assertion(on=[], name="a", registry=r)(lambda v: 0),
        lambda r: assertion(on=["p.s", "p.s"], name="a", registry=r)(lambda a, b: 0),
        lambda r: assertion(on=["p.s", "q.s"], name="a", registry=r)(lambda a, b: 0),
        lambda r: assertion(on="p.s", name="two words", registry=r)(lambda v: 0),
        lambda r: assertion(on="p.s", name="a", window=0, registry=r)(lambda v, recent: 0),
        lambda r: assertion(on="p.s", name="a", within=-1, registry=r)(lambda v, recent: 0),
        lambda r: assertion(on="p.s", name="a", window=3, registry=r)(lambda v: 0),
        lambda r: assertion(on="p.s", name="a", per="customer", registry=r)(lambda v, recent: 0),
        lambda r: assertion(on="p.s", name="a", limit_seconds=math.nan, registry=r)(lambda v: 0),
        lambda r: assertion(on="p.s", name="a", registry=r)(lambda: 0),
        lambda r: consistency(on="p.s", name="a", id=lambda v: v, registry=r),
        lambda r: consistency(on="p.s", name="a", id=lambda v: v, attrs=lambda v: {}, within=0, registry=r),
        lambda r: consistency(on="p.s", name="a", id=lambda v: v, attrs=lambda v: {}, within=1e6, registry=r),
        no_window,
    ]


@pytest.mark.parametrize("declare", refused_setups())
def test_what_cannot_work_is_refused_where_it_is_written(
    declare: Callable[[Registry], object], registry: Registry
) -> None:
    with pytest.raises(AssertionSetupError):
        declare(registry)
    assert len(registry) == 0


def test_two_assertions_of_one_name_are_refused(registry: Registry) -> None:
    assertion(on="p.s", name="same", registry=registry)(lambda v: 0)
    with pytest.raises(DuplicateAssertionError, match="same"):
        assertion(on="p.t", name="same", registry=registry)(lambda v: 1)


@pytest.mark.parametrize(
    ("returned", "severity"), [(0, None), (0.0, None), (False, None), (True, 1.0), (2, 2.0), (Severity(0.5), 0.5)]
)
def test_severities(returned: Any, severity: float | None, registry: Registry) -> None:
    assertion(on="p.s", name="a", registry=registry)(lambda v: returned)
    result = evaluate(registry, [seen(1, None)])
    assert [f.severity for f in result.flags] == ([] if severity is None else [severity])
    assert not result.health["a"].errors


@pytest.mark.parametrize("returned", [None, -1, math.nan, math.inf, "0.5", [1], Severity(-2.0), Severity(math.nan)])
def test_what_is_no_severity_is_a_fault_and_no_zero(returned: Any, registry: Registry) -> None:
    assertion(on="p.s", name="a", registry=registry)(lambda v: returned)
    result = evaluate(registry, [seen(1, None)])
    assert not result.flags
    assert result.health["a"].errors == {Fault.REFUSED: 1}
    assert result.health["a"].state is HealthState.BROKEN


def test_abstaining_is_counted_by_itself(registry: Registry) -> None:
    assertion(on="p.s", name="a", registry=registry)(lambda v: Abstain if v else 0)
    health = evaluate(registry, [seen(n, n % 2) for n in range(10)]).health["a"]
    assert (health.evaluated, health.abstained, health.fired, health.errors) == (10, 5, 0, {})


def test_one_that_raises_harms_no_other(registry: Registry) -> None:
    def fails(value: int) -> float:
        raise LookupError(f"the secret example {value}")

    assertion(on="p.s", name="fails", registry=registry)(fails)
    assertion(on="p.s", name="works", registry=registry)(lambda v: v == 3)
    result = evaluate(registry, [seen(n, n) for n in range(5)])
    assert [f.assertion for f in result.flags] == ["works"]
    assert result.health["fails"].errors == {Fault.RAISED: 5}
    assert "LookupError" in result.health["fails"].last_error
    assert "secret" not in result.health["fails"].last_error


def test_one_that_hangs_is_left_behind_and_then_suspended(registry: Registry) -> None:
    never = threading.Event()

    def hangs(value: int) -> bool:
        return never.wait() and False

    assertion(on="p.s", name="hangs", limit_seconds=0.05, registry=registry)(hangs)
    assertion(on="p.s", name="works", registry=registry)(lambda v: True)
    try:
        result = evaluate(registry, [seen(n, n) for n in range(20)])
    finally:
        never.set()
    assert len(result.flags) == 20
    assert result.health["hangs"].errors == {Fault.TIMED_OUT: 20}
    assert result.health["hangs"].is_suspended
    assert result.health["hangs"].state is HealthState.BROKEN


def test_one_that_is_just_too_slow_has_one_outcome_for_each_example(registry: Registry) -> None:
    """Whether its thread is left behind before a call ends or after it."""

    def slow(value: int) -> int:
        time.sleep(0.001)
        return value

    for n in range(3):
        assertion(on="p.s", name=f"slow{n}", limit_seconds=0.001, registry=registry)(slow)
    result = evaluate(registry, [seen(n, 0) for n in range(20)])
    assert [health.evaluated for health in result.health.values()] == [20, 20, 20]


@pytest.mark.parametrize("part", ["id", "per", "weak_label"])
def test_what_finds_keys_or_proposes_labels_may_hang_too(part: str, registry: Registry) -> None:
    never = threading.Event()

    def hangs(_value: Any, *_: Any) -> Any:
        never.wait()

    if part == "per":
        assertion(on="p.s", name="hangs", window=2, per=hangs, limit_seconds=0.05, registry=registry)(
            lambda v, recent: False
        )
    else:
        consistency(
            on="p.s",
            name="hangs",
            id=hangs if part == "id" else lambda v: v,
            scope=lambda v: "all",
            within=60.0,
            weak_label=hangs,
            limit_seconds=0.05,
            registry=registry,
        )
    assertion(on="p.s", name="works", registry=registry)(lambda v: True)
    try:
        # 0 is gone and comes back, again and again.
        result = evaluate(registry, [seen(n, n % 3) for n in range(20)])
    finally:
        never.set()
    assert sum(flag.assertion == "works" for flag in result.flags) == 20
    if part == "weak_label":
        assert any(flag.data.assertion.rule.startswith("flicker:") for flag in result.flags), (
            "it is missing all the same"
        )
    assert result.health["hangs"].is_suspended
    assert result.health["hangs"].state is HealthState.BROKEN
    assert set(result.health["hangs"].errors) == {Fault.TIMED_OUT}


def test_a_flag_stays_a_record_whatever_the_assertion_says(registry: Registry) -> None:
    huge = "x" * 3_000_000

    @assertion(on="p.s", registry=registry)
    def verbose(value: str) -> Severity:
        return Severity(1, huge, Correction("modify", changes={"all": huge, "some": "y"}))

    consistency(on="p.s", name="about", id=lambda v: huge, attrs=lambda v: {"it": v}, registry=registry)
    flags = evaluate(registry, [seen(1, "a"), seen(2, "b")]).flags
    assert len(flags) == 4
    assert max(len(flag.to_bytes()) for flag in flags) < 20_000
    proposed = next(f.data.correction for f in flags if f.assertion == "verbose")
    assert proposed is not None
    assert proposed.changes["some"] == "y"
    assert proposed.changes["all"]["bytes"] == len(huge) + 2


@pytest.mark.parametrize("change", [object(), {1, 2}, "\ud800"])
def test_a_correction_that_is_no_json_is_a_fault(change: Any, registry: Registry) -> None:
    assertion(on="p.s", name="odd", registry=registry)(
        lambda v: Severity(1, "", Correction("modify", changes={"a": change}))
    )
    result = evaluate(registry, [seen(1, 1)])
    assert not result.flags
    assert result.health["odd"].errors == {Fault.REFUSED: 1}


def test_async_assertions_run_together_and_have_their_limit(registry: Registry) -> None:
    waiting = 0
    most = 0

    @assertion(on="p.s", limit_seconds=0.2, registry=registry)
    async def asks(value: int) -> bool:
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        await (asyncio.Event().wait() if value == 3 else asyncio.sleep(0))
        waiting -= 1
        return value == 1

    result = evaluate(registry, [seen(n, n) for n in range(8)])
    assert [f.data.example for f in result.flags] == [{"s": 1}]
    assert result.health["asks"].errors == {Fault.TIMED_OUT: 1}
    assert most > 1


def test_a_flag_is_a_cloud_event_with_the_whole_example(registry: Registry) -> None:
    from jsonschema import Draft202012Validator

    from assertions.core.flag import flag_schema

    @assertion(on="p.s", owner="maps", tags=["facts"], version="2", registry=registry)
    def wrong(value: dict[str, Any]) -> Severity:
        return Severity(0.7, "Sucre, not La Paz", Correction("modify", changes={"capital": "Sucre"}))

    example = {"capital": "La Paz", "note": "Hauptstadt — столица"}
    (flag,) = evaluate(registry, [seen(1, example)]).flags
    record = flag.model_dump(mode="json", exclude_none=True)
    Draft202012Validator(flag_schema()).validate(record)
    assert Flag.from_bytes(flag.to_bytes()) == flag
    assert {"specversion", "id", "source", "type", "subject", "time"} <= set(record)
    assert record["data"]["example"] == {"s": example}
    assert record["data"]["correction"]["changes"] == {"capital": "Sucre"}
    assert record["data"]["assertion"] == {
        "name": "wrong",
        "version": "2",
        "rule": "",
        "owner": "maps",
        "tags": ["facts"],
    }
    (again,) = evaluate(registry, [seen(1, example)]).flags
    assert again.id == flag.id


def test_a_value_too_large_for_a_flag_is_named_by_reference(registry: Registry) -> None:
    assertion(on="p.s", name="a", registry=registry)(lambda v: True)
    (flag,) = evaluate(registry, [seen(1, "x" * 2_000_000)]).flags
    assert len(flag.to_bytes()) < 10_000
    assert flag.data.example["s"]["bytes"] == 2_000_002


def test_a_person_s_labels_are_judged_like_outputs(registry: Registry) -> None:
    consistency(on="p.s", name="agree", id=lambda v: v["e"], attrs=lambda v: {"c": v["c"]}, registry=registry)
    outputs = [seen(n, {"e": "Bolivia", "c": "Sucre"}) for n in range(4)]
    assert not evaluate(registry, outputs).flags
    labels = {o.subject: {"e": "Bolivia", "c": "La Paz" if o.serial == "0:2" else "Sucre"} for o in outputs[:3]}
    (flag,) = evaluate(registry, labelled(outputs, labels)).flags
    assert flag.data.lineage.serial == "0:2"
    assert flag.data.correction is not None
    assert flag.data.correction.changes == {"c": "Sucre"}


def test_a_missing_output_is_proposed_by_the_weak_label(registry: Registry) -> None:
    consistency(
        on="p.s",
        name="steady",
        id=lambda box: box["id"],
        outputs=lambda frame: frame["boxes"],
        scope=lambda frame: frame["camera"],
        within=0.5,
        transitions=["flicker"],
        weak_label=lambda before, after, time: {"id": before["id"], "x": (before["x"] + after["x"]) / 2},
        registry=registry,
    )
    frames = [[{"id": 1, "x": 0}], [], [{"id": 1, "x": 2}]]
    result = evaluate(
        registry, [seen(n, {"camera": "a", "boxes": boxes}, time=n / 10) for n, boxes in enumerate(frames)]
    )
    (flag,) = result.flags
    assert flag.data.correction is not None
    assert (flag.data.correction.kind, flag.data.correction.additions) == ("add", ({"id": 1, "x": 1.0},))
