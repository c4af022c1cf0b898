"""TLS, SASL and access lists against a broker that enforces them, with real processes."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from assertions.processor.topics import FLAGS, group_topics, shared_topics
from learning.view import topics as learning_topics
from streams.access import Access, Operation, access_of_role, all_access, commands
from streams.client import Client
from streams.core.plan import Plan
from streams.errors import BrokerError
from streams.runtime.authorization import check_access, missing_access
from streams.runtime.topics import answers_topic, ensure_topics, model_dead_letters_topic, state_topic, topics_of
from streams.settings import KafkaSettings, PipelineSettings
from streams.testing import KafkaForTests
from tests.integration.processes import Descant, Processes
from tests.integration.secure import SecureKafka, secure_kafka

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

SETTINGS = PipelineSettings(partitions=2, lanes=2)
NAME, MODEL = "observed-secure", "words-secure"
MODULE = "tests.integration.observed"
ASKED: Final[tuple[Operation, ...]] = ("Read", "Describe")
"""Of what a client reads."""


@pytest.fixture(scope="module")
def plan() -> Plan:
    from tests.integration.observed import made

    found: Plan = made(NAME, MODEL).plan
    return found


@pytest.fixture(scope="module")
def kafka_of(tmp_path_factory: pytest.TempPathFactory, plan: Plan) -> Iterator[SecureKafka]:
    with secure_kafka(tmp_path_factory.mktemp("secure")) as kafka:
        ensure_topics(
            kafka.operator,
            [
                *topics_of(plan, SETTINGS).values(),
                state_topic(SETTINGS),
                model_dead_letters_topic(SETTINGS),
                *shared_topics(),
                *group_topics("default", 4),
                *learning_topics(),
            ],
        )
        yield kafka


def test_a_wrong_password_a_wrong_authority_and_plain_text_are_refused(kafka_of: SecureKafka, tmp_path: Path) -> None:
    kafka = kafka_of.user("anybody")
    assert AdminClient(kafka.client()).list_topics(timeout=20).brokers
    stranger = tmp_path / "other-ca.pem"
    import trustme

    trustme.CA().cert_pem.write_to_path(str(stranger))
    for wrong in (
        {"sasl_password": "not it"},
        {"ssl_ca_location": str(stranger)},
        {"security_protocol": "PLAINTEXT", "sasl_mechanism": None, "sasl_username": None},
    ):
        refused = KafkaSettings(**(kafka.model_dump() | wrong))
        with pytest.raises(KafkaException):
            AdminClient({**refused.client(), "log_level": 0}).list_topics(timeout=3)


def test_a_pipeline_runs_with_exactly_these_permissions(kafka_of: SecureKafka, plan: Plan, tmp_path: Path) -> None:
    access = all_access(plan)
    for process, needed in access.items():
        kafka_of.user(process)
        kafka_of.allow(process, needed)
    common = {"OBSERVED_PIPELINE": NAME, "OBSERVED_MODEL": MODEL, "DESCANT_PARTITIONS": "2", "DESCANT_LANES": "2"}
    running: list[Processes] = []

    def start(process: str, *arguments: str) -> None:
        found = Processes(tmp_path, common | kafka_of.environment(process))
        running.append(found)
        found.start(process, *arguments)

    try:
        for role in ("ingress", *(stage.name for stage in plan.stages), "closer"):
            start(role, "run", f"{MODULE}:pipeline", "--stage", role)
        start(f"worker-{MODEL}", "worker", "--engine", "simulated", "--model", MODEL)
        start("learning", "learn", "run", f"{MODULE}_recipe:recipe", "--store", str(tmp_path / "store"))
        start("assertions", "assertions", "run", f"{MODULE}_assertions")
        start("console", "console", f"{MODULE}:pipeline", "--port", "0")
        for each in running:
            each.wait_ready()
        answer = _ask(kafka_of, plan)
        assert answer == "2 claims of Is it safe?"
        _await_flag(kafka_of)
        for each in running:
            for ran in each.running.values():
                assert ran.process.poll() is None, f"{ran.name}: {ran.log.read_text()[-1000:]}"
                assert "AUTHORIZATION" not in ran.log.read_text().upper()
    finally:
        for each in running:
            each.stop()


def _ask(kafka: SecureKafka, plan: Plan) -> str:
    from tests.integration.observed import Question, made

    async def ask() -> str:
        async with Client(made(NAME, MODEL), kafka.user("client"), watch=True) as client, asyncio.timeout(90):
            return str(await client.ask(Question(text="Is it safe?")))

    return asyncio.run(ask())


def _await_flag(kafka: SecureKafka) -> None:
    """What the assertion raised, read by the console's user."""
    from confluent_kafka import Consumer, KafkaError, TopicPartition

    consumer = Consumer(
        {**kafka.user("console").client(), "group.id": "descant-console", "auto.offset.reset": "earliest"}
    )
    try:
        consumer.assign([TopicPartition(FLAGS, number, 0) for number in range(3)])
        while True:
            messages = consumer.consume(1, 60)
            assert messages
            error = messages[0].error()
            # The client looks for a coordinator of the group that it was given a name for; nobody here ever joins it.
            if error is None or error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED:
                break
        assert error is None
    finally:
        consumer.close()


