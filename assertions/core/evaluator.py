"""One assertion over its keys: which examples to judge, and how its flags change.

The result is a function of the *set* of observations that stood: each is judged on those before it in event time,
whatever order they came in, and judged again when one comes late, grows or is superseded. So the same flags stand
online, over a topic range, over a file and after a crash and replay, as long as nothing is later than `lateness`; what
is later is left out and counted.

The evaluator does not call the assertion: `due` says what to judge on what, `settle` takes the outcomes, so that the
caller owns time limits and threads.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from assertions.core.consistency import Step, WeakLabel, said
from assertions.core.definition import Assertion, Member, home
from assertions.core.flag import Flag, FlagState, make_flag
from assertions.core.health import Health
from assertions.core.severity import Abstained, Broken, BrokenError, Finding, Judged, Outcome
from assertions.core.timeline import Entry, Fresh, Timeline, ahead, reach
from assertions.core.window import HORIZON_SECONDS, KEY_ENTRIES_MAX


class Evaluator:
    """State is bounded by the windows: what is final and older than every window is dropped."""

    def __init__(
        self, assertion: Assertion, *, context_before: float = -math.inf, weak_label: WeakLabel | None = None
    ) -> None:
        """context_before: observations earlier than this were final before a restart: they fill windows and are
        not judged again (docs/decisions/assertion-recovery.md).
        weak_label: the rule's, kept to its time limit; it may raise BrokenError."""
        self.assertion = assertion
        proposes = None if weak_label is None else self._proposing(weak_label)
        self._rule = None if assertion.rule is None else replace(assertion.rule, weak_label=proposes)
        self.health = Health()
        self.watermark = -math.inf
        self._context_before = context_before
        self.has_windows = assertion.rule is not None or assertion.window is not None
        self._ahead = ahead(assertion)
        self._compares_only = assertion.rule is not None and not assertion.rule.transitions and assertion.per is None
        self._timelines: dict[str, Timeline] = {}
        self.entries: dict[str, dict[str, Entry]] = {}
        """Observation → key → what is kept of it there. What ends is of interest only where it is here."""
        self._agreed: dict[str, dict[str, str]] = {}
        """Of a rule about attributes alone: identifier → what all its outputs that are kept say. While they agree there
        is nothing to find, and the rule need not look at all of them again. Absent: they do not."""
        self._due: list[Entry] = []
        self._touched: dict[str, list[Entry]] = {}
        self._stale: set[str] = set()
        self._wake: list[tuple[float, str]] = []
        self._asleep: dict[str, float] = {}
        self._changes: list[Flag] = []

    # ---- events in

    def see(self, member: Member, keys: Sequence[str], stands: bool = False) -> None:
        """Take an observation; `keys` are the windows that it belongs to (`Assertion.keys`)."""
        observation = member.observation
        known = self.entries.get(observation.id)
        if known:
            for key in dict.fromkeys([*known, *keys]):
                self._place(key, member, stands, known.get(key))
        elif self.has_windows and observation.time < self.watermark:
            self.health.late += 1
        else:
            for key in keys:
                self._place(key, member, stands, None)

    def supersede(self, observation_id: str) -> None:
        """It never happened."""
        for entry in list(self.entries.get(observation_id, {}).values()):
            if not entry.is_final:
                self._remove(entry)
                self._forget(entry)
                for rule in list(entry.published):
                    self._publish(entry, rule, FlagState.WITHDRAWN)

    def close(self, observation_id: str) -> None:
        """It stands."""
        for entry in self.entries.get(observation_id, {}).values():
            entry.stands = True
            self._touch(entry)

    def advance(self, watermark: float) -> None:
        """Nothing earlier is expected any more; what comes nevertheless is late."""
        self.watermark = max(self.watermark, watermark)

    def _place(self, key: str, member: Member, stands: bool, old: Entry | None) -> None:
        observation = member.observation
        if old is not None and (old.is_final or old.observation == observation):
            old.stands = old.stands or stands
            self._touch(old)
            return
        fresh = Entry(member, stands, key)
        if old is not None:
            fresh.published, fresh.findings, fresh.stands = old.published, old.findings, stands or old.stands
            self._remove(old)
        fresh.is_context = self.has_windows and observation.time < self._context_before
        line, at = self._keep(fresh)
        self._judge_again([*line.after(at, self.assertion), fresh])
        self._touch(fresh)
        if len(line.entries) > KEY_ENTRIES_MAX:
            self._evict(line)

    def _keep(self, entry: Entry) -> tuple[Timeline, int]:
        line = self._timelines.get(entry.key)
        if line is None:
            line = self._timelines[entry.key] = Timeline()
        self.entries.setdefault(entry.observation.id, {})[entry.key] = entry
        return line, line.insert(entry)

    def _evict(self, line: Timeline) -> None:
        dropped = line.remove_first()
        self.health.evicted += 1
        self._forget(dropped)
        for rule in () if dropped.is_final else tuple(dropped.published):
            self._publish(dropped, rule, FlagState.WITHDRAWN)

    def _remove(self, entry: Entry) -> None:
        line = self._timelines[entry.key]
        self._judge_again(line.after(line.find(entry), self.assertion))
        line.remove(entry)
        entry.is_due = False
        self._stale.add(entry.key)
        if entry.is_touched:
            self._touched[entry.key].remove(entry)

    def _judge_again(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if not entry.is_due and (not entry.is_context or self.assertion.rule is not None):
                entry.is_due = True
                self._due.append(entry)

    def _touch(self, entry: Entry) -> None:
        if not entry.is_touched:
            entry.is_touched = True
            self._touched.setdefault(entry.key, []).append(entry)

    def _forget(self, entry: Entry) -> None:
        there = self.entries.get(entry.observation.id)
        if there is not None and there.get(entry.key) is entry:
            del there[entry.key]
            if not there:
                del self.entries[entry.observation.id]

    # ---- judging

    def due(self) -> list[Entry]:
        """What to judge now; it is to be settled before anything else is taken."""
        due, self._due = [entry for entry in self._due if entry.is_due], []
        if self.assertion.takes_window:
            for entry in due:
                entry.before = self._timelines[entry.key].before(entry, self.assertion)
        return due

    def settle(self, judged: Sequence[Entry], outcomes: Sequence[Outcome | Step]) -> None:
        """What came of what was due."""
        self.health.count(_counted(outcomes))
        for entry, outcome in zip(judged, outcomes, strict=True):
            entry.is_due = False
            self._touch(entry)
            if isinstance(outcome, Step):
                entry.step = outcome
                if not self._agrees(entry.key, outcome):
                    self._stale.add(entry.key)
                continue
            found = outcome.findings if isinstance(outcome, Judged) else ()
            # A fault says nothing about the example: a flag that an earlier look raised stays as it is.
            if (found or entry.findings) and not isinstance(outcome, Broken):
                entry.findings = _by_rule(found)
            if entry.findings:
                entry.window = tuple([member.observation.id for member in entry.before])
            entry.before = ()

    def settle_fresh(self, judged: Sequence[Fresh], outcomes: Sequence[Outcome | Step]) -> None:
        """What came of observations that were judged before anything was kept of them."""
        self.health.count(_counted(outcomes))
        for fresh, outcome in zip(judged, outcomes, strict=True):
            if isinstance(outcome, Judged) and outcome.findings:
                entry = Entry(fresh.member, fresh.stands, home(fresh.member.observation))
                entry.findings = _by_rule(outcome.findings)
                line, _ = self._keep(entry)
                self._touch(entry)
                if len(line.entries) > KEY_ENTRIES_MAX:
                    self._evict(line)

    def _agrees(self, key: str, step: Step) -> bool:
        """Whether a new step says nothing that the others of its identifier do not say."""
        if not self._compares_only:
            return False
        line = self._timelines.get(key)
        if line is not None and len(line.entries) == 1:
            self._agreed[key] = {}
        known = self._agreed.get(key)
        if known is None:
            return False
        if all(known.setdefault(name, value) == value for name, value in said(step, key)):
            return True
        del self._agreed[key]
        return False

    # ---- flags out

    def changes(self) -> list[Flag]:
        """Flags that are new, changed, withdrawn or now standing since the last call, in a deterministic order."""
        touched, self._touched = self._touched, {}
        stale, self._stale = self._stale, set()
        while self._wake and self._wake[0][0] < self.watermark:
            time, key = heapq.heappop(self._wake)
            if self._asleep.get(key) == time:
                del self._asleep[key]
            touched.setdefault(key, [])
        for key in sorted(touched.keys() | stale):
            line = self._timelines.get(key)
            if line is None:
                continue
            entries = touched.get(key, [])
            for entry in entries:
                entry.is_touched = False
            if key in stale:
                self._apply_rule(key, line, entries)
            self._finish(key, line, entries)
        changed, self._changes = self._changes, []
        return changed

    def _apply_rule(self, key: str, line: Timeline, touched: list[Entry]) -> None:
        """Compare all steps of the key; those whose findings change are touched."""
        rule = self._rule
        if rule is None:
            return
        known = [(e, e.step) for e in line.entries if e.step is not None and e.observation.is_complete]
        found = rule.findings([step for _, step in known], key if self.assertion.per is None else None)
        if self._compares_only and not any(found):
            told: dict[str, str] = {}
            # Not so where values differ that are only too far apart in time: another may come between them.
            if all(told.setdefault(n, value) == value for _, step in known for n, value in said(step, key)):
                self._agreed[key] = told
        for (entry, _), findings in zip(known, found, strict=True):
            now = _by_rule(findings)
            if not entry.is_final and not entry.is_context and now != entry.findings:
                entry.findings = now
                touched.append(entry)

    def _proposing(self, weak_label: WeakLabel) -> WeakLabel:
        """What is missing is missing, also where nothing can be proposed for it."""

        def propose(before: Any, after: Any, time: float) -> Any:
            try:
                return weak_label(before, after, time)
            except BrokenError as error:
                self.health.count([error.broken])
                return None

        return propose

    def _finish(self, key: str, line: Timeline, touched: list[Entry]) -> None:
        if self.has_windows:
            finished, look_again = line.finish(self.watermark, self._ahead)
        else:
            finished = [entry for entry in touched if entry.stands and not entry.is_final]
            look_again = math.inf
            for entry in finished:
                line.remove(entry)
                entry.is_final = True
                self._forget(entry)
        telling = {id(entry): entry for entry in [*touched, *finished] if entry.findings or entry.published}
        if telling:  # of most there is nothing to tell
            final_now = {id(entry) for entry in finished}
            for identity, entry in telling.items():
                if not entry.is_final or identity in final_now:
                    self._refresh(entry)
        for entry in line.prune(self.watermark, self.assertion) if self.has_windows else ():
            self._forget(entry)
        if not line.entries:
            del self._timelines[key]
            self._agreed.pop(key, None)
            return
        if self.has_windows and line.finals == len(line.entries):
            look_again = line.entries[0].time + max(reach(self.assertion), HORIZON_SECONDS)
        if look_again < self._asleep.get(key, math.inf):
            self._asleep[key] = look_again
            heapq.heappush(self._wake, (look_again, key))

    def _refresh(self, entry: Entry) -> None:
        for rule in [r for r in entry.published if r not in entry.findings]:
            if entry.published[rule].state is not FlagState.WITHDRAWN:
                self._publish(entry, rule, FlagState.WITHDRAWN)
        state = FlagState.STANDING if entry.is_final else FlagState.PROVISIONAL
        for rule, finding in entry.findings.items():
            there = entry.published.get(rule)
            if (
                there is None
                or there.state is not state
                or there.severity != finding.severity
                or there.data.example_is_complete != entry.observation.is_complete
            ):
                self._publish(entry, rule, state)

    def _publish(self, entry: Entry, rule: str, state: FlagState) -> None:
        there = entry.published.get(rule)
        if state is FlagState.WITHDRAWN:
            if there is None or there.state is FlagState.WITHDRAWN:
                return
            detail = there.data.model_copy(update={"state": state, "revision": there.data.revision + 1})
            flag = there.model_copy(update={"data": detail})
        else:
            finding = entry.findings[rule]
            if there is None and self.assertion.rule is not None:
                self.health.fired += 1
                self.health.severities.extend([finding.severity])
            flag = make_flag(
                self.assertion,
                entry.observation,
                finding,
                state=state,
                revision=1 if there is None else there.data.revision + 1,
                window=entry.window,
            )
        entry.published = {**entry.published, rule: flag}
        self._changes.append(flag)

    # ---- what a restart needs

    @property
    def frontier(self) -> float:
        """Everything earlier than this is final: a restarted evaluator takes it as `context_before`."""
        first = min(
            (line.entries[line.finals].time for line in self._timelines.values() if line.finals < len(line.entries)),
            default=math.inf,
        )
        return min(first, self.watermark) if self.has_windows else -math.inf

    @property
    def needed_from(self) -> float:
        """Observations earlier than this need not be read again."""
        return self.frontier - max(reach(self.assertion), HORIZON_SECONDS if self._looks_back_a_step else 0.0)

    @property
    def _looks_back_a_step(self) -> bool:
        return self.assertion.rule is not None and bool(self.assertion.rule.transitions)


def _counted(outcomes: Sequence[Outcome | Step]) -> list[Outcome]:
    """A rule has looked where there was something to compare."""
    return [
        outcome if not isinstance(outcome, Step) else Judged() if outcome.outputs else Abstained()
        for outcome in outcomes
    ]


def _by_rule(findings: Sequence[Finding]) -> dict[str, Finding]:
    return {finding.rule: finding for finding in findings}
