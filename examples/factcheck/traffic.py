"""What the demo model says when it is asked: `python -m examples.factcheck.traffic FILE`, without Kafka.

Asks about countries in several wordings at a temperature, and checks each draft with the pipeline's own prompts and
functions. Writes observations as `descant assertions test` reads them, JSON lines: those of `draft`, of `verdict`, and
of both joined with the question. About 3 s a question on one idle core; a question that is in FILE already is left out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final, TextIO

from assertions import Observation
from examples.factcheck import prompts
from examples.factcheck.judge import judge
from examples.factcheck.lookup import evidence_for
from examples.factcheck.models import Claim
from examples.factcheck.sentences import Sentences
from examples.factcheck.subjects import named, subject_of_question, subject_of_sentence
from examples.factcheck.tables import countries
from examples.factcheck.verifier import current
from workers.engines.default_model import MODEL_NOTICE
from workers.engines.protocol import Engine, Generation, Sampling
from workers.engines.registry import create_engine

WORDINGS: Final = ("Tell me about {}.", "What do you know about {}?", "Describe {} to me.")
TEMPERATURE: Final = 0.7
"""Answers differ from one time to the next, as they do where people talk to a model."""
SPACING_SECONDS: Final = 4.0
"""Between two questions, in event time."""
SMALLEST_POPULATION: Final = 1_000_000
"""Of smaller countries a model of this size knows next to nothing."""


def questions(count: int, seed: int = 0) -> list[str]:
    """Each country in every wording, one after the other, until there are so many."""
    names = [c.name for c in countries().values() if int(c.facts.get("population", ("0",))[0]) >= SMALLEST_POPULATION]
    random.Random(seed).shuffle(names)
    return [wording.format(name) for name in names for wording in WORDINGS][:count]


async def said(engine: Engine, name: str, prompt: str, **sampling: Any) -> tuple[str, Mapping[str, float]]:
    """The text, and the alternatives of its first token."""
    text, first = "", dict[str, float]()
    generation = Generation(name, prompt, Sampling(stop=prompts.STOP, **sampling))
    async with aclosing(engine.generate(generation)) as chunks:
        async for chunk in chunks:
            text += chunk.text
            first = first or dict(next(iter(chunk.logprobs), {}))
    return text, first


def claims_of(question: str, draft: str) -> Iterator[Claim]:
    sentences, subject = Sentences(), subject_of_question(question)
    for sentence in [*sentences.feed(draft), *sentences.close()]:
        subject = subject or subject_of_sentence(sentence)
        yield Claim(sentence=sentence, text=named(sentence, subject))


async def asked(engine: Engine, number: int, question: str) -> list[Observation]:
    """One question's way through the pipeline."""
    text, _ = await said(
        engine,
        f"{number}.draft",
        prompts.draft_prompt(question),
        max_tokens=prompts.DRAFT_TOKENS,
        temperature=TEMPERATURE,
        seed=number,
    )
    at = number * SPACING_SECONDS

    def seen(stages: tuple[str, ...], values: tuple[Any, ...], path: str, time: float) -> Observation:
        return Observation("factcheck", stages, values, f"0:{number}", path, time, request=f"q{number}")

    request = {"text": question}
    found = [
        seen(("draft",), (text,), "", at),
        seen(("accepted", "draft"), (request, text), "", at),
    ]
    for index, claim in enumerate(claims_of(question, text)):
        line, _ = await said(
            engine, f"{number}.{index}.triple", prompts.triple_prompt(claim.text), max_tokens=prompts.TRIPLE_TOKENS
        )
        evidence = evidence_for(claim.text, line)
        about = evidence.triple.object if evidence.triple else claim.text
        _, first = await said(
            engine,
            f"{number}.{index}.verify",
            prompts.verify_prompt(evidence.facts[: prompts.VERIFY_FACTS], about),
            max_tokens=prompts.VERIFY_TOKENS,
            logprobs=prompts.VERIFY_ALTERNATIVES,
        )
        verdict = judge(claim, evidence, first, current()).model_dump(mode="json")
        found.append(seen(("verdict",), (verdict,), str(index), at + 0.1 * (index + 1)))
    return found


def written(path: Path) -> set[str]:
    """Serials of the questions that are there."""
    return {json.loads(line)["serial"] for line in path.read_text().splitlines()} if path.exists() else set()


async def write(file: TextIO, todo: Sequence[tuple[int, str]], at_once: int) -> None:
    engine = create_engine("llamacpp", {"parallel": at_once})
    await engine.start()
    room = asyncio.Semaphore(at_once)

    async def one(number: int, question: str) -> None:
        async with room:
            for observation in await asked(engine, number, question):
                file.write(json.dumps(observation.to_json(), ensure_ascii=False) + "\n")
            file.flush()

    try:
        await asyncio.gather(*(one(number, question) for number, question in todo))
    finally:
        await engine.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--questions", type=int, default=240)
    parser.add_argument("--at-once", type=int, default=8, help="questions under way at once")
    given = parser.parse_args()
    print(MODEL_NOTICE)
    have = written(given.file)
    todo = [(n, question) for n, question in enumerate(questions(given.questions)) if f"0:{n}" not in have]
    with given.file.open("a", encoding="utf-8") as file:
        asyncio.run(write(file, todo, given.at_once))


if __name__ == "__main__":
    main()