@pytest.mark.parametrize(
    ("lacks", "wrong", "code", "says"),
    [
        ({"Read", "Describe"}, {}, "broker.denied", f"Read on topic {NAME}.answers"),
        ({"Read"}, {}, "broker.denied", f"Read on topic {NAME}.answers"),
        (set(), {"sasl_password": "not it"}, "broker.credentials", "DESCANT_KAFKA_"),
    ],
    ids=["nothing of the answers", "answers it may describe only", "a wrong password"],
)
async def test_a_client_that_may_not_read_is_told_so(
    kafka_of: SecureKafka, plan: Plan, lacks: set[Operation], wrong: dict[str, str], code: str, says: str
) -> None:
    from tests.integration.observed import Question, made

    answers = answers_topic(NAME)
    given = {a for a in all_access(plan)["client"] if a.name != answers}
    given |= {Access("topic", answers, operation) for operation in ASKED if operation not in lacks}
    user = f"client-{code}-{len(lacks)}"
    kafka = KafkaSettings(**(kafka_of.user(user).model_dump() | wrong))
    kafka_of.allow(user, given)

    async def ask() -> None:
        async with Client(made(NAME, MODEL), kafka) as client:
            question = Question(text="Is it safe?")
            with pytest.raises(BrokerError):
                await client.ask(question)
            await client.submit(question)

    with pytest.raises(BrokerError) as refused:
        await asyncio.wait_for(ask(), 60)
    assert refused.value.code == code
    assert says in str(refused.value)


@pytest.mark.parametrize("role", ["ingress", "draft", "claims", "closer", "worker"])
def test_each_permission_that_is_missing_is_named(kafka_of: SecureKafka, plan: Plan, role: str) -> None:
    """Topics and groups; Kafka answers for no transactional id."""
    name = f"worker-{MODEL}" if role == "worker" else role
    needed, user = all_access(plan)[name], f"lacking-{role}"
    kafka = kafka_of.user(user)
    kafka_of.allow(user, needed)
    _await_missing(kafka, needed, set())
    asked = [each for each in sorted(needed) if each.resource != "transactional-id"]
    for each in asked:
        kafka_of.forbid(user, each)
        # Who may read or write may describe.
        implied = each.operation == "Describe" and _is_implied(each, needed)
        expected = set() if implied else {each}
        if each.resource == "group" and each.operation == "Read":
            # Who may not describe a group is told nothing of it: all that is needed there is named.
            expected |= {a for a in needed if (a.resource, a.name) == ("group", each.name)}
        _await_missing(kafka, needed, expected)
        kafka_of.allow(user, [each])


