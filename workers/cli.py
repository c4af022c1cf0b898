"""`descant worker`: serve a model."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from streams.cli.options import AsJson, Bootstrap, HealthFile, Logs, Metrics, kafka_or_fail, messages
from streams.cli.service import run_until_stopped
from streams.errors import ConfigError
from streams.settings import KafkaSettings
from workers.engines.default_model import MODEL_NAME, MODEL_NOTICE
from workers.engines.registry import create_engine
from workers.service.worker import Worker


def command(
    engine: Annotated[str, typer.Option(help="llamacpp, openai, vllm, or one that a plugin registers.")] = "llamacpp",
    model: Annotated[str | None, typer.Option(help="The name under which prompts ask for it.")] = None,
    option: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting of the engine; may be repeated.")
    ] = None,
    bootstrap: Bootstrap = None,
    health_file: HealthFile = None,
    metrics: Metrics = None,
    log_format: Logs = None,
    as_json: AsJson = False,
) -> None:
    """Serve a model: own lanes of its prompts and write their texts, until Ctrl-C or SIGTERM.

    Examples: descant worker · descant worker --engine openai --set base_url=http://localhost:8000/v1 --model writer
    """
    settings: dict[str, Any] = dict(_setting(text) for text in option or ())
    if model is not None:
        settings["served_name" if engine == "openai" else "model"] = model
    made = create_engine(engine, settings)
    if made.model == MODEL_NAME:
        messages.print(MODEL_NOTICE)
    worker = Worker(made, KafkaSettings(bootstrap=kafka_or_fail(bootstrap)))
    ready = {"engine": engine, "model": made.model}
    run_until_stopped(
        worker,
        ready,
        as_json=as_json,
        health_file=health_file,
        metrics=metrics,
        log_format=log_format,
        service=f"models.{made.model}",
    )


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ConfigError(f"--set {text!r} is not NAME=VALUE.", code="config.set")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
