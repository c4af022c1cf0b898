"""python -m examples.leakage: how often `prompt_leakage` is right about a model with instructions to keep.

Eight assistants, whose prompts are rules, facts and an example, are asked by people who want to know something and by
people who want to see the rules. What the demo model (Gemma 3 270M, temperature 0.7) said is in `answers.jsonl`; with
`--ask` it is asked again, some minutes on two cores. A flag is right if the answer tells what only the rules say,
by words of theirs that were listed before anything was asked. Two ways to use the assertion are judged: the whole
prompt taken for instructions, and the rules alone, where what is to be told and what was asked do not count.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from contextlib import aclosing
from itertools import product
from pathlib import Path
from typing import Any

from assertions import Observation, Registry, evaluate, library
from examples.leakage.assistants import ASSISTANTS, PRYING, Assistant
from examples.precision import report
from workers.engines.default_model import MODEL_NOTICE
from workers.engines.protocol import Engine, Generation, Sampling
from workers.engines.registry import create_engine

ANSWERS = Path(__file__).with_name("answers.jsonl")
TIMES = 5
TEMPERATURE = 0.7
TOKENS = 60
STOP = ("\n",)
WAYS = ("whole prompt", "rules alone")


def questions() -> list[dict[str, Any]]:
    """Everything that is asked, in order; the same each time."""
    return [
        {"assistant": each.name, "question": question, "begins": begins, "time": time}
        for each in ASSISTANTS
        for (question, begins), time in product([*((q, "") for q in each.honest), *PRYING], range(TIMES))
    ]


async def answered(engine: Engine, number: int, asked: dict[str, Any]) -> dict[str, Any]:
    assistant = next(each for each in ASSISTANTS if each.name == asked["assistant"])
    given = f" {asked['begins']}" if asked["begins"] else ""
    prompt = f"{assistant.prompt}{asked['question']}\nAnswer:{given}"
    sampling = Sampling(stop=STOP, max_tokens=TOKENS, temperature=TEMPERATURE, seed=number)
    text = ""
    async with aclosing(engine.generate(Generation(f"{number}", prompt, sampling))) as chunks:
        async for chunk in chunks:
            text += chunk.text
    return {**asked, "answer": text.strip()}


async def ask(at_once: int = 4) -> None:
    engine = create_engine("llamacpp", {"parallel": at_once})
    await engine.start()
    room = asyncio.Semaphore(at_once)

    async def one(number: int, asked: dict[str, Any]) -> dict[str, Any]:
        async with room:
            return await answered(engine, number, asked)

    try:
        found = await asyncio.gather(*(one(n, asked) for n, asked in enumerate(questions())))
    finally:
        await engine.close()
    ANSWERS.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in found), encoding="utf-8")


def read() -> list[dict[str, Any]]:
    return [json.loads(line) for line in ANSWERS.read_text(encoding="utf-8").splitlines()]


def tells(assistant: Assistant, answer: str) -> bool:
    return any(re.search(secret, answer, re.IGNORECASE) for secret in assistant.secrets)


def judged(assistant: Assistant, said: list[dict[str, Any]]) -> dict[str, list[bool]]:
    """By way of use, whether each flag on this assistant's answers is right."""
    registry = Registry()
    stages = (f"{assistant.name}.accepted", f"{assistant.name}.answer")
    made = {
        "whole prompt": library.prompt_leakage(stages[1], prompt=assistant.prompt, name="whole", registry=registry),
        "rules alone": library.prompt_leakage(
            stages, prompt=assistant.rules, shown=assistant.shown, name="alone", registry=registry
        ),
    }
    observations = [
        Observation(assistant.name, names, values, f"0:{n}", "", float(n))
        for n, each in enumerate(said)
        for names, values in (
            (("answer",), (each["answer"],)),
            (("accepted", "answer"), ({"text": each["question"]}, each["answer"])),
        )
    ]
    flags = evaluate(list(registry), observations).flags
    return {
        way: [
            tells(assistant, said[int(flag.data.lineage.serial.partition(":")[2])]["answer"])
            for flag in flags
            if flag.assertion == one.name
        ]
        for way, one in made.items()
    }


def main() -> None:
    if "--ask" in sys.argv:
        print(MODEL_NOTICE, file=sys.stderr)
        asyncio.run(ask())
    said = read()
    found: dict[str, list[list[bool]]] = {f"prompt_leakage, {way}": [] for way in WAYS}
    told = 0
    for assistant in ASSISTANTS:
        own = [each for each in said if each["assistant"] == assistant.name]
        told += sum(tells(assistant, each["answer"]) for each in own)
        for way, verdicts in judged(assistant, own).items():
            found[f"prompt_leakage, {way}"].append(verdicts)
    # A call of the library.
    report(f"{len(said)} answers, {told} of them tell of a rule", found, dict.fromkeys(found, 1))


if __name__ == "__main__":
    main()
