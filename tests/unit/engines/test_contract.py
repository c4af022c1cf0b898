"""What every engine promises (workers.engines.protocol), for whichever is registered."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import aclosing

import pytest

from workers.engines.protocol import Engine, Generation, Sampling, TokenChunk
from workers.errors import PromptError

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROMPT = "Bolivia is a country in South America. Peru is"
numbers = itertools.count()


def generation(prompt: str = PROMPT, resume: tuple[int, ...] = (), **sampling: object) -> Generation:
    return Generation(f"g{next(numbers)}", prompt, Sampling(**sampling), resume=resume)  # type: ignore[arg-type]


async def chunks_of(engine: Engine, wanted: Generation) -> list[TokenChunk]:
    async with aclosing(engine.generate(wanted)) as chunks:
        return [chunk async for chunk in chunks]


def text_of(chunks: list[TokenChunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


class TestEveryEngine:
    async def test_is_an_engine(self, engine: Engine) -> None:
        assert isinstance(engine, Engine)
        assert engine.model
        assert engine.max_context > 0
        assert engine.max_parallel > 0

    async def test_positions_are_contiguous_and_bounded(self, engine: Engine) -> None:
        end = 0
        for chunk in await chunks_of(engine, generation(max_tokens=24)):
            assert chunk.position == end, f"gap or overlap at token {end}"
            assert len(chunk.token_ids) in {0, chunk.tokens}
            end += chunk.tokens
        assert 0 < end <= 24

    async def test_the_last_chunk_alone_says_why_it_ended(self, engine: Engine) -> None:
        *before, last = await chunks_of(engine, generation(max_tokens=5))
        assert last.finish in {"length", "stop"}
        assert all(chunk.finish is None for chunk in before)

    async def test_text_arrives_while_it_is_written(self, engine: Engine) -> None:
        chunks = await chunks_of(engine, generation(max_tokens=16))
        assert sum(chunk.tokens > 0 for chunk in chunks) > 1, "the whole text came in one chunk"

    async def test_a_stop_string_ends_the_text_before_it(self, engine: Engine) -> None:
        whole = text_of(await chunks_of(engine, generation(max_tokens=24)))
        stop = whole[len(whole) // 2 :][:3]
        chunks = await chunks_of(engine, generation(max_tokens=24, stop=(stop,)))
        assert text_of(chunks) == whole[: whole.index(stop)]
        assert chunks[-1].finish == "stop"

    async def test_closing_early_frees_the_engine(self, engine: Engine) -> None:
        async with aclosing(engine.generate(generation(max_tokens=400))) as chunks:
            await anext(chunks)
            assert (await engine.load()).running == 1
        assert (await engine.load()).running == 0, "a cancelled generation still runs"

    async def test_cancelling_a_task_frees_the_engine(self, engine: Engine) -> None:
        begun = asyncio.Event()

        async def read() -> None:
            async with aclosing(engine.generate(generation(max_tokens=400))) as chunks:
                async for _ in chunks:
                    begun.set()

        task = asyncio.create_task(read())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await engine.load()).running == 0

    async def test_generations_do_not_mix(self, engine: Engine) -> None:
        # Repetition, which no model doubts: in another batch sums round otherwise, and a near tie could go otherwise.
        words = ("cat", "dog", "house", "river", "tree", "moon", "bread", "stone")
        prompts = [", ".join([word] * 12) + "," for word in words]
        alone = [text_of(await chunks_of(engine, generation(prompt, max_tokens=6))) for prompt in prompts[:2]]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(chunks_of(engine, generation(prompt, max_tokens=6))) for prompt in prompts]
        for task in tasks:
            positions = [chunk.position for chunk in task.result() if chunk.tokens]
            assert positions == sorted(set(positions))
        assert [text_of(task.result()) for task in tasks[:2]] == alone
        load = await engine.load()
        assert (load.running, load.waiting) == (0, 0)

    async def test_same_prompt_same_text_at_temperature_0(self, engine: Engine) -> None:
        first, second = [await chunks_of(engine, generation(max_tokens=12)) for _ in range(2)]
        assert text_of(first) == text_of(second) != ""

    async def test_a_prompt_beyond_the_context_is_refused(self, engine: Engine) -> None:
        with pytest.raises(PromptError) as refused:
            await chunks_of(engine, generation("secret word " * engine.max_context))
        assert refused.value.code == "model.prompt_too_long"
        assert "secret" not in str(refused.value)
        assert (await engine.load()).running == 0

    async def test_no_tokens_at_all_are_refused(self, engine: Engine) -> None:
        with pytest.raises(PromptError):
            await chunks_of(engine, generation(max_tokens=0))

    async def test_resuming_goes_on_where_the_text_ended(self, engine: Engine) -> None:
        if not engine.can_resume:
            pytest.skip("this engine cannot resume")
        whole = await chunks_of(engine, generation(max_tokens=12))
        ids = tuple(token for chunk in whole for token in chunk.token_ids)
        head = ids[: len(ids) // 2]  # a model with random weights may end its text early
        rest = await chunks_of(engine, generation(resume=head, max_tokens=12))
        assert rest[0].position == len(head)
        end = len(head)
        for chunk in rest:
            assert chunk.position == end
            end += chunk.tokens
        assert end <= 12
        assert text_of(whole).endswith(text_of(rest))

    async def test_resuming_what_is_complete_only_ends_it(self, engine: Engine) -> None:
        if not engine.can_resume:
            pytest.skip("this engine cannot resume")
        ids = tuple(t for chunk in await chunks_of(engine, generation(max_tokens=4)) for t in chunk.token_ids)
        (only,) = await chunks_of(engine, generation(resume=ids, max_tokens=4))
        assert (only.position, only.tokens, only.finish) == (4, 0, "length")

    async def test_log_probabilities_when_asked(self, engine: Engine) -> None:
        chunks = await chunks_of(engine, generation(max_tokens=4, logprobs=3))
        for chunk in chunks:
            assert len(chunk.logprobs) == chunk.tokens
            for alternatives in chunk.logprobs:
                assert len(alternatives) >= 2
                assert all(value <= 1e-6 for value in alternatives.values())
                assert list(alternatives.values()) == sorted(alternatives.values(), reverse=True)
        assert any(chunk.logprobs for chunk in chunks)

    async def test_a_prompt_seen_before_is_found_in_the_cache(self, engine: Engine) -> None:
        prompt = "Sentence: the capital of Chile is Santiago.\n" * 6
        await chunks_of(engine, generation(prompt, max_tokens=1))
        again = (await chunks_of(engine, generation(prompt, max_tokens=1)))[0].cached_tokens
        if again is None:
            pytest.skip("this engine does not say what it found in its prefix cache")
        assert again > len(await engine.tokenize(prompt)) // 2

    async def test_tokens_of_a_prompt(self, engine: Engine) -> None:
        short, long = await engine.tokenize("one two"), await engine.tokenize("one two three four")
        assert 0 < len(short) < len(long)


async def test_close_twice_is_one_close(engine: Engine) -> None:
    await engine.close()
    await engine.close()
