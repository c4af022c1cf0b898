"""A choosing process for tests: one small model, and a place where it kills itself."""

from __future__ import annotations

import argparse
import os
import signal
import sys

import confluent_kafka

from learning.choosing import Choosing
from learning.training import Recipe
from streams.settings import KafkaSettings
from tests.integration.learning.retrainer import CLASSES, features, of_flag, recipe

BUDGET = 8


def choosing_recipe(model: str, *, quiet_seconds: float = 3_600.0) -> Recipe:
    made = recipe(model)
    how = Choosing(
        lambda flag: of_flag(model, flag), features=features, budget=BUDGET, points_min=20, quiet_seconds=quiet_seconds
    )
    return Recipe(model, CLASSES, made.trainer, choosing=how)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--group", required=True)
    parser.add_argument("--quiet-seconds", type=float, default=3_600.0)
    parser.add_argument("--die", choices=("begun", "uncommitted", "committed"))
    options = parser.parse_args()

    class Dying(confluent_kafka.Producer):
        """Dies before, in, or right after the transaction of a round."""

        def begin_transaction(self) -> None:
            if options.die == "begun":
                die()
            super().begin_transaction()

        def commit_transaction(self, *arguments: float) -> None:
            if options.die == "uncommitted":
                self.flush(10)
                die()
            super().commit_transaction(*arguments)
            if options.die == "committed":
                die()

    from learning import journal

    vars(journal)["Producer"] = Dying
    from learning.chooser import Chooser

    chooser = Chooser(
        [choosing_recipe(options.model, quiet_seconds=options.quiet_seconds)],
        KafkaSettings(bootstrap=options.bootstrap), group=options.group,
    )  # fmt: skip
    signal.signal(signal.SIGTERM, lambda *_: chooser.stop())
    chooser.run()


if __name__ == "__main__":
    main()
    sys.exit(0)
