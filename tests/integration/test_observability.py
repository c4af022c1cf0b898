"""Every kind of process, run for real: its traces, its log, its metrics.

One set of processes for the module: ingress, each stage, the closer, a worker, assertions, learning, the console.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

import httpx
import pytest
import pytest_asyncio
from confluent_kafka import Consumer, Producer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from learning import desk
from learning.records import LabelRequest
from streams.broker.ports import free_port
from streams.client import AnswerError, Client
from streams.metrics import catalogue
from streams.settings import KafkaSettings
from streams.testing import KafkaForTests
from tests.integration.collector import Collector, Seen
from tests.integration.observed import Question, made
from tests.integration.processes import Processes

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.asyncio(loop_scope="module"),
]

SECRET = "Xylocarpus"  # noqa: S105 — a rare word
"""In every prompt, request and item, and to be in no log and no span."""
CHOSEN = "Zanthoxylum"
"""In the ids that clients choose: spans hold those, logs and metrics do not."""
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
STAGES = ("draft", "claims", "verdict", "report")
WAIT_SECONDS = 180.0


@dataclass
class Observed:
    pipeline: str
    model: str
    kafka: KafkaSettings
    collector: Collector
    processes: Processes
    ports: dict[str, int]
    console: str

    def logs(self) -> dict[str, str]:
        return {name: process.log.read_text() for name, process in self.processes.running.items()}


async def until(reached: Callable[[], bool], what: Callable[[], object]) -> None:
    ends_at = time.monotonic() + WAIT_SECONDS
    while not reached():
        assert time.monotonic() < ends_at, what()
        await asyncio.sleep(0.2)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def observed(kafka: KafkaForTests, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Observed]:
    folder = tmp_path_factory.mktemp("observed")
    name, model = kafka.unique("observed"), kafka.unique("words")
    kinds = ["ingress", *STAGES, "closer", "worker", "assertions", "learning", "console"]
    ports = {kind: free_port() for kind in kinds}
    with Collector() as collector:
        environment = {
            "OBSERVED_PIPELINE": name,
            "OBSERVED_MODEL": model,
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
            "DESCANT_PARTITIONS": "2",
            "DESCANT_LANES": "2",
            "DESCANT_LOG_FORMAT": "json",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }
        running = Processes(folder, environment)
        module, console = "tests.integration.observed", free_port()

        def start(kind: str, *arguments: str) -> None:
            running.start(kind, *arguments, "--metrics", str(ports[kind]))

        try:
            for kind in ("ingress", *STAGES, "closer"):
                start(kind, "run", f"{module}:pipeline", "--stage", kind)
            start("worker", "worker", "--engine", "simulated", "--model", model)
            start("learning", "learn", "run", f"{module}_recipe:recipe", "--store", str(folder / "store"))
            running.wait_ready()
            start("assertions", "assertions", "run", f"{module}_assertions", "--group", name)
            start("console", "console", f"{module}:pipeline", "--port", str(console))
            running.wait_ready()
            url = f"http://127.0.0.1:{console}"
            settings = KafkaSettings(bootstrap=kafka.bootstrap)
            yield Observed(name, model, settings, collector, running, ports, url)
        finally:
            running.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def traffic(observed: Observed) -> None:
    """One traced request by the gateway, one that a stage breaks on, one that is no request, a cancel, and labels."""
    async with httpx.AsyncClient(base_url=observed.console, timeout=300) as http:
        await until_connected(http)
        path = f"/v1/pipelines/{observed.pipeline}/requests"
        asked = {"input": {"text": f"What of {SECRET}?"}, "id": "traced"}
        answer = await http.post(path, json=asked, headers={"traceparent": TRACEPARENT})
        assert answer.status_code == 202
        async with http.stream("GET", answer.json()["events"]) as events:
            assert '"type":"answer"' in [line async for line in events.aiter_lines() if line][-1]
        assert (await http.post(path, json={"input": {"text": [SECRET]}})).status_code == 422
    async with Client(made(observed.pipeline, observed.model), observed.kafka) as client:
        with pytest.raises(AnswerError):
            await client.ask(Question(text=SECRET, breaks=True))
        await (await client.submit(Question(text=SECRET))).cancel(f"no more {SECRET}")
    producer = Producer({"bootstrap.servers": observed.kafka.bootstrap})
    producer.produce(f"{observed.pipeline}.requests", json.dumps({"text": {"no": SECRET}}), f"bad-{CHOSEN}")
    producer.produce(f"{observed.pipeline}.claims", SECRET.encode(), "stray")  # not one of our records at all
    producer.produce(f"models.{observed.model}.prompts", SECRET.encode(), "stray", partition=0)
    assert producer.flush(30) == 0
    examples = [f"{observed.pipeline}-{i}" for i in range(12)]
    desk.ask(observed.kafka, [_label_request(observed, name, i) for i, name in enumerate(examples)])
    for i, name in enumerate(examples):
        desk.submit(observed.kafka, name, "high" if i > 6 else "low", labeller="ann")
    await until(lambda: len(observed.collector.of(TRACE)) >= 12, lambda: observed.collector.spans)


def _label_request(observed: Observed, name: str, i: int) -> LabelRequest:
    from datetime import UTC, datetime

    return LabelRequest(
        id=name,
        model=f"{observed.pipeline}-doubt",
        example={"x": i / 12, "note": SECRET},
        classes=("low", "high"),
        predicted="low",
        requested_at=datetime.now(UTC),
    )


async def until_connected(http: httpx.AsyncClient) -> None:
    for _ in range(1_000):
        if (await http.get("/healthz")).status_code == 200:
            return
        await asyncio.sleep(0.2)
    pytest.fail("the console does not find the pipeline")


async def test_one_trace_shows_a_request_from_the_gateway_to_its_flags(observed: Observed) -> None:
    name, model = observed.pipeline, observed.model
    spans = observed.collector.of(TRACE)

    def named(wanted: str) -> list[Seen]:
        return [span for span in spans if span.name == wanted]

    await until(lambda: bool(named("flag doubtful")) and bool(named(f"{name}.answer")), lambda: spans)
    [ingress], [answer] = named(f"{name}.ingress"), named(f"{name}.answer")
    [draft], [text], [claims] = named(f"{name}.draft"), named(f"models.{model}"), named(f"{name}.claims")
    verdicts, [report] = named(f"{name}.verdict"), named(f"{name}.report")
    assert ingress.parent == "00f067aa0ba902b7"  # the client's own span
    assert draft.parent == answer.parent == ingress.id
    assert text.parent == draft.id
    assert claims.parent == ingress.id  # it is of the question; the text comes beside it
    assert len(verdicts) == 2
    assert {verdict.parent for verdict in verdicts} == {claims.id}
    assert report.parent == ingress.id
    assert {flag.parent for flag in named("flag doubtful")} == {verdict.id for verdict in verdicts}
    assert text.attributes["gen_ai.usage.output_tokens"] == 12
    assert text.events == ("first token",)
    assert answer.attributes["descant.reason"] == "answered"
    assert answer.seconds >= text.seconds
    services = {span.service for span in spans}
    assert services == {f"{name}.{s}" for s in ("ingress", *STAGES, "closer")} | {
        f"models.{model}",
        f"assertions.{name}",
    }


async def test_a_run_that_fails_is_an_error_in_its_trace(observed: Observed) -> None:
    def failed() -> list[Seen]:
        return [s for s in observed.collector.spans if s.name == f"{observed.pipeline}.verdict" and s.is_error]

    await until(lambda: len(failed()) >= 2, lambda: observed.collector.spans)  # it is tried twice
    assert all(span.trace != TRACE for span in failed())
    roots = [s for s in observed.collector.spans if s.name.endswith(".ingress") and not s.parent]
    assert {span.trace for span in failed()} <= {span.trace for span in roots}


async def test_no_span_holds_what_was_asked_or_written(observed: Observed) -> None:
    assert b"first token" in observed.collector.raw
    assert SECRET.encode() not in observed.collector.raw


async def test_a_stage_that_raises_says_so_in_its_log_without_what_it_raised_on(observed: Observed) -> None:
    lines = [json.loads(line) for line in observed.logs()["verdict"].splitlines() if line.startswith("{")]
    [told, *_] = [line for line in lines if line["event"] == "run failed"]
    assert (told["stage"], told["error"], told["code"]) == ("verdict", "ValueError", "stage.raised")
    assert re.search(r"observed\.py:\d+ verdict$", told["where"][-1])
    assert told["service"] == f"{observed.pipeline}.verdict"
    assert told["level"] == "error"


async def test_no_log_of_any_process_holds_what_was_asked_or_written(observed: Observed) -> None:
    logs = observed.logs()
    assert "dead letter" in logs["ingress"]
    assert "dead letter" in logs["worker"]
    assert [name for name, text in logs.items() if SECRET in text or CHOSEN in text] == []
    words = _generated(observed)
    assert words, "nothing was generated"
    assert [name for name, text in logs.items() if words in text] == []
    for text in logs.values():
        for line in text.splitlines():
            assert json.loads(line)["event"], line


def _generated(observed: Observed) -> str:
    """The first words that the model wrote."""
    consumer = Consumer({"bootstrap.servers": observed.kafka.bootstrap, "group.id": "test"})
    try:
        topic = f"{observed.pipeline}.draft"
        consumer.assign([TopicPartition(topic, number, 0) for number in range(2)])
        for message in consumer.consume(1, 10):
            return " ".join(json.loads(message.value() or b"{}")["text"].split()[:4])
        return ""
    finally:
        consumer.close()


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def scraped(port: int) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(family, kind, labels) of each of ours that has a sample."""
    for family in text_string_to_metric_families(scrape(port)):
        if family.name.startswith("descant_") and family.samples:
            labels = {
                tuple(sorted(n for n in s.labels if n != "le"))
                for s in family.samples
                if not s.name.endswith("_created")
            }
            for each in labels:
                yield family.name, family.type, each


