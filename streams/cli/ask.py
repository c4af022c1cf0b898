"""`descant ask`: send one request and print its answer."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError

from streams.cli.options import AsJson, Bootstrap, kafka_or_fail, load_pipeline, messages
from streams.client import Answer, AnswerError, Client, Item, Text
from streams.errors import ConfigError
from streams.flow import Pipeline
from streams.settings import KafkaSettings


def command(
    pipeline: Annotated[str, typer.Argument(metavar="MODULE:PIPELINE", help="For example mine.flow:factcheck.")],
    request: Annotated[
        str, typer.Argument(metavar="REQUEST", help="The request as JSON, or its text if it has one field; - reads it.")
    ],
    request_id: Annotated[
        str | None, typer.Option("--id", help="The request's id: a repetition is answered once.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds until the request ends as a typed error.")] = 120.0,
    watch: Annotated[bool, typer.Option("--watch", help="Show what the stages write meanwhile, on stderr.")] = False,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Send one request to a running pipeline and print its answer.

    Examples: descant ask mine.flow:factcheck "Tell me about Bolivia." · echo '{"text": "..."}' | descant ask m:p -
    """
    found: Pipeline = load_pipeline(pipeline)
    value = _read(found, sys.stdin.read() if request == "-" else request)
    kafka = KafkaSettings(bootstrap=kafka_or_fail(bootstrap))
    answer = asyncio.run(_ask(found, kafka, value, request_id, timeout, watch=watch))
    text = TypeAdapter(found.plan.answer_type).dump_json(answer, indent=None if as_json else 2).decode()
    typer.echo(text)


def _read(pipeline: Pipeline, text: str) -> Any:
    adapter = TypeAdapter[Any](pipeline.plan.request_type)
    fields = getattr(pipeline.plan.request_type, "model_fields", {})
    try:
        if not text.lstrip().startswith(("{", "[", '"')) and len(fields) == 1:
            return adapter.validate_python({next(iter(fields)): text})
        return adapter.validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, problem["loc"])) or "value"
        raise ConfigError(
            f"the request does not fit {error.title}: {where}: {problem['msg']}.", code="config.request"
        ) from None


async def _ask(
    pipeline: Pipeline, kafka: KafkaSettings, value: Any, request_id: str | None, seconds: float, *, watch: bool
) -> Any:
    async with Client(pipeline, kafka, watch=watch) as client:
        handle = await client.submit(value, id=request_id, timeout_seconds=seconds)
        try:
            async with asyncio.timeout(seconds + 10):
                async for event in handle.events():
                    match event:
                        case Text(stage=stage, text=text, at=at):
                            messages.print(f"{at:7.3f} {stage}: {text!r}", markup=False)
                        case Item(stage=stage, path=path, value=item, at=at):
                            messages.print(f"{at:7.3f} {stage}{list(path)}: {item!r}", markup=False)
                        case Answer(error=AnswerError() as error):
                            raise error
                        case Answer(value=answer):
                            return answer
                        case _:
                            pass
        except TimeoutError:
            raise ConfigError(
                "no answer came, and not even the typed error of its deadline: is `descant run` running with "
                "ingress and closer? An id that was answered before gets no second answer.",
                code="client.no_answer",
            ) from None
