"""What the demo knows of its requests: events of the client in, state and figures out. No clock, no screen."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

from examples.factcheck.models import Claim, Report, Verdict
from streams.client import Answer, Event, Item, Text, TextEnd


@dataclass(slots=True)
class Line:
    """One claim on the screen."""

    sentence: str
    verdict: Verdict | None = None


@dataclass(slots=True)
class Watched:
    """One request as its events have shown it so far. Times are seconds since it was submitted; None: not yet."""

    question: str
    streamed: bool
    """False: the same request with each stage waiting for the whole output of the one before."""
    lines: dict[int, Line] = field(default_factory=dict)
    """By the claim's index in the draft."""
    first_word_at: float | None = None
    first_claim_at: float | None = None
    first_verdict_at: float | None = None
    draft_ended_at: float | None = None
    answered_at: float | None = None
    report: Report | None = None
    error: str | None = None
    """Code and message of the typed error that answered it."""
    _run: object = None
    _pieces: dict[int, str] = field(default_factory=dict)

    def on(self, event: Event) -> None:
        match event:
            case Text(stage="draft"):
                self._write(event)
            case TextEnd(stage="draft"):
                if event.run == self._run or self._run is None:
                    self.draft_ended_at = event.at
            case Item(stage="claims", value=Claim() as claim):
                self.first_claim_at = _first(self.first_claim_at, event.at)
                self._line(event.path[-1], claim.sentence)
            case Item(stage="verdict", value=Verdict() as verdict):
                self.first_verdict_at = _first(self.first_verdict_at, event.at)
                self._line(event.path[-1], verdict.sentence).verdict = verdict
            case Answer():
                self._answer(event)
            case _:
                pass

    @property
    def draft(self) -> str:
        """What the model has written so far."""
        return "".join(self._pieces[at] for at in sorted(self._pieces)).strip()

    @property
    def unfinished(self) -> str:
        """The end of the draft that is no claim yet: it follows the last sentence that has become one."""
        rest = self.draft
        for index in sorted(self.lines):
            _, found, after = rest.partition(self.lines[index].sentence)
            rest = after if found else rest
        return rest.strip()

    @property
    def is_answered(self) -> bool:
        return self.answered_at is not None

    @property
    def checked_while_written(self) -> bool:
        """Whether a verdict was there before the draft had ended."""
        verdict, end = self.first_verdict_at, self.draft_ended_at
        return verdict is not None and end is not None and verdict < end

    def _write(self, event: Text) -> None:
        if event.run != self._run:
            if event.position and self._run is not None:
                return  # the rest of a text that has been given up
            # A draft that is written again, after a crash, is another text: nothing of the old one stays.
            self._run, self.draft_ended_at = event.run, None
            self._pieces.clear()
            self.lines.clear()
        self._pieces[event.position] = event.text
        self.first_word_at = _first(self.first_word_at, event.at)

    def _line(self, index: int, sentence: str) -> Line:
        line = self.lines.get(index)
        if line is None or line.sentence != sentence:
            line = self.lines[index] = Line(sentence)
        return line

    def _answer(self, event: Answer) -> None:
        self.answered_at = event.at
        if event.error is not None:
            self.error = f"[{event.error.code}] {event.error}"
        elif isinstance(event.value, Report):
            self.report = event.value
            self.lines = {i: Line(v.sentence, v) for i, v in enumerate(event.value.verdicts)}


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of `--json`. Counts and medians are of the streamed requests unless their name says otherwise."""

    requests: int
    answered: int
    errors: int
    """Requests of both kinds that were answered with an error, or not at all."""
    first_verdict_before_draft_end: int
    multi_claim: int
    """Answers with at least two claims: those in which a verdict can come early at all."""
    median_first_claim_s: float | None
    median_first_verdict_s: float | None
    median_answer_s: float | None
    median_first_verdict_s_without_streaming: float | None
    median_answer_s_without_streaming: float | None

    def as_json(self) -> dict[str, int | float | None]:
        return asdict(self)


def summarise_requests(requests: Sequence[Watched]) -> Summary:
    streamed = [r for r in requests if r.streamed]
    held = [r for r in requests if not r.streamed]
    return Summary(
        requests=len(streamed),
        answered=sum(r.report is not None for r in streamed),
        errors=sum(r.report is None for r in requests),
        first_verdict_before_draft_end=sum(r.checked_while_written for r in streamed),
        multi_claim=sum(len(r.report.verdicts) > 1 for r in streamed if r.report),
        median_first_claim_s=_median(r.first_claim_at for r in streamed),
        median_first_verdict_s=_median(r.first_verdict_at for r in streamed),
        median_answer_s=_median(r.answered_at for r in streamed if r.report),
        median_first_verdict_s_without_streaming=_median(r.first_verdict_at for r in held),
        median_answer_s_without_streaming=_median(r.answered_at for r in held if r.report),
    )


def pairs(requests: Iterable[Watched]) -> list[tuple[Watched, Watched | None]]:
    """Each streamed request beside the one with the same question that was not."""
    found = list(requests)
    held = {r.question: r for r in found if not r.streamed}
    return [(r, held.get(r.question)) for r in found if r.streamed]


def _first(known: float | None, at: float) -> float:
    return at if known is None else min(known, at)


def _median(times: Iterable[float | None]) -> float | None:
    known = [time for time in times if time is not None]
    return round(statistics.median(known), 3) if known else None
