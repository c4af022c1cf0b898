"""Tests the composition against the promises that its page makes; uses one that is up, else brings one up.

1. `up`, and a plain Kafka client on the host gets an answer to a produced record: within 3 minutes.
2. Every service calls itself healthy.
3. `docker compose kill` of a stage, and of the worker, with requests under way; started again, all are answered.
4. A process that dies by itself comes back by its restart policy, and requests are answered.
5. The assertions raise a flag on what was answered; the model is wrong in nearly every draft.
6. Each request has exactly one answer.

The last line of `--json` is one JSON object; status 1 if a step failed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from tests.compose.client import NoAnswerError, PlainClient
from tests.compose.composition import BUILD_SECONDS_MAX, Composition, CompositionError

FIRST_ANSWER_SECONDS_MAX: Final = 180.0
ANSWER_SECONDS_MAX: Final = 240.0
"""Of later requests: below the pipeline's own deadline, after which a typed error would come."""
SERVICE_SECONDS_MAX: Final = 120.0

QUESTIONS: Final = ("Bolivia", "Portugal", "Japan", "Kenya", "Canada", "Norway", "Peru", "Vietnam")


class Steps:
    """Prints what is done, with its time, and keeps the figures."""

    def __init__(self, out: Any) -> None:
        self.figures: Final[dict[str, Any]] = {}
        self._out: Final = out
        self._began: Final = time.monotonic()
        self._questions = 0

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:7.1f} s  {text}", file=self._out, flush=True)

    def question(self) -> str:
        self._questions += 1
        return f"Tell me about {QUESTIONS[self._questions % len(QUESTIONS)]}."


def first_answer(steps: Steps, composition: Composition, client: PlainClient, *, build: bool, was_up: bool) -> None:
    """Bring the composition up if it is not, and ask at once."""
    if not was_up:
        if build:
            began = time.monotonic()
            composition.run("build", "--quiet", limit_seconds=BUILD_SECONDS_MAX)
            steps.figures["build_s"] = round(time.monotonic() - began, 1)
            steps.say("docker compose build: done")
        began = time.monotonic()
        composition.run("up", "--detach", limit_seconds=FIRST_ANSWER_SECONDS_MAX)
        steps.say("docker compose up --detach: done")
    else:
        began = time.monotonic()
        steps.say(f"a composition is up: {' '.join(composition.running())}")
    client.connect(SERVICE_SECONDS_MAX)
    ask(steps, client, 1)
    took = time.monotonic() - began
    steps.figures["first_answer_after_up_s" if not was_up else "first_answer_s"] = round(took, 1)
    if not was_up and took > FIRST_ANSWER_SECONDS_MAX:
        raise NoAnswerError(f"the first answer came {took:.0f} s after up; {FIRST_ANSWER_SECONDS_MAX:.0f} is promised")
    steps.say(f"every service is healthy after {composition.until_healthy(SERVICE_SECONDS_MAX):.0f} s more")


def ask(steps: Steps, client: PlainClient, count: int) -> None:
    await_all(steps, client, [client.ask(steps.question()) for _ in range(count)])


def await_all(steps: Steps, client: PlainClient, asked: list[str]) -> None:
    for request_id in asked:
        answer = client.answer_to(request_id, ANSWER_SECONDS_MAX)
        if answer.problem is not None:
            raise NoAnswerError(f"{request_id} was answered with {answer.problem}")
        value = answer.value
        verdicts = f"{value['supported']} supported, {value['refuted']} refuted, {value['unknown']} unknown"
        steps.say(f"answer after {answer.seconds:.1f} s: {value['question']!r}: {verdicts}")
        steps.figures["answers"] = steps.figures.get("answers", 0) + 1


