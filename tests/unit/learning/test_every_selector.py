"""Whoever registers a selector is held to the protocol, whatever the arrays look like."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from learning.errors import SelectionError
from learning.select import Selector, observe, registry, select

ROUNDS = 4


class Pool:
    """Random points of one seed: `share` of each column fires, some of them nowhere."""

    def __init__(self, seed: int, points: int, assertions: int, share: float) -> None:
        rng = np.random.default_rng(seed)
        flagged = rng.random((points, assertions)) < share
        self.severities = np.where(flagged, rng.integers(1, 4, (points, assertions)), 0).astype(float)
        shares = rng.random((points, 3)) + 1e-3
        self.probabilities = shares / shares.sum(axis=1, keepdims=True)
        best = np.sort(self.probabilities, axis=1)
        self.uncertainty = 1 - (best[:, -1] - best[:, -2])
        self.features = rng.normal(size=(points, 4))
        self.wrong = rng.random(points) < 0.3


@pytest.fixture(params=registry.names())
def chosen(request: pytest.FixtureRequest) -> Selector:
    if request.param.startswith("skactiveml"):
        pytest.importorskip("skactiveml")
    return registry.selector(request.param)


pools = st.builds(
    Pool,
    seed=st.integers(0, 10_000),
    points=st.integers(1, 60),
    assertions=st.integers(0, 5),
    share=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
)


def run(chosen: Selector, pool: Pool, budget: int, seed: int) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    state, rounds = None, []
    for _ in range(ROUNDS):
        rows = select(
            pool.severities, pool.uncertainty, budget, state, rng,
            features=pool.features, probabilities=pool.probabilities, using=chosen,
        )  # fmt: skip
        state = observe(
            state, pool.severities, pool.uncertainty, rows, pool.wrong[rows],
            features=pool.features, probabilities=pool.probabilities, using=chosen,
        )  # fmt: skip
        state = json.loads(json.dumps(state))
        rounds.append(rows.tolist())
    return rounds


class TestEverySelector:
    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(pool=pools, budget=st.integers(1, 20), seed=st.integers(0, 99))
    def test_budget_is_exact_and_no_point_comes_twice(
        self, chosen: Selector, pool: Pool, budget: int, seed: int
    ) -> None:
        rounds = run(chosen, pool, budget, seed)
        left = len(pool.wrong)
        for rows in rounds:
            assert len(rows) == min(budget, left)
            left -= len(rows)
        everything = [row for rows in rounds for row in rows]
        assert len(set(everything)) == len(everything)
        assert rounds == run(chosen, pool, budget, seed), "the same generator must give the same points"

    @pytest.mark.parametrize("as_mask", [True, False])
    def test_what_the_caller_says_is_labelled_is_never_chosen(self, chosen: Selector, as_mask: bool) -> None:
        pool, closed = Pool(3, 40, 3, 0.5), np.arange(0, 40, 2)
        labelled = np.isin(np.arange(40), closed) if as_mask else closed
        rows = select(
            pool.severities, pool.uncertainty, 30, None, np.random.default_rng(1),
            features=pool.features, probabilities=pool.probabilities, labelled=labelled, using=chosen,
        )  # fmt: skip
        assert sorted(rows) == list(range(1, 40, 2))

    def test_inputs_are_not_written_to(self, chosen: Selector) -> None:
        pool = Pool(5, 30, 3, 0.5)
        for array in vars(pool).values():
            array.setflags(write=False)
        assert run(chosen, pool, 5, 0)

    @pytest.mark.parametrize(
        ("budget", "change"),
        [
            (0, {}),
            (True, {}),
            (2.5, {}),
            (3, {"severities": -1.0}),
            (3, {"severities": np.nan}),
            (3, {"uncertainty": np.nan}),
            (3, {"state": {"selector": "someone else"}}),
            (3, {"labelled": [99]}),
            (3, {"features": np.zeros((2, 2))}),
        ],
    )
    def test_an_error_leaves_the_generator_untouched(
        self, chosen: Selector, budget: int, change: dict[str, object]
    ) -> None:
        pool, rng = Pool(5, 30, 3, 0.5), np.random.default_rng(9)
        given = {
            "features": pool.features,
            "probabilities": pool.probabilities,
            "state": None,
            "labelled": None,
            **change,
        }
        if "severities" in given:
            pool.severities[4, 1] = given.pop("severities")
        if "uncertainty" in given:
            pool.uncertainty[4] = given.pop("uncertainty")
        before = rng.bit_generator.state
        with pytest.raises(SelectionError):
            select(pool.severities, pool.uncertainty, budget, rng=rng, using=chosen, **given)
        assert rng.bit_generator.state == before

    def test_a_selector_that_breaks_off_leaves_the_generator_untouched(self) -> None:
        class Breaks:
            name = "breaks"

            def choose(self, points, budget, known, rng):  # type: ignore[no-untyped-def]
                rng.random(10)
                raise SelectionError("no")

            def learn(self, points, chosen, wrong, known):  # type: ignore[no-untyped-def]
                return {}

        rng = np.random.default_rng(9)
        before = rng.bit_generator.state
        with pytest.raises(SelectionError):
            select(np.ones((5, 1)), None, 2, None, rng, using=Breaks())
        assert rng.bit_generator.state == before


def test_an_assertion_may_join_between_rounds() -> None:
    pool, rng = Pool(1, 50, 4, 0.5), np.random.default_rng(0)
    for name in ("error-seeking", "bandit", "bal"):
        rows = select(pool.severities[:, :3], pool.uncertainty, 10, None, rng, using=name)
        state = observe(None, pool.severities[:, :3], pool.uncertainty, rows, pool.wrong[rows], using=name)
        assert len(select(pool.severities, pool.uncertainty, 10, state, rng, using=name)) == 10
        with pytest.raises(SelectionError, match="3 assertions"):
            select(pool.severities[:, :2], pool.uncertainty, 10, state, rng, using=name)


def test_no_uncertainty_and_no_features_are_needed() -> None:
    pool, rng, state = Pool(1, 50, 4, 0.3), np.random.default_rng(0), None
    for _ in range(5):
        rows = select(pool.severities, None, 10, state, rng)
        state = observe(state, pool.severities, None, rows, pool.wrong[rows])
    assert state is not None
    assert len(state["labelled"]) == 50
