"""`descant demo`: a language model's answers, checked claim by claim while it writes them, over a real Kafka.

Starts what it needs as child processes (Kafka unless one is named, each stage, model workers, assertions), asks its
questions twice, with and without streaming between the stages, and compares. Nothing is left running.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from examples.factcheck.alerted import Raised, alert_line, follow
from examples.factcheck.display import Display, display_for, show_result
from examples.factcheck.models import Question
from examples.factcheck.processes import (
    Processes,
    assertions_command,
    stage_commands,
    unless_a_child_ends,
    worker_command,
)
from examples.factcheck.server import check_server
from examples.factcheck.view import Watched, summarise_requests
from streams.broker import EmbeddedKafka, bootstrap_servers
from streams.cli.options import AsJson, Bootstrap, print_json
from streams.client import Client
from streams.runtime.process import roles_of
from streams.settings import KafkaSettings
from workers.engines.default_model import MODEL_NAME, MODEL_NOTICE

PIPELINE: Final = "examples.factcheck.pipeline:factcheck"
ASSERTIONS: Final = "examples.factcheck.assertions"
COUNTRIES: Final = (
    "Bolivia", "Australia", "Japan", "Egypt", "Norway", "Nigeria", "Canada", "Kazakhstan", "India", "Mexico",
    "Ethiopia", "Vietnam", "Poland", "Peru", "Ghana", "Cuba", "Thailand", "Morocco", "Finland", "Nepal",
    "Chile", "Turkey", "Iran", "Angola", "Ireland", "Mongolia", "Uganda", "Malaysia", "Greece", "Colombia",
)  # fmt: skip
# An engine computes on one thread: two workers use both cores of a small machine, and while one writes the draft the
# other checks its claims.
WORKERS: Final = 2
# Not among the questions. It makes the worker compute the prompts' shared beginnings and the stages load what they
# load on first use, which would otherwise be the first question's time alone.
WARM_UP: Final = "Tell me about Portugal."
# The same countries once more: a small model often says something else when it is asked in other words.
AGAIN: Final = "What do you know about {}?"
AGAIN_MAX: Final = 3
# From a verdict to its alert; the last one may be under way when the last answer comes.
ALERT_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Options:
    questions: int
    concurrency: int
    engine: str
    model: str
    workers: int
    worker_python: Path | None
    assertions: bool


def command(
    questions: Annotated[int, typer.Option(min=1, max=len(COUNTRIES), help="How many questions to ask.")] = 12,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Questions under way at once.")] = 1,
    engine: Annotated[str, typer.Option(help="llamacpp, vllm, or openai (at DESCANT_OPENAI_BASE_URL).")] = "llamacpp",
    model: Annotated[str, typer.Option(help="The name of the model that the engine serves.")] = MODEL_NAME,
    workers: Annotated[int, typer.Option(min=1, max=16, help="Model workers, each with its own engine.")] = WORKERS,
    worker_python: Annotated[
        Path | None,
        typer.Option(help="The Python that workers run under; for vllm that of .venv-vllm by itself."),
    ] = None,
    assertions: Annotated[
        bool, typer.Option(help="Judge the streams as well, and ask some questions again in other words.")
    ] = True,
    learn: Annotated[
        bool, typer.Option("--learn", help="Instead: a verifier that knows little learns from what is flagged.")
    ] = False,
    rounds: Annotated[int, typer.Option(min=1, max=8, help="Of --learn: labels, a retraining, its gate.")] = 3,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Watch a language model's answers being fact-checked while it writes them, over a real Kafka.

    Examples: descant demo · descant demo --questions 3 --engine openai
    """
    options = Options(questions, concurrency, engine, model, workers, worker_python, assertions)
    display = display_for(as_json=as_json)
    if model == MODEL_NAME:
        display.console.print(f"{MODEL_NOTICE}\n", markup=False, soft_wrap=True)
    if engine == "openai":
        with display.waiting("asking the OpenAI-compatible server for a token"):
            asyncio.run(check_server(model))
    # Read by the pipeline's module, here and in the children.
    os.environ["FACTCHECK_MODEL"] = model
    with _terminated_like_interrupted(), _kafka(display, bootstrap) as servers:
        if learn:
            _learn(display, servers, options, rounds, as_json=as_json)
            return
        raised = Raised()
        requests = asyncio.run(_run(display, servers, options, raised))
    summary = summarise_requests(requests)
    show_result(display.console, requests, summary)
    if options.assertions:
        display.console.print(raised.summary(), soft_wrap=True)
    if as_json:
        print_json(summary.as_json() | {"alerts": raised.counts()})
    if summary.errors:
        raise typer.Exit(1)


