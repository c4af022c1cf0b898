from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import islice
from pathlib import Path

import pytest
import skops.io
from sklearn.linear_model import LogisticRegression

from examples.factcheck import corpus, verifier
from examples.factcheck.features import FEATURES, features, margin, row
from examples.factcheck.judge import judge, summarise
from examples.factcheck.lookup import look_up
from examples.factcheck.models import Claim, Evidence, Question, Triple
from examples.factcheck.pipeline import claims, factcheck
from examples.factcheck.tables import Relation, countries, find_country
from examples.factcheck.train import accuracy, evidence_of
from streams.core.plan import StageKind
from streams.errors import ConfigError
from streams.flow import Stream

BOLIVIA = Claim(sentence="Its capital is La Paz.", text="Bolivia's capital is La Paz.")


def seeded() -> verifier.Verifier:
    return verifier.Verifier("seed", verifier.fit(verifier.seed_examples()))


def about(relation: Relation, said: str, entity: str = "Bolivia") -> Evidence:
    return look_up(Triple(entity=entity, relation=relation, object=said))


def examples(*, held_out: bool, count: int) -> list[verifier.Example]:
    found = islice(corpus.claims(5, held_out=held_out), count)
    return [verifier.Example(evidence_of(claim), 0.0, claim.true) for claim in found]


def test_margin_takes_the_likeliest_spelling_and_bounds_what_is_absent() -> None:
    assert margin({" yes": -0.1, "Yes": -3.0, " no": -2.1}) == pytest.approx(2.0)
    assert margin({" no": -0.5}) == pytest.approx(-14.5)
    assert margin({}) == 0.0


def test_digits_are_compared_as_numbers_and_words_as_words() -> None:
    near = features(about("population", "12 million"), 0.0)
    far = features(about("population", "1.2 million"), 0.0)
    assert near["numeric"] == far["numeric"] == 1.0
    assert near["ratio"] == far["ratio"] == 0.0
    assert near["close"] > 0.7
    assert far["close"] < 0.1
    unit = features(about("currency", "Thai baht", "Thailand"), 0.0)
    assert (unit["same"], unit["last_word"], unit["numeric"]) == (0.0, 1.0, 0.0)


def test_a_claim_without_facts_has_no_features() -> None:
    with pytest.raises(ValueError, match="unknown"):
        features(Evidence(reason="no country"), 0.0)


@pytest.mark.parametrize(
    ("relation", "said", "label"),
    [("capital", "La Paz", "refuted"), ("capital", "Sucre", "supported"), ("border", "Peru", "supported")],
)
def test_the_seed_verifier_judges_names(relation: Relation, said: str, label: str) -> None:
    verdict = judge(BOLIVIA, about(relation, said), {" yes": -1.0, " no": -1.5}, seeded())
    assert verdict.label == label
    assert 0.5 <= verdict.confidence <= 1.0
    assert tuple(verdict.features) == FEATURES


def test_without_facts_the_verdict_is_unknown_with_the_reason() -> None:
    verdict = judge(BOLIVIA, Evidence(reason="no country of that name"), {}, seeded())
    assert (verdict.label, verdict.confidence, verdict.features) == ("unknown", 0.0, {})
    assert summarise("?", [verdict]).text == "? Its capital is La Paz. (no country of that name)"


def test_an_island_borders_nobody() -> None:
    verdict = judge(BOLIVIA, about("border", "New Zealand", "Australia"), {}, seeded())
    assert verdict.label == "refuted"


def test_the_report_counts_and_corrects() -> None:
    verdicts = [judge(BOLIVIA, about("capital", said), {}, seeded()) for said in ("La Paz", "Sucre")]
    report = summarise("Tell me about Bolivia.", verdicts)
    assert (report.supported, report.refuted, report.unknown) == (1, 1, 0)
    assert report.text.splitlines() == ["✗ Its capital is La Paz. (capital: Sucre)", "✓ Its capital is La Paz."]
    assert "no whole sentence" in summarise("?", []).text


