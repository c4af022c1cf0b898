"""BAL as the paper has it, and what the default selector makes of labels."""

from __future__ import annotations

import numpy as np
import pytest

from learning.bal import EXPLORED, Bal, reductions
from learning.select import observe, select
from learning.select.baselines import Random
from learning.select.seeking import ErrorSeeking


def test_the_first_round_draws_assertions_alike_however_many_points_they_flag() -> None:
    severities = np.zeros((1_000, 2))
    severities[:900, 0] = 1
    severities[900:, 1] = 1
    counts = [
        int((select(severities, None, 60, None, np.random.default_rng(s), using="bal") >= 900).sum()) for s in range(40)
    ]
    assert 27 < np.mean(counts) < 33


def test_later_rounds_follow_the_assertion_whose_firings_fell() -> None:
    before = np.zeros((2_000, 2))
    before[:800, 0], before[800:1_600, 1] = 1, 1
    state = observe(None, before, None, np.arange(10), np.ones(10, bool), using="bal")
    now = before.copy()
    now[400:800, 0] = 0  # assertion 0 fell by half, assertion 1 stayed
    rows = select(now, None, 100, state, np.random.default_rng(0), using="bal")
    share = (rows < 400).mean()
    assert abs(share - (1 - EXPLORED / 2)) < 0.08


def test_points_of_an_assertion_are_drawn_by_the_rank_of_their_severity() -> None:
    before = np.zeros((400, 1))
    before[:] = 1
    state = observe(None, before, None, [0], [True], using="bal")
    now = np.zeros((400, 1))
    now[1:301, 0] = np.linspace(1, 1_000_000, 300) ** 2
    hits = np.concatenate([select(now, None, 20, state, np.random.default_rng(s), using="bal") for s in range(60)])
    upper, lower = ((hits > 150) & (hits <= 300)).sum(), ((hits <= 150) & (hits > 0)).sum()
    # By rank the upper half has three quarters of the weight; by the severity itself it would have nearly all.
    assert 2.0 < upper / lower < 3.6


def test_when_nothing_fell_the_baseline_chooses() -> None:
    severities = np.zeros((1_000, 1))
    severities[:500] = 1
    uncertainty = np.linspace(0, 1, 1_000)
    state = observe(None, severities, uncertainty, [0], [True], using="bal")
    rows = select(severities, uncertainty, 40, state, np.random.default_rng(0), using="bal")
    assert set(range(970, 1_000)) <= set(rows.tolist()), "three quarters are the least sure points"
    rows = select(severities, uncertainty, 40, state, np.random.default_rng(0), using=Bal(baseline=Random()))
    assert not set(range(970, 1_000)) <= set(rows.tolist())


def test_reductions_are_shares_and_never_negative() -> None:
    assert reductions(np.array([0.4, 0.2, 0.0]), np.array([0.1, 0.3, 0.2, 0.5])) == pytest.approx([0.75, 0, 0, 0])


def two_assertions(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """2,000 points; one assertion of 200 that is right on 95 %, one of 200 that is right on 5 %."""
    rng = np.random.default_rng(seed)
    severities = np.zeros((2_000, 2))
    severities[:200, 0] = rng.random(200) + 0.1
    severities[200:400, 1] = rng.random(200) + 0.1
    wrong = rng.random(2_000) < np.concatenate([np.full(200, 0.95), np.full(200, 0.05), np.full(1_600, 0.02)])
    return severities, wrong


@pytest.mark.parametrize("using", ["error-seeking", "bandit"])
def test_labels_teach_which_assertion_finds_errors(using: str) -> None:
    found = []
    for seed in range(10):
        severities, wrong = two_assertions(seed)
        rng, state = np.random.default_rng(seed), None
        for _ in range(4):
            rows = select(severities, None, 20, state, rng, using=using)
            state = observe(state, severities, None, rows, wrong[rows], using=using)
        found.append(wrong[rows].mean())
    assert np.mean(found) > 0.5, (
        "a precise assertion is a tenth of the points; by chance 11 % of the labels find an error"
    )


def test_rare_errors_in_the_unsure_points_are_sought_there() -> None:
    rng = np.random.default_rng(0)
    uncertainty = rng.random(5_000)
    wrong = uncertainty > 0.97
    state = None
    for _ in range(4):
        rows = select(np.zeros((5_000, 0)), uncertainty, 25, state, rng)
        state = observe(state, np.zeros((5_000, 0)), uncertainty, rows, wrong[rows])
    assert wrong[rows].mean() > 0.3, "3 % of all points are wrong"


def test_a_batch_is_spread_over_what_is_unlike() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(10, 5)) * 10
    features = np.repeat(centres, 100, axis=0) + rng.normal(size=(1_000, 5)) * 0.1
    severities = np.ones((1_000, 1))
    rows = select(severities, None, 10, None, rng, features=features)
    assert len(set((rows // 100).tolist())) >= 9
    # What is labelled counts too: the next batch goes where none is yet.
    rows = select(severities, None, 2, None, rng, features=features, labelled=np.arange(800))
    assert set((rows // 100).tolist()) == {8, 9}


def test_sparse_features_do_what_dense_ones_do() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    rng = np.random.default_rng(3)
    dense = rng.random((300, 30)) * (rng.random((300, 30)) < 0.2)
    severities = (rng.random((300, 2)) < 0.4).astype(float)
    for using in ("error-seeking", "bandit"):
        state = observe(None, severities, None, np.arange(20), rng.random(20) < 0.5, using=using)
        picks = [
            select(severities, None, 15, state, np.random.default_rng(1), features=f, using=using).tolist()
            for f in (dense, sparse.csr_matrix(dense))
        ]
        assert picks[0] == picks[1]


def test_the_state_stays_bounded() -> None:
    severities, wrong = two_assertions(1)
    state, rng = None, np.random.default_rng(0)
    for _ in range(8):
        rows = select(severities, None, 100, state, rng)
        state = observe(state, severities, None, rows, wrong[rows])
    assert state is not None
    assert len(state["seen"]) == len(state["wrong"]) == len(state["rounds"]) == 500
    assert len(state["labelled"]) == 800


def test_likelihood_moves_from_the_prior_to_the_labels() -> None:
    from learning.select.candidates import candidates

    severities, _ = two_assertions(2)
    points = candidates(severities)
    selector = ErrorSeeking()
    prior = selector.likelihood(points, {})
    assert prior[0] > prior[1_000], "a flag makes an error likelier before any label"
    rows = np.arange(200, 260)
    state = observe(None, severities, None, rows, np.zeros(60, bool))
    assert selector.likelihood(points, state)[200:400].mean() < prior[200:400].mean() / 3