def _learn(display: Display, servers: str, options: Options, rounds: int, *, as_json: bool) -> None:
    from examples.factcheck.learn import learn  # noqa: PLC0415 (scikit-learn takes seconds)
    from examples.factcheck.learn_result import as_document, show_course  # noqa: PLC0415

    worker = worker_command(options.engine, options.model, servers, options.worker_python)
    course = asyncio.run(learn(display, servers, pipeline=PIPELINE, workers=[worker] * options.workers, rounds=rounds))
    show_course(display.console, course)
    if as_json:
        print_json(as_document(course))


@contextmanager
def _kafka(display: Display, bootstrap: str | None) -> Iterator[str]:
    """The cluster that was named, else one of our own for as long as the demo runs."""
    if named := bootstrap_servers(bootstrap):
        yield named
        return
    with display.waiting("starting Apache Kafka") as say:
        kafka = EmbeddedKafka(on_progress=say)
        kafka.__enter__()
    try:
        yield kafka.bootstrap
    finally:
        kafka.close()


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM and SIGHUP end the demo as Ctrl-C does: everything that it started is stopped first."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: os.kill(os.getpid(), signal.SIGINT)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def _run(display: Display, servers: str, options: Options, raised: Raised) -> list[Watched]:
    from examples.factcheck.pipeline import factcheck  # noqa: PLC0415 (it reads the model's name when it is imported)

    commands = stage_commands(PIPELINE, roles_of(factcheck.plan), servers)
    if options.assertions:
        commands.append(assertions_command(ASSERTIONS, servers))
    workers = [worker_command(options.engine, options.model, servers, options.worker_python)] * options.workers
    names = COUNTRIES[: options.questions]
    asked = [f"Tell me about {name}." for name in names]
    requests: list[Watched] = []
    async with Processes() as children:
        count = len(commands) + len(workers)
        with display.waiting(f"starting {count} processes: ingress, closer, each stage, model workers") as say:
            await children.start([*workers, *commands], lambda name, done, of: say(f"{name} is ready ({done} of {of})"))

        async def ask() -> None:
            async with Client(factcheck, KafkaSettings(bootstrap=servers), watch=True) as client:
                with display.waiting("warming up with one question that is not counted"):
                    await _ask(client, Watched(WARM_UP, streamed=True), lambda _: None)
                async with _alerts(options, servers, raised, display):
                    requests.extend(await _round(client, display, asked, options.concurrency))
                    if options.assertions:
                        again = [AGAIN.format(name) for name in names[:AGAIN_MAX]]
                        with display.waiting("asking about some of them again, in other words"):
                            for question in again:
                                await _ask(client, Watched(question, streamed=True), lambda _: None)
                            await asyncio.sleep(ALERT_SECONDS)

        await unless_a_child_ends(ask(), children)
    return requests


@asynccontextmanager
async def _alerts(options: Options, servers: str, raised: Raised, display: Display) -> AsyncIterator[None]:
    """Follows the alerts around a round of questions, where there are any."""
    if not options.assertions:
        yield
        return
    following = asyncio.create_task(follow(servers, raised, lambda flag: display.alert(alert_line(flag))))
    try:
        yield
    finally:
        following.cancel()
        await asyncio.wait({following})
    if not following.cancelled():
        following.result()


async def _round(client: Client, display: Display, questions: Sequence[str], concurrency: int) -> list[Watched]:
    """Ask each of them both ways, so many at once, in order; returns when each has its answers.

    The two ways take turns at going first, question by question: whatever else the machine does meanwhile, and
    whatever the model's cache has kept, falls on both alike.
    """
    free = asyncio.Semaphore(concurrency)
    requests: list[Watched] = []

    async def one(number: int, question: str, answered: Callable[[Watched], None]) -> None:
        async with free:
            for streamed in (True, False) if number % 2 == 0 else (False, True):
                request = Watched(question, streamed)
                requests.append(request)
                await _ask(client, request, answered)

    title = "Streaming between the stages, and each question without it as well"
    async with display.running(title, requests, 2 * len(questions)) as answered:
        await asyncio.gather(*(one(number, question, answered) for number, question in enumerate(questions)))
    return requests


async def _ask(client: Client, request: Watched, answered: Callable[[Watched], None]) -> None:
    handle = await client.submit(Question(text=request.question), stream=request.streamed)
    async for event in handle.events():
        request.on(event)
    answered(request)