def test_the_seed_set_is_biased_and_more_examples_correct_it() -> None:
    assert {e.evidence.triple.relation for e in verifier.seed_examples() if e.evidence.triple} == {
        "capital",
        "continent",
    }
    judged = examples(held_out=True, count=300)
    first = {name: right / seen for name, right, seen in accuracy(seeded(), judged)}
    taught = verifier.Verifier("", verifier.fit(examples(held_out=False, count=300)))
    later = {name: right / seen for name, right, seen in accuracy(taught, judged)}
    assert first["population"] < 0.6
    assert later["population"] > 0.9
    assert first["all"] + 0.05 < later["all"]


def test_no_country_is_both_held_out_and_trained_on() -> None:
    held_out = {claim.country for claim in corpus.claims(1, held_out=True)}
    trained = {claim.country for claim in corpus.claims(1, held_out=False)}
    seed = [find_country(e.evidence.entity or "") for e in verifier.seed_examples()]
    assert not held_out & trained
    assert not held_out & {country.code for country in seed if country}
    assert len(held_out) > 40


def test_false_claims_are_false_by_the_tables() -> None:
    for claim in corpus.claims(2, held_out=True):
        facts = countries()[claim.country].facts[claim.relation]
        if claim.relation not in {"population", "currency"}:
            assert (claim.object in facts) == claim.true, claim


def test_a_saved_verifier_says_the_same_and_its_version_is_its_content(tmp_path: Path) -> None:
    estimator = verifier.fit(verifier.seed_examples())
    version = verifier.save(estimator, tmp_path / "new" / "verifier.skops")
    loaded = verifier.load(tmp_path / "new" / "verifier.skops")
    values = row(features(about("capital", "La Paz"), 1.0))
    assert loaded.version == version
    assert loaded.probability(values) == pytest.approx(verifier.Verifier("", estimator).probability(values))


def test_a_file_that_is_no_verifier_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "verifier.skops"
    path.write_bytes(b"not a model")
    with pytest.raises(ConfigError, match=r"factcheck\.train"):
        verifier.load(path)
    path.write_bytes(skops.io.dumps(LogisticRegression().fit([[0.0], [1.0]], [False, True])))
    with pytest.raises(ConfigError, match="other features"):
        verifier.load(path)


def test_it_is_made_on_first_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "verifier.skops"
    monkeypatch.setenv(verifier.PATH_VARIABLE, str(path))
    verifier.current.cache_clear()
    try:
        assert verifier.current().version == verifier.load(path).version
    finally:
        verifier.current.cache_clear()


def test_the_flow_checks_each_claim_apart_and_reports_once() -> None:
    plan = factcheck.plan
    assert {stage.name: stage.depth for stage in plan.stages} == {
        "draft": 0, "claims": 0, "triple": 1, "evidence": 1, "verify": 1, "verdict": 1, "report": 0,
    }  # fmt: skip
    assert plan["claims"].kind is StageKind.FORK
    assert plan["evidence"].key_depth == 1, "claims of one request must spread over instances"
    assert plan.answer == "report"


def test_claims_come_while_the_draft_is_still_being_written() -> None:
    class Growing(Stream[str]):
        read = 0

        async def __aiter__(self) -> AsyncIterator[str]:
            for piece in (" Bolivia is a country.", " Its capital", " is La Paz.", " It borders Peru."):
                self.read += 1
                yield piece

        def unordered(self) -> AsyncIterator[str]:
            return aiter(self)

    async def run() -> list[tuple[str, int]]:
        text = Growing()
        stage = claims.function(Question(text="Tell me about Bolivia."), text)
        return [(claim.text, text.read) async for claim in stage]

    assert asyncio.run(run()) == [
        ("Bolivia is a country.", 2),
        ("Bolivia's capital is La Paz.", 4),
        ("Bolivia borders Peru.", 4),
    ]
