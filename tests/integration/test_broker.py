"""The embedded broker: it is a real Kafka, it keeps what it should, and it leaves nothing behind."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined]  # its stubs forget it

from streams.broker import BROKER_SETTINGS, EmbeddedKafka
from streams.broker.process import ProcessId, identify
from streams.errors import BrokerError
from streams.testing import KafkaForTests

pytestmark = pytest.mark.integration

WAIT_SECONDS_MAX = 60.0


def wait_until(holds: Callable[[], bool], what: str, seconds_max: float = WAIT_SECONDS_MAX) -> None:
    ends_at = time.monotonic() + seconds_max
    while not holds():
        assert time.monotonic() < ends_at, f"not within {seconds_max:.0f} s: {what}"
        time.sleep(0.02)


def produce(bootstrap: str, topic: str, *values: str) -> None:
    """Produce with acknowledgement; the values are on the broker when this returns."""
    failed: list[str] = []
    producer = Producer({"bootstrap.servers": bootstrap, "message.timeout.ms": 60_000})
    for value in values:
        producer.produce(topic, value, on_delivery=lambda error, _: failed.append(str(error)) if error else None)
    assert producer.flush(WAIT_SECONDS_MAX) == 0
    assert not failed


def read_all(bootstrap: str, topic: str, count: int) -> list[str]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reads-by-hand", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, 0, 0)])
    values: list[str] = []

    def has_read() -> bool:
        record = consumer.poll(0.2)
        if record is not None and record.error() is None:
            values.append((record.value() or b"").decode())
        return len(values) >= count

    try:
        wait_until(has_read, f"{count} records of {topic}")
    finally:
        consumer.close()
    return values


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedKafka]:
    """A broker of our own to kill; running again before each test that asks for it."""
    with EmbeddedKafka() as running:
        yield running


@pytest.fixture
def up(broker: EmbeddedKafka) -> EmbeddedKafka:
    broker.start()
    return broker


def topic_on(broker: EmbeddedKafka, name: str) -> str:
    KafkaForTests(broker.bootstrap, "embedded").create_topics(name)
    return name


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_records_and_port_survive(up: EmbeddedKafka, how: str) -> None:
    topic = topic_on(up, f"kept-{how}")
    bootstrap, pid = up.bootstrap, up.pid
    produce(bootstrap, topic, "one", "two")
    getattr(up, how)()
    assert not up.is_running
    assert up.start() == bootstrap
    assert up.pid != pid
    produce(bootstrap, topic, "three")
    assert read_all(bootstrap, topic, 3) == ["one", "two", "three"]


def test_a_client_rides_through_a_restart(up: EmbeddedKafka) -> None:
    topic = topic_on(up, "ridden")
    produce(up.bootstrap, topic, "before")
    with ThreadPoolExecutor(1) as pool:
        up.kill()
        later = pool.submit(produce, up.bootstrap, topic, "while it was down")
        up.restart()
        later.result(WAIT_SECONDS_MAX)
    assert read_all(up.bootstrap, topic, 2) == ["before", "while it was down"]


def test_a_paused_broker_answers_nothing_until_it_goes_on(up: EmbeddedKafka) -> None:
    admin = AdminClient({"bootstrap.servers": up.bootstrap})
    admin.list_topics(timeout=10)
    up.pause()
    try:
        with pytest.raises(KafkaException):
            admin.list_topics(timeout=0.5)
    finally:
        up.resume()
    assert admin.list_topics(timeout=30).brokers


def test_a_paused_broker_can_be_stopped(up: EmbeddedKafka) -> None:
    up.pause()
    up.stop()
    assert not up.is_running
    with pytest.raises(BrokerError, match="does not run"):
        _ = up.pid


def test_two_at_once_know_nothing_of_each_other(up: EmbeddedKafka) -> None:
    topic = topic_on(up, "of-the-first")
    with EmbeddedKafka() as second:
        assert second.bootstrap != up.bootstrap
        assert topic not in AdminClient({"bootstrap.servers": second.bootstrap}).list_topics(timeout=10).topics
        folder = second.data_dir
    assert up.is_running
    assert not folder.exists()


def test_a_folder_belongs_to_one_broker_at_a_time(up: EmbeddedKafka) -> None:
    with pytest.raises(BrokerError, match=f"process id {up.pid} uses {up.data_dir}") as caught:
        EmbeddedKafka(up.data_dir).start()
    assert caught.value.code == "broker.folder_in_use"
    assert up.is_running


def test_a_folder_is_kept_and_found_again(tmp_path: Path) -> None:
    with EmbeddedKafka(tmp_path / "kept") as first:
        topic = topic_on(first, "kept")
        produce(first.bootstrap, topic, "for later")
        bootstrap = first.bootstrap
    with EmbeddedKafka(tmp_path / "kept") as second:
        assert second.bootstrap == bootstrap
        assert read_all(second.bootstrap, topic, 1) == ["for later"]
        errors = [line for line in second.log_path.read_text().splitlines() if " ERROR " in line]
    # A controller registers with itself, tries again where that comes before it knows that it leads, and calls it an
    # error (Kafka 4.4.0).
    assert [line for line in errors if "CONTROLLER_REGISTRATION" not in line] == []


def test_our_settings_are_in_force(up: EmbeddedKafka) -> None:
    resource = ConfigResource(ConfigResource.Type.BROKER, "1")
    admin = AdminClient({"bootstrap.servers": up.bootstrap})
    (described,) = admin.describe_configs([resource]).values()
    found = {name: entry.value for name, entry in described.result(30).items()}
    assert {name: found.get(name) for name in BROKER_SETTINGS} == dict(BROKER_SETTINGS)


def test_a_misspelt_topic_is_not_created(up: EmbeddedKafka) -> None:
    admin = AdminClient({"bootstrap.servers": up.bootstrap})
    admin.list_topics("no-such-topic", timeout=10)
    assert "no-such-topic" not in admin.list_topics(timeout=10).topics


# --- groups, with nothing but the broker's settings to make them right ---


class Member:
    """A consumer of a KIP-848 group; polled by hand, so that nothing happens behind the test's back."""

    def __init__(self, bootstrap: str, group: str, topics: list[str], **config: str) -> None:
        self._consumer = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": group, "group.protocol": "consumer"} | config
        )
        self._consumer.subscribe(topics)

    def held(self) -> set[tuple[str, int]]:
        self._consumer.poll(0.05)
        return {(part.topic, part.partition) for part in self._consumer.assignment()}

    def close(self) -> None:
        self._consumer.close()