EXPECTED = {
    "ingress": {"descant_requests_accepted", "descant_requests_waiting", "descant_dead_letters"},
    "verdict": {"descant_runs", "descant_run_seconds", "descant_records_read", "descant_slots_owned"},
    "closer": {
        "descant_requests_open",
        "descant_requests_closed",
        "descant_answer_seconds",
        "descant_transaction_seconds",
    },
    "worker": {"descant_prompts", "descant_tokens_generated", "descant_first_token_seconds", "descant_kv_blocks"},
    "assertions": {"descant_assertion_evaluated", "descant_assertion_state", "descant_flags"},
    "learning": {"descant_labels", "descant_labels_pending", "descant_retrainings"},
    "console": {"descant_http_seconds", "descant_http_streams"},
}


UNSEEN = {
    *("descant_assertion_abstained", "descant_assertion_late", "descant_enforced"),
    *("descant_assertion_judged", "descant_assertion_confirmed", "descant_assertion_fires"),
    *("descant_model_version", "descant_model_refused"),
}
"""Of the catalogue, what this traffic gives no reason for: nothing abstains, comes late or enforces here, nothing is
labelled, and no stage follows a model."""


async def test_what_processes_serve_is_what_the_catalogue_says_both_ways(observed: Observed) -> None:
    described = [(next(iter(metric.describe())), metric._labelnames) for metric in catalogue()]
    known = {about.name: (about.type, tuple(sorted(labels))) for about, labels in described}

    def served() -> dict[str, set[tuple[str, str, tuple[str, ...]]]]:
        return {kind: set(scraped(port)) for kind, port in observed.ports.items()}

    def names() -> dict[str, set[str]]:
        return {kind: {name for name, _, _ in found} for kind, found in served().items()}

    def missing() -> set[str]:
        return set(known) - UNSEEN - set().union(*names().values())

    await until(lambda: not missing(), missing)
    for kind, found in served().items():
        for name, type_, labels in found:
            assert name in known, f"{kind} serves {name}, which the catalogue does not have"
            assert (type_, labels) == known[name], f"{name} of {kind} is another than the catalogue says"
    for kind, wanted in EXPECTED.items():
        assert wanted <= names()[kind], f"{kind} does not serve {wanted - names()[kind]}"


async def test_labels_of_metrics_hold_nothing_that_a_client_chose(observed: Observed) -> None:
    for port in observed.ports.values():
        text = scrape(port)
        assert SECRET not in text
        assert CHOSEN not in text
        assert "traced" not in text
