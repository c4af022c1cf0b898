"""What each model stage is asked, for Descant and for its peers alike: a template, what is shared, what is new."""

from __future__ import annotations

import os
from typing import Final

from benchmarks.headline.texts import first_words, planned, words
from benchmarks.headline.workload import Ask, ClaimPlan, Sizes

SIZES: Final = Sizes().scaled(float(os.environ.get("HEADLINE_SCALE", "1")))


def _template(stage: str, count: int) -> str:
    return words(f"template {stage}", count)


_DRAFT: Final = _template("draft", SIZES.draft_template)
_QUERY: Final = _template("query", SIZES.query_template)
_VERIFY: Final = _template("verify", SIZES.verify_template)
_REPORT: Final = _template("report", SIZES.report_template)


def draft_prompt(ask: Ask) -> str:
    return planned(_DRAFT + ask.document + ask.question, ask.draft_tokens)


def query_prompt(claim: str, plan: ClaimPlan) -> str:
    return planned(_QUERY + claim, plan.query_tokens)


def evidence(salt: str, index: int, plan: ClaimPlan) -> str:
    """What a search brings: made here, so that no index's speed enters the figures."""
    return words(f"evidence {salt} {index}", plan.evidence_tokens)


def verify_prompt(document: str, claim: str, found: str, plan: ClaimPlan) -> str:
    return planned(_VERIFY + document + claim + found, plan.verify_tokens)


def verdict_of(text: str) -> str:
    return first_words(text, SIZES.verdict)


def report_prompt(ask: Ask, verdicts: list[str]) -> str:
    return planned(_REPORT + ask.question + "".join(verdicts), ask.report_tokens)


def claim_text(written: str, ask: Ask, index: int, *, upto: int | None = None) -> str:
    """Claim `index` of a draft: the words from where the one before it ended to where it ends, or to word `upto`."""
    start = ask.claims[index - 1].ends_at if index else 0
    return "".join(f" {word}" for word in written.split()[start : upto or ask.claims[index].ends_at])


def prefetch_prompt(ask: Ask) -> str:
    """What all the claims' verifications begin with; of its text one token is wanted, since none cannot be had."""
    return planned(_VERIFY + ask.document, 1)
