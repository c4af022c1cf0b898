"""`descant retrain`: ask for a retraining."""

from __future__ import annotations

from learning import desk
from learning.cli.shared import kafka_of
from streams.cli.options import AsJson, Bootstrap, messages, print_json


def command(model: str, bootstrap: Bootstrap = None, as_json: AsJson = False) -> None:
    """Ask the retraining job to train a model now.

    Example: descant retrain verifier
    """
    record = desk.retrain(kafka_of(bootstrap), model)
    if as_json:
        print_json(record.model_dump(mode="json"))
    else:
        messages.print(f"asked for {model}; `descant learn jobs` shows what comes of it")
