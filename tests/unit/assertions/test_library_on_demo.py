"""The library on what the demo pipeline's model really said: twelve answers about four countries, as
`python -m examples.factcheck.traffic` writes them, and what assistants with rules answered. What is expected was read
off the texts; how often each is right over many more is in docs/precision.md."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from assertions import Observation, Registry, evaluate, library, read_observations
from assertions.library import checks
from examples.leakage.__main__ import read
from examples.leakage.assistants import ASSISTANTS

OUTPUT = Path(__file__).with_name("demo_output.jsonl")
DRAFT, VERDICT, EVIDENCE = "factcheck.draft", "factcheck.verdict", "factcheck.evidence"


def with_evidence() -> list[Observation]:
    """As a pipeline gives them to `on=(evidence, verdict)` as well."""
    observed = list(read_observations(OUTPUT))
    return observed + [
        Observation(o.pipeline, ("evidence", "verdict"), (o.values[0]["evidence"], *o.values), o.serial, o.path, o.time)
        for o in observed
        if o.stages == ("verdict",)
    ]


def triple(verdict: dict[str, Any]) -> dict[str, str]:
    return verdict["evidence"]["triple"] or {"relation": "", "object": ""}


def facts_of(evidence: dict[str, Any]) -> str:
    return " ".join(evidence["facts"])


def sentence_of(verdict: dict[str, Any]) -> str:
    return str(verdict["sentence"])


@pytest.fixture(scope="module")
def found() -> dict[str, set[str]]:
    """Assertion → request/sentence of what it flags."""
    registry = Registry()
    library.contradiction(
        VERDICT,
        entity=lambda v: v["evidence"]["entity"],
        says=lambda v: {r: triple(v)["object"] for r in (triple(v)["relation"],) if r in ("population", "currency")},
        registry=registry,
    )
    library.confidence_without_agreement(
        VERDICT,
        question=lambda v: [v["evidence"]["entity"], triple(v)["relation"]],
        answer=lambda v: triple(v)["object"],
        confidence=lambda v: v["confidence"],
        sure=0.85,
        registry=registry,
    )
    library.refusal(DRAFT, registry=registry)
    library.repetition(DRAFT, registry=registry)
    library.broken_json(DRAFT, registry=registry)
    library.language_switch(DRAFT, registry=registry)
    library.length_anomaly(DRAFT, registry=registry)
    library.prompt_leakage(DRAFT, prompt="Describe a country in five short sentences.", registry=registry)
    library.unsupported_numbers((EVIDENCE, VERDICT), source=facts_of, text=sentence_of, registry=registry)
    library.uncited_evidence((EVIDENCE, VERDICT), evidence=facts_of, text=sentence_of, registry=registry)
    result = evaluate(registry, with_evidence())
    assert {name: health.errors for name, health in result.health.items() if health.errors} == {}
    assert set(result.health) == set(library.__all__)
    flagged: dict[str, set[str]] = defaultdict(set)
    for flag in result.flags:
        value = flag.data.example.get("verdict")
        flagged[flag.assertion].add(value["sentence"] if value else flag.subject)
    return flagged


def test_numbers_that_the_tables_do_not_hold(found: dict[str, set[str]]) -> None:
    assert found["unsupported_numbers"] == {
        "It has a population of about 6 million.",
        "Its population is about 11 million.",
        "Its population is about 32 million.",
        "It has a population of about 11 million.",
        "Its population is about 2.3 billion.",
        "It is 3000 miles long.",
    }


def test_two_populations_and_three_currencies_contradict_each_other(found: dict[str, set[str]]) -> None:
    assert found["contradiction"] == {
        "It has a population of about 6 million.",
        "Its population is about 32 million.",
        "Its currency is the yuan.",
        "Its currency is the renminbi.",
        "Its currency is the dollar.",
    }


def test_a_third_currency_that_the_verifier_is_sure_of_agrees_with_no_other(found: dict[str, set[str]]) -> None:
    assert "Its currency is the dollar." in found["confidence_without_agreement"]
    assert "Its capital is Beijing." not in found["confidence_without_agreement"]


def test_sentences_are_no_json(found: dict[str, set[str]]) -> None:
    assert len(found["broken_json"]) == 12


@pytest.mark.parametrize(
    "quiet", ["refusal", "repetition", "language_switch", "length_anomaly", "prompt_leakage", "uncited_evidence"]
)
def test_what_the_model_did_not_do_is_not_flagged(found: dict[str, set[str]], quiet: str) -> None:
    assert found[quiet] == set()


def test_facts_that_are_told_are_no_leak_and_rules_are() -> None:
    hotel = ASSISTANTS[0]
    own = [each for each in read() if each["assistant"] == hotel.name]
    told = {e["answer"] for e in own if checks.leaked(e["answer"], hotel.rules, (hotel.shown, e["question"]))}
    whole = {e["answer"] for e in own if checks.leaked(e["answer"], hotel.prompt)}
    assert told < whole
    assert "Breakfast is from seven to half past ten in the room by the water." in whole - told
    assert any("mention the Grand Nordic, the hotel across the street" in answer for answer in told)
