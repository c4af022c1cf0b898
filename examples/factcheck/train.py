"""Makes the verifier's file: `python -m examples.factcheck.train`.

    (nothing)      fit the seed claims, write the file where the pipeline looks for it
    --output FILE  write it there instead
    --judge N      also ask the model about N held-out claims and say how often the verifier is right
    --measure      first ask the model about the seed claims again, and write its margins into seed_claims.csv

`--judge` and `--measure` run the default model in this process: about 0.1 s a claim on one idle core.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from pathlib import Path

from examples.factcheck import prompts
from examples.factcheck.corpus import LabelledClaim, claims
from examples.factcheck.features import features, margin, row
from examples.factcheck.lookup import look_up
from examples.factcheck.models import Evidence, Triple
from examples.factcheck.tables import countries
from examples.factcheck.verifier import SEED_CLAIMS, Example, Verifier, fit, load, save, seed_examples, verifier_path
from workers.engines.default_model import MODEL_NOTICE
from workers.engines.protocol import Engine, Generation, Sampling
from workers.engines.registry import create_engine


def evidence_of(claim: LabelledClaim) -> Evidence:
    entity = countries()[claim.country].name
    return look_up(Triple(entity=entity, relation=claim.relation, object=claim.object))


def held_out_claims(count: int, seed: int = 0) -> list[LabelledClaim]:
    """Of countries that no verifier is ever trained on."""
    found = list(claims(seed, held_out=True))
    random.Random(seed).shuffle(found)
    return found[:count]


async def margins(evidence: Iterable[Evidence]) -> list[float]:
    """What the default model answers about each, as the pipeline asks it."""
    engine = create_engine("llamacpp")
    await engine.start()
    try:
        return [await _margin(engine, str(i), found) for i, found in enumerate(evidence)]
    finally:
        await engine.close()


async def _margin(engine: Engine, generation_id: str, evidence: Evidence) -> float:
    said = evidence.triple.object if evidence.triple else ""
    prompt = prompts.verify_prompt(evidence.facts[: prompts.VERIFY_FACTS], said)
    sampling = Sampling(max_tokens=prompts.VERIFY_TOKENS, logprobs=prompts.VERIFY_ALTERNATIVES)
    async with aclosing(engine.generate(Generation(id=generation_id, prompt=prompt, sampling=sampling))) as chunks:
        async for chunk in chunks:
            if chunk.logprobs:
                return margin(chunk.logprobs[0])
    return 0.0


def accuracy(verifier: Verifier, examples: Iterable[Example]) -> Iterator[tuple[str, int, int]]:
    """Right answers and all answers, by relation, then of all."""
    right: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for example in examples:
        relation: str = example.evidence.triple.relation if example.evidence.triple else ""
        says = verifier.probability(row(features(example.evidence, example.margin))) >= 0.5
        seen[relation] += 1
        right[relation] += says == example.true
    for relation in sorted(seen):
        yield relation, right[relation], seen[relation]
    yield "all", right.total(), seen.total()


def measure() -> None:
    """Only the margins of the file change, and they only with the model or the prompt."""
    with SEED_CLAIMS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    examples = seed_examples()
    fresh = asyncio.run(margins(example.evidence for example in examples))
    with SEED_CLAIMS.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, tuple(rows[0]), lineterminator="\n")
        writer.writeheader()
        for one, answer in zip(rows, fresh, strict=True):
            writer.writerow(one | {"margin": f"{answer:.2f}"})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: where the pipeline looks for it")
    parser.add_argument("--judge", type=int, metavar="N", default=0, help="held-out claims to judge")
    parser.add_argument("--measure", action="store_true", help="ask the model about the seed claims again")
    given = parser.parse_args()
    if given.judge or given.measure:
        print(MODEL_NOTICE)
    if given.measure:
        measure()
    path = given.output or verifier_path()
    version = save(fit(seed_examples()), path)
    print(f"verifier {version} from {len(seed_examples())} seed claims: {path}")
    if given.judge:
        held_out = held_out_claims(given.judge)
        evidence = [evidence_of(claim) for claim in held_out]
        answers = asyncio.run(margins(evidence))
        rows = zip(evidence, answers, (claim.true for claim in held_out), strict=True)
        judged = [Example(*one) for one in rows if one[0].facts]
        for relation, right, seen in accuracy(load(path), judged):
            print(f"{relation:12}  {right:4} of {seen:4}  {right / seen:.3f}")


if __name__ == "__main__":
    main()