def test_the_default_assignor_keeps_partitions_of_two_topics_together(up: EmbeddedKafka) -> None:
    """No client setting asks for `range`: it is the broker's first. With `uniform` this fails."""
    topics = ["co-left", "co-right"]
    KafkaForTests(up.bootstrap, "embedded").create_topics(*topics, partitions=7)
    members: list[Member] = []
    try:
        for count in (1, 2, 3):
            members.append(Member(up.bootstrap, "co-partitioned", topics))

            def all_spread(count: int = count) -> bool:
                held = [member.held() for member in members]
                return sum(map(len, held)) == 14 and all(held) and len(held) == count

            wait_until(all_spread, f"14 partitions over {count} members")
            for member in members:
                held = member.held()
                left = {partition for topic, partition in held if topic == topics[0]}
                right = {partition for topic, partition in held if topic == topics[1]}
                assert left == right
    finally:
        for member in members:
            member.close()


JOIN_AND_HOLD = """
import sys
from confluent_kafka import Consumer
bootstrap, group, topic = sys.argv[1:]
consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "group.protocol": "consumer"})
consumer.subscribe([topic])
told = False
while True:
    consumer.poll(0.1)
    if consumer.assignment() and not told:
        print("holding", flush=True)
        told = True
"""


def test_a_killed_member_is_replaced_within_ten_seconds(up: EmbeddedKafka) -> None:
    topic = "held"
    KafkaForTests(up.bootstrap, "embedded").create_topics(topic, partitions=4)
    command = [sys.executable, "-c", JOIN_AND_HOLD, up.bootstrap, "replaces", topic]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == "holding\n"
        survivor = Member(up.bootstrap, "replaces", [topic])
        try:
            wait_until(lambda: len(survivor.held()) == 2, "half of the partitions")
            victim.kill()
            wait_until(lambda: len(survivor.held()) == 4, "all partitions after the kill", seconds_max=10.0)
        finally:
            victim.kill()
            survivor.close()


