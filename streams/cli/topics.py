"""`descant topics`: create a pipeline's topics, or look at them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from streams.cli.options import AsJson, Bootstrap, kafka_or_fail, load_pipeline, print_json
from streams.runtime.topic_states import TopicState, topic_states
from streams.runtime.topics import ensure_topics, state_topic, topics_of
from streams.settings import KafkaSettings, PipelineSettings


def command(
    pipeline: Annotated[str, typer.Argument(metavar="MODULE:PIPELINE", help="For example mine.flow:factcheck.")],
    check: Annotated[
        bool, typer.Option("--check", help="Create nothing; end with status 1 if a topic is missing or differs.")
    ] = False,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Create the topics that a pipeline needs and does not have yet, and show all of them.

    Safe to repeat. A topic with another partition count is an error; another retention is only said.

    Examples: descant topics mine.flow:factcheck · descant topics mine.flow:factcheck --check --json
    """
    kafka = KafkaSettings(bootstrap=kafka_or_fail(bootstrap))
    settings = PipelineSettings()
    of_workers = state_topic(settings)
    wanted = topics_of(load_pipeline(pipeline).plan, settings) | {of_workers.topic: of_workers}
    states = topic_states(kafka, wanted)
    created: set[str] = set()
    if not check:
        missing = {state.name for state in states if not state.partitions}
        ensure_topics(kafka, wanted.values())
        states = topic_states(kafka, wanted)
        created = {state.name for state in states if state.partitions and state.name in missing}
    if as_json:
        print_json({"topics": [asdict(state) | {"created": state.name in created} for state in states]})
    else:
        _show(states, created)
    if check and any(state.problem for state in states):
        raise typer.Exit(1)


def _show(states: list[TopicState], created: set[str]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("topic", overflow="fold")
    table.add_column("partitions", justify="right")
    table.add_column("")
    for state in states:
        remark = state.problem or ("created" if state.name in created else "")
        table.add_row(state.name, str(state.partitions), remark)
    Console(highlight=False).print(table)
