"""The process that turns standing flags into label requests, a batch at a time.

    assertions.flags → what may be labelled → the selector → learning.choices and learning.label-requests

A round's requests and what the selector knows are one transaction, so that a process that is killed leaves a whole
round or none; its successor reads flags, requests and labels again and goes on. One process a model works at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import structlog

from learning import gauges
from learning.choosing import Choosing, a_round, due
from learning.flagreader import FlagReader
from learning.gathering import Gathered
from learning.journal import CHOOSING
from learning.member import Member
from learning.records import CHOICES
from learning.training import Recipe
from learning.versions import current_of
from learning.view import View, topics
from streams.errors import BrokerError, ConfigError
from streams.runtime.topics import ensure_topics
from streams.settings import KafkaSettings

POLL_SECONDS: Final = 0.1
GAUGES_SECONDS: Final = 5.0

Watch = Callable[[str, int, int], None]
"""(model, round, how many label requests): for progress lines."""

log = structlog.get_logger(__name__)


class Chooser:
    """A member of the group `learning.choosing`. `run` returns when `stop` was called, or raises what it cannot
    survive."""

    def __init__(
        self, recipes: Sequence[Recipe], kafka: KafkaSettings, *, watch: Watch | None = None, group: str = CHOOSING
    ) -> None:
        """Raises ConfigError for a recipe that does not say how to choose."""
        self._choosing: Final = {recipe.name: _choosing(recipe) for recipe in recipes}
        ensure_topics(kafka, topics())
        self._recipes: Final = recipes
        self._watch: Final[Watch] = watch or (lambda model, number, count: None)
        self._view: Final = View(kafka)
        self._gathered: Final = {name: Gathered(name, how) for name, how in self._choosing.items()}
        self._flags: Final = FlagReader(kafka, max(c.history_seconds for c in self._choosing.values()))
        self._member: Final = Member(kafka, group, CHOICES, self._view, on_loss=lambda: None)
        self._shown = 0.0
        self._stopping = False

    def stop(self) -> None:
        self._stopping = True

    def run(self) -> None:
        self._member.join()
        try:
            while not self._stopping:
                self._member.poll(POLL_SECONDS)
                self._view.poll(0)
                for _, flag in self._flags.read():
                    for gathered in self._gathered.values():
                        gathered.take(flag, time.monotonic())
                if self._flags.is_caught_up:
                    self.advance()
                if time.monotonic() - self._shown >= GAUGES_SECONDS:
                    self._shown = time.monotonic()
                    gauges.show(self._view.learned, self._choosing)
        finally:
            self._member.close()
            self._flags.close()
            self._view.close()

    def advance(self) -> None:
        """One look at each owned model: choose a round where one is due."""
        for recipe in self._recipes:
            if self._member.may_decide(recipe.name):
                self._look(recipe)

    def _look(self, recipe: Recipe) -> None:
        learned, choosing, gathered = self._view.learned, self._choosing[recipe.name], self._gathered[recipe.name]
        for name in [name for name in gathered.examples if name in learned.labels.requests]:
            gathered.forget(name)
        before = learned.choices.get(recipe.name)
        quiet = None if gathered.newest_at is None else time.monotonic() - gathered.newest_at
        unlabelled = len(learned.labels.pending(recipe.name))
        if not due(choosing, unlabelled=unlabelled, points=len(gathered.examples), quiet_seconds=quiet):
            return
        current = current_of(learned.known(recipe.name))
        choice, batch = a_round(
            choosing, recipe.name, recipe.classes, gathered.examples.values(), learned.labels, before,
            None if current is None else current.version, datetime.now(UTC),
        )  # fmt: skip
        try:
            written = self._member.write(recipe.name, (choice, *batch))
        except BrokerError as error:
            log.warning("will try again", model=recipe.name, reason=str(error))
            return
        if written:
            gathered.settle()
            self._view.catch_up()
            self._watch(recipe.name, choice.round, len(batch))


def _choosing(recipe: Recipe) -> Choosing:
    if recipe.choosing is None:
        raise ConfigError(
            f"recipe {recipe.name!r} does not say how label requests are chosen. Give it `choosing=Choosing(...)`.",
            code="learning.recipe",
        )
    return recipe.choosing
