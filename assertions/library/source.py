"""An answer against what it was made from: evidence, source, prompt. Each watches two stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from assertions.api import assertion
from assertions.core.definition import Assertion, On, targets
from assertions.core.registry import REGISTRY, Registry
from assertions.core.severity import Severity
from assertions.library import checks
from assertions.library.reading import reader


def uncited_evidence(
    on: tuple[On, On],
    *,
    evidence: Callable[[Any], str] | None = None,
    text: Callable[[Any], str] | None = None,
    name: str = "uncited_evidence",
    registry: Registry = REGISTRY,
    **options: Any,
) -> Assertion:
    """A quotation in the answer does not stand in its evidence. on: (evidence stage, answer stage)."""
    held, read = reader(evidence), reader(text)

    def judge(source: Any, value: Any) -> Severity:
        missing = checks.quoted_missing(read(value), held(source))
        return Severity(len(missing), f"quotes what the evidence does not say: {missing[0]!r}" if missing else "")

    return assertion(on, name=name, registry=registry, severity="quotations that are missing", **options)(judge)


def unsupported_numbers(
    on: tuple[On, On],
    *,
    source: Callable[[Any], str] | None = None,
    text: Callable[[Any], str] | None = None,
    name: str = "unsupported_numbers",
    registry: Registry = REGISTRY,
    **options: Any,
) -> Assertion:
    """A number in the answer is not in its source, nor one of it rounded. on: (source stage, answer stage).

    Weak where answers calculate: a sum or a year worked out is not in the source either.
    """
    held, read = reader(source), reader(text)

    def judge(given: Any, value: Any) -> Severity:
        missing = checks.unsupported(read(value), held(given))
        return Severity(
            len(missing), f"not in the source: {', '.join(f'{n:g}' for n in missing[:5])}" if missing else ""
        )

    return assertion(on, name=name, registry=registry, severity="numbers without support", **options)(judge)


def prompt_leakage(
    on: On | Sequence[On],
    *,
    prompt: str,
    shown: str = "",
    request: Callable[[Any], str] | None = None,
    text: Callable[[Any], str] | None = None,
    name: str = "prompt_leakage",
    early: bool = True,
    registry: Registry = REGISTRY,
    **options: Any,
) -> Assertion:
    """Eight words or more of the instructions stand in the answer. Judges a text while it is written.

    on       the answer's stage, or (request stage, answer stage): then what the request says does not count
    prompt   the instructions that nobody should see; not the request, and not what answers are made from or look like
    shown    what answers may repeat though `prompt` holds it: examples, facts, phrases that the instructions dictate

    Examples of a few-shot prompt are there to be copied, so a prompt of examples alone has nothing to leak.
    """
    asked, read = reader(request), reader(text)

    def judge(value: Any) -> Severity:
        return found(read(value), (shown,))

    def judge_answer(question: Any, value: Any) -> Severity:
        return found(read(value), (shown, asked(question)))

    def found(said: str, may_be_seen: Sequence[str]) -> Severity:
        passages = checks.leaked(said, prompt, may_be_seen)
        words = sum(len(passage.split()) for passage in passages)
        return Severity(words / checks.LEAKED_WORDS_MIN, f"repeats {words} words of its instructions" if words else "")

    declared = assertion(on, name=name, early=early, registry=registry, severity="words leaked / 8", **options)
    return declared(judge_answer if len(targets(on)) > 1 else judge)