def kill(steps: Steps, composition: Composition, client: PlainClient, service: str, seen_in: str) -> None:
    """Kill a service while it works on a request, ask more, start it again: all must be answered."""
    under_way = client.ask(steps.question())
    client.until_seen(seen_in, under_way, ANSWER_SECONDS_MAX)
    composition.run("kill", service)
    steps.say(f"docker compose kill {service}, with a request under way")
    asked = [under_way, *(client.ask(steps.question()) for _ in range(2))]
    composition.run("up", "--detach", "--no-deps", service)
    began = time.monotonic()
    steps.say(f"docker compose up --detach --no-deps {service}")
    await_all(steps, client, asked)
    steps.figures[f"answers_after_kill_of_{service}_s"] = round(time.monotonic() - began, 1)


def crash(steps: Steps, composition: Composition, client: PlainClient, service: str) -> None:
    """End the process inside a container; the engine must start it again."""
    before = restarts(composition, service)
    try:
        composition.run("exec", "-T", service, "sh", "-c", "kill -9 -1")
    except CompositionError:
        steps.say(f"the process of {service} killed itself")  # and the shell that was asked to do it with it
    began = time.monotonic()
    asked = [client.ask(steps.question())]
    while restarts(composition, service) == before:
        if time.monotonic() - began > SERVICE_SECONDS_MAX:
            raise CompositionError(f"{service} was not restarted within {SERVICE_SECONDS_MAX:.0f} s")
        time.sleep(0.5)
    composition.until_running(service, SERVICE_SECONDS_MAX)
    steps.say(f"{service} was started again by its restart policy")
    await_all(steps, client, asked)


def restarts(composition: Composition, service: str) -> str:
    container = composition.run("ps", "--quiet", service).split()
    return composition.inspect(container[0], "{{.RestartCount}} {{.State.StartedAt}}") if container else ""


def alert(steps: Steps, client: PlainClient) -> None:
    """What the assertions, a service of their own, found wrong with an answer."""
    asked = [client.ask(steps.question()) for _ in range(2)]
    await_all(steps, client, asked)
    began = time.monotonic()
    flag = client.until_flagged(asked, SERVICE_SECONDS_MAX)
    steps.figures["alert_after_answer_s"] = round(time.monotonic() - began, 1)
    steps.say(f"alert: {flag['data']['assertion']['name']}, severity {flag['data']['severity']:.2g}, {flag['subject']}")


def one_answer_each(steps: Steps, client: PlainClient) -> None:
    client.read_rest()
    twice = [request_id for request_id, count in client.counts.items() if count > 1]
    if twice:
        raise NoAnswerError(f"answered more than once: {', '.join(twice)}")
    steps.say(f"each of {steps.figures['answers']} requests has exactly one answer")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="make compose-test", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the last line of output is one JSON object")
    parser.add_argument("--no-build", action="store_true", help="use the images that are there")
    parser.add_argument("--keep", action="store_true", help="leave a composition up that was brought up by this test")
    given = parser.parse_args()

    steps = Steps(sys.stderr if given.json else sys.stdout)
    composition = Composition()
    client = PlainClient(f"localhost:{os.environ.get('KAFKA_HOST_PORT', '9092')}")
    was_up = True
    todo: list[tuple[str, Callable[[], object]]] = [
        ("kill of a stage", lambda: kill(steps, composition, client, "claims", "factcheck.draft")),
        ("kill of the worker", lambda: kill(steps, composition, client, "worker", "factcheck.draft")),
        ("crash of a stage", lambda: crash(steps, composition, client, "verdict")),
        ("alert", lambda: alert(steps, client)),
        ("one answer each", lambda: one_answer_each(steps, client)),
    ]
    doing = "up and first answer"
    failure: str | None = None
    try:
        was_up = bool(composition.running())
        first_answer(steps, composition, client, build=not given.no_build, was_up=was_up)
        for doing, act in todo:  # noqa: B007 — read below, where one fails
            act()
    except (CompositionError, NoAnswerError) as error:
        failure = f"{doing}: {error}"
        steps.say(f"FAILED {failure}")
        print(composition.said(), file=sys.stderr)
    finally:
        client.close()
        if not was_up and not given.keep:
            composition.run("down", "--volumes")
            steps.say("docker compose down --volumes")
    steps.say("failed" if failure else "passed")
    if given.json:
        print(json.dumps({"passed": failure is None, "failure": failure, **steps.figures}))
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main())
