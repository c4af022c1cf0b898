"""The arithmetic of continuous batching: properties of the block cache and of schedules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.engines.simulation import BlockCache, ContinuousBatch, Costs, Job, chained

BLOCK = 4
PROMPTS = st.lists(st.integers(0, 2), min_size=1, max_size=20)


def costs(**changed: float) -> Costs:
    parts: dict[str, float] = {
        "step_seconds": 7e-3,
        "prefill_token_seconds": 35e-6,
        "decode_seconds": 30e-6,
        "context_token_seconds": 55e-9,
        "prefill_tokens_max": 16,
        "sequences_max": 4,
        "block_tokens": BLOCK,
        "kv_blocks": 16,
    }
    return Costs(**{**parts, **changed})  # type: ignore[arg-type]


def run(batch: ContinuousBatch, lengths: dict[str, int], steps_max: int = 2_000) -> dict[str, int]:
    """Step until every job has written its length; returns the step at which each one's first token came."""
    written, first = dict.fromkeys(lengths, 0), dict[str, int]()
    for number in range(steps_max):
        step = batch.step()
        if step is None:
            break
        assert len(step.decoded) == len({job.id for job in step.decoded}), "two tokens for one job in one step"
        for job in step.decoded:
            first.setdefault(job.id, number)
            written[job.id] += 1
            if written[job.id] == lengths[job.id]:
                batch.remove(job.id)
            else:
                batch.write(job, number)
    assert written == lengths, "some job starved, or wrote too much"
    return first


class TestBatch:
    @given(st.lists(st.tuples(PROMPTS, st.integers(1, 20)), min_size=1, max_size=12))
    def test_every_job_writes_what_it_should_and_all_blocks_come_back(self, jobs: list[tuple[list[int], int]]) -> None:
        batch = ContinuousBatch(costs())
        for number, (prompt, _) in enumerate(jobs):
            batch.add(Job(str(number), (0.0, number), list(prompt)))
        run(batch, {str(number): length for number, (_, length) in enumerate(jobs)})
        assert batch.cache.free == batch.cache.total
        assert (batch.running, batch.waiting) == (0, 0)

    @given(st.lists(st.tuples(PROMPTS, st.booleans()), min_size=1, max_size=10), st.integers(0, 12))
    def test_whatever_is_removed_at_any_time_gives_its_blocks_back(
        self, jobs: list[tuple[list[int], bool]], steps: int
    ) -> None:
        batch = ContinuousBatch(costs())
        for number, (prompt, _) in enumerate(jobs):
            batch.add(Job(str(number), (0.0, number), list(prompt)))
        for _ in range(steps):
            step = batch.step()
            for job in step.decoded if step else ():
                batch.write(job, 1)
        for number in range(len(jobs)):
            batch.remove(str(number))
        assert batch.cache.free == batch.cache.total

    def test_an_earlier_request_goes_first(self) -> None:
        batch = ContinuousBatch(costs(sequences_max=1))
        batch.add(Job("late", (2.0, 0), [1, 2, 3]))
        batch.add(Job("early", (1.0, 1), [4, 5, 6]))
        first = run(batch, {"late": 2, "early": 2})
        assert first["early"] < first["late"]

    def test_a_long_prompt_is_computed_in_chunks_while_others_decode(self) -> None:
        batch = ContinuousBatch(costs(kv_blocks=64))
        batch.add(Job("short", (0.0, 0), [1]))
        short = batch.step()
        assert short is not None
        batch.write(short.decoded[0], 1)
        batch.add(Job("long", (0.0, 1), list(range(40))))
        chunks = []
        for _ in range(3):
            step = batch.step()
            assert step is not None
            assert step.decoded[0].id == "short"
            batch.write(step.decoded[0], 1)
            chunks.append(step.prefilled)
        assert chunks == [16, 16, 8]

    def test_a_step_costs_what_it_does(self) -> None:
        batch = ContinuousBatch(costs())
        batch.add(Job("a", (0.0, 0), list(range(10))))
        prefill = batch.step()
        assert prefill is not None
        assert prefill.seconds == pytest.approx(7e-3 + 10 * 35e-6)
        batch.write(prefill.decoded[0], 1)
        decode = batch.step()
        assert decode is not None
        assert decode.seconds == pytest.approx(7e-3 + 30e-6 + 11 * 55e-9)

    def test_a_full_cache_puts_the_latest_back_and_finishes_it_later(self) -> None:
        batch = ContinuousBatch(costs(kv_blocks=4))
        batch.add(Job("first", (0.0, 0), [1] * 6))
        batch.add(Job("second", (0.0, 1), [2] * 6))
        run(batch, {"first": 8, "second": 8})
        assert batch.cache.free == 4

    def test_two_jobs_of_one_id_are_refused(self) -> None:
        batch = ContinuousBatch(costs())
        batch.add(Job("a", (0.0, 0), [1]))
        with pytest.raises(ValueError, match="'a'"):
            batch.add(Job("a", (0.0, 1), [1]))


class TestPrefixCache:
    @given(PROMPTS, PROMPTS)
    def test_hit_is_the_shared_prefix_in_full_blocks(self, old: list[int], new: list[int]) -> None:
        batch = ContinuousBatch(costs(kv_blocks=64))
        for name, prompt in (("old", old), ("new", new)):
            job = Job(name, (0.0, 0), list(prompt))
            batch.add(job)
            run(batch, {name: 1})
        shared = 0
        while shared < min(len(old), len(new)) and old[shared] == new[shared]:
            shared += 1
        assert job.cached == min(shared, len(new) - 1) // BLOCK * BLOCK

    def test_the_least_recently_used_block_goes_first(self) -> None:
        cache = BlockCache(2)
        for block in (1, 2):
            assert cache.take()
            cache.name(block)
        cache.release([1], 0)
        cache.release([2], 0)
        assert cache.pin_known([1]) == [1]
        cache.release([1], 0)
        assert cache.take()
        assert cache.pin_known([2]) == []
        assert cache.pin_known([1]) == [1]

    def test_held_blocks_are_never_given_up(self) -> None:
        cache = BlockCache(1)
        assert cache.take()
        cache.name(7)
        assert not cache.take()

    @given(st.lists(st.integers(0, 3), max_size=40), st.integers(0, 40), st.integers(0, 40))
    def test_hashes_in_two_goes_are_hashes_in_one(self, tokens: list[int], first: int, second: int) -> None:
        early, late = sorted((min(first, len(tokens)), min(second, len(tokens))))
        begun = chained(tokens, BLOCK, (), early)
        assert begun + chained(tokens, BLOCK, begun, late) == chained(tokens, BLOCK, (), late)