# --- nothing is left behind ---

START_AND_WAIT = """
import signal, threading
from streams.broker import EmbeddedKafka
{how}
    print(kafka.pid, kafka.data_dir, flush=True)
    signal.pause()
"""
IN_MAIN = START_AND_WAIT.format(how="with EmbeddedKafka() as kafka:")
# The thread that starts the broker ends at once: the broker must not end with it.
IN_A_THREAD = START_AND_WAIT.format(
    how="""
kafka = EmbeddedKafka()
starter = threading.Thread(target=kafka.start)
starter.start()
starter.join()
if True:"""
)


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        pytest.param(IN_MAIN, signal.SIGINT, id="interrupted"),
        pytest.param(IN_MAIN, signal.SIGTERM, id="terminated"),
        pytest.param(IN_A_THREAD, signal.SIGKILL, id="killed"),
    ],
)
def test_the_broker_ends_with_its_parent(script: str, kind: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as parent:
        assert parent.stdout is not None
        pid, folder = parent.stdout.readline().split()
        broker = identify(int(pid))
        assert broker is not None
        parent.send_signal(kind)
        parent.wait(WAIT_SECONDS_MAX)
    wait_until(lambda: not broker.is_alive, "the end of the broker", seconds_max=20.0)
    wait_until(lambda: not Path(folder).exists(), "the end of its folder", seconds_max=20.0)
    wait_until(lambda: not guards_of(int(pid)), "the end of its guard", seconds_max=20.0)


def guards_of(pid: int) -> list[str]:
    shown = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return re.findall(rf"descant-broker-guard {pid}\b.*", shown)


# --- descant broker ---


@pytest.fixture
def descant(tmp_path: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """`descant broker ...` with a state folder of its own; what it started is stopped at the end."""
    env = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from streams.cli import main; main()", "broker", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=env, timeout=100, check=False)

    yield run
    run("down")


def test_a_background_broker_outlives_its_command(
    descant: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    assert descant("status").returncode == 1
    assert json.loads(descant("status", "--json").stdout) == {"running": False}

    begun = descant("up", "--port", "0", "--json")
    assert begun.returncode == 0, begun.stderr
    first = json.loads(begun.stdout)
    assert AdminClient({"bootstrap.servers": first["bootstrap"]}).list_topics(timeout=10).brokers

    assert json.loads(descant("up", "--json").stdout) == first
    assert json.loads(descant("status", "--json").stdout) == first
    elsewhere = descant("up", "--data-dir", str(tmp_path / "other"))
    assert elsewhere.returncode == 1
    assert "error [broker.differs]" in elsewhere.stderr

    assert json.loads(descant("down", "--json").stdout) == {"stopped": True}
    assert not ProcessId(first["pid"], first["started"]).is_alive
    assert json.loads(descant("down", "--json").stdout) == {"stopped": False}


def test_a_background_broker_that_died_is_not_believed(
    descant: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    first = json.loads(descant("up", "--port", "0", "--json").stdout)
    os.kill(first["pid"], signal.SIGKILL)
    broker = ProcessId(first["pid"], first["started"])
    wait_until(lambda: not broker.is_alive, "the end of the broker")
    assert descant("status").returncode == 1
    second = json.loads(descant("up", "--port", "0", "--json").stdout)
    assert second["pid"] != first["pid"]
    assert second["data_dir"] == first["data_dir"]


def test_in_the_foreground_it_ends_with_control_c() -> None:
    command = [sys.executable, "-c", "from streams.cli import main; main()", "broker", "up", "--foreground"]
    with subprocess.Popen(
        [*command, "--port", "0", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        broker = identify(json.loads(process.stdout.readline())["pid"])
        assert broker is not None
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=WAIT_SECONDS_MAX)
    assert process.returncode == 0
    assert "Traceback" not in said
    assert not broker.is_alive


# --- the fixture ---


def test_the_fixture_is_a_real_kafka(kafka: KafkaForTests) -> None:
    topic = kafka.unique("fixture")
    assert topic != kafka.unique("fixture")
    kafka.create_topics(topic, partitions=1)
    kafka.create_topics(topic, partitions=1)
    produce(kafka.bootstrap, topic, "hello")
    assert read_all(kafka.bootstrap, topic, 1) == ["hello"]