def _await_missing(kafka: KafkaSettings, needed: frozenset[Access], expected: set[Access]) -> None:
    """Brokers learn of a changed list from the controller, a moment after who changed it is answered."""
    ends_at = time.monotonic() + 60
    while (found := missing_access(kafka, needed)) != expected:
        assert time.monotonic() < ends_at, f"missing {sorted(found)}, not {sorted(expected)}"
        time.sleep(0.05)


def _is_implied(access: Access, needed: frozenset[Access]) -> bool:
    same = {a.operation for a in needed if (a.resource, a.name) == (access.resource, access.name)}
    return bool(same & {"Read", "Write"})


def test_a_process_that_lacks_something_ends_and_says_what(kafka_of: SecureKafka, plan: Plan, tmp_path: Path) -> None:
    needed = access_of_role(plan, "claims")
    without = Access("topic", f"{NAME}.claims", "Write")
    kafka_of.user("half")
    kafka_of.allow("half", needed - {without, Access("topic", f"{NAME}.claims", "Describe")})
    environment = {"OBSERVED_PIPELINE": NAME, "OBSERVED_MODEL": MODEL, "DESCANT_PARTITIONS": "2", "DESCANT_LANES": "2"}
    process = Descant(
        "half", tmp_path, ("run", f"{MODULE}:pipeline", "--stage", "claims"), environment | kafka_of.environment("half")
    )
    try:
        assert process.wait_ended() == 1
    finally:
        process.stop()
    said = process.log.read_text()
    assert "[broker.denied]" in said
    assert f"Write on topic {NAME}.claims" in said
    assert "descant acls" in said


def test_a_closer_without_its_transactional_id_ends_and_says_so(
    kafka_of: SecureKafka, plan: Plan, tmp_path: Path
) -> None:
    kafka_of.user("untold")
    kafka_of.allow("untold", {a for a in access_of_role(plan, "closer") if a.resource != "transactional-id"})
    environment = {"OBSERVED_PIPELINE": NAME, "OBSERVED_MODEL": MODEL, "DESCANT_PARTITIONS": "2", "DESCANT_LANES": "2"}
    process = Descant(
        "untold",
        tmp_path,
        ("run", f"{MODULE}:pipeline", "--stage", "closer"),
        environment | kafka_of.environment("untold"),
    )
    try:
        assert process.wait_ended() == 1
    finally:
        process.stop()
    assert f"Write on transactional-id {NAME}.closer.*" in process.log.read_text()


def test_a_broker_without_an_authorizer_denies_nothing(kafka: KafkaForTests, plan: Plan) -> None:
    settings = KafkaSettings(bootstrap=kafka.bootstrap)
    ensure_topics(settings, [*topics_of(plan, SETTINGS).values(), state_topic(SETTINGS)])
    for needed in all_access(plan).values():
        check_access(settings, needed)


def test_the_commands_that_are_printed_name_every_permission(plan: Plan) -> None:
    for process, needed in all_access(plan).items():
        lines = commands(needed, f"User:{process}")
        assert sum(line.count("--operation") for line in lines) == len(needed)
        assert all(f"--{each.resource} '{each.name}'" in "\n".join(lines) for each in needed)


def test_what_was_denied_never_shows_the_password(kafka_of: SecureKafka, plan: Plan) -> None:
    kafka = kafka_of.user("nobody")
    with pytest.raises(BrokerError) as denied:
        check_access(kafka, access_of_role(plan, "ingress"))
    assert kafka.sasl_password is not None
    assert kafka.sasl_password.get_secret_value() not in str(denied.value)
    assert "nobody may not" in str(denied.value)
    assert json.dumps(kafka.model_dump(mode="json")).find(kafka.sasl_password.get_secret_value()) == -1
    assert os.environ.get("DESCANT_KAFKA_SASL_PASSWORD") is None
