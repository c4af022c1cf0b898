"""What the user reads when something that the broker needs is missing, too old or in the way."""

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from streams.broker import kafka_jars, node
from streams.broker.java import JAVA_MIN, find_java, find_maven, has_java, java_version
from streams.broker.node import Node
from streams.broker.ports import LOOPBACK, free_port, is_free
from streams.errors import BrokerError, ConfigError


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH, empty; the cache is empty too."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def program(folder: Path, name: str, script: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def quiet(_line: str) -> None: ...


def test_without_java(programs: Path) -> None:
    assert not has_java()
    with pytest.raises(ConfigError, match=r"no java was found.*Install JDK 17.*KAFKA_BOOTSTRAP_SERVERS") as caught:
        find_java()
    assert caught.value.code == "broker.java_missing"


def test_java_too_old(programs: Path) -> None:
    program(programs, "java", """echo 'openjdk version "1.8.0_402"' >&2""")
    with pytest.raises(ConfigError, match=r"is Java 8, and Kafka needs 17 or newer\. Install JDK 17") as caught:
        find_java()
    assert caught.value.code == "broker.java_too_old"


@pytest.mark.parametrize("script", ["echo 'cannot open shared object' >&2; exit 127", "echo hello"])
def test_java_that_does_not_run(programs: Path, script: str) -> None:
    program(programs, "java", script)
    with pytest.raises(ConfigError, match="-version fails") as caught:
        find_java()
    assert caught.value.code == "broker.java_broken"


def test_java_home_wins_over_path(programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(programs, "java", """echo 'openjdk version "11.0.2"' >&2""")
    home = program(tmp_path / "jdk" / "bin", "java", """echo 'openjdk version "21.0.1"' >&2""")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))
    assert find_java().path == str(home)


@pytest.mark.parametrize(("mode", "can"), [("mixed mode, sharing", True), ("mixed mode", False)])
def test_a_java_without_its_own_archive_is_asked_for_none(programs: Path, mode: str, can: bool) -> None:
    program(programs, "java", f"""echo 'openjdk version "17.0.15"'; echo 'OpenJDK 64-Bit Server VM ({mode})'""")
    assert find_java().can_archive_classes is can


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "1.8.0_402"', 8),
        ('openjdk version "25" 2025-09-16', 25),
        ('openjdk version "24-ea" 2025-03-18', 24),
        ('Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nopenjdk version "21.0.1"', 21),
        ("The operation couldn't be completed.", None),
    ],
)
def test_java_versions(said: str, version: int | None) -> None:
    assert java_version(said) == version


def test_without_maven(programs: Path) -> None:
    with pytest.raises(ConfigError, match=r"no mvn was found.*Install Maven") as caught:
        find_maven()
    assert caught.value.code == "broker.maven_missing"
    with pytest.raises(ConfigError, match=r"no mvn was found"):
        kafka_jars(quiet)


def test_jars_that_cannot_be_fetched(programs: Path, tmp_path: Path) -> None:
    program(programs, "mvn", "echo '[ERROR] Could not transfer artifact: Connection refused'; exit 1")
    with pytest.raises(
        ConfigError, match=r"Could not transfer artifact: Connection refused.*Check the network"
    ) as caught:
        kafka_jars(quiet)
    assert caught.value.code == "broker.jars"
    assert not [left for left in (tmp_path / "cache" / "descant").iterdir() if left.is_dir()]


def test_jars_come_whole_and_once(programs: Path) -> None:
    """The stand-in for Maven notes each run and makes the folder that it is told to make."""
    maven = """
for last; do :; done
folder=${last#-DoutputDirectory=}
/bin/mkdir -p "$folder"
: > "$folder/kafka_2.13-4.4.0.jar"
echo "Downloaded from somewhere: there/kafka_2.13-4.4.0.jar (6.6 MB at 1 MB/s)"
echo run >> "$0.runs"
"""
    path = program(programs, "mvn", maven)
    lines: list[str] = []
    first = kafka_jars(lines.append)
    assert [jar.name for jar in first.iterdir()] == ["kafka_2.13-4.4.0.jar"]
    assert any("kafka_2.13-4.4.0.jar (6.6 MB" in line for line in lines)
    assert kafka_jars(quiet) == first
    assert path.with_name("mvn.runs").read_text() == "run\n"


def test_two_that_ask_at_once_fetch_once(programs: Path) -> None:
    """The stand-in for Maven does not end before the other one has said that it waits."""
    gate = programs / "gate"
    maven = f"""
for last; do :; done
folder=${{last#-DoutputDirectory=}}
turns=0
while [ ! -e {gate} ] && [ $turns -lt 600 ]; do /bin/sleep 0.05; turns=$((turns + 1)); done
/bin/mkdir -p "$folder"
: > "$folder/kafka_2.13-4.4.0.jar"
echo run >> "$0.runs"
"""
    path = program(programs, "mvn", maven)

    def hear(line: str) -> None:
        if "waiting for it" in line:
            gate.touch()

    with ThreadPoolExecutor(2) as pool:
        first, second = (pool.submit(kafka_jars, hear) for _ in range(2))
        assert first.result(60) == second.result(60)
    assert gate.exists()
    assert path.with_name("mvn.runs").read_text() == "run\n"


@pytest.fixture
def java(programs: Path) -> Path:
    """A Java of the right version that ends at once, and a Maven that delivers."""
    program(
        programs, "mvn", 'for last; do :; done\nf=${last#-DoutputDirectory=}\n/bin/mkdir -p "$f"; : > "$f/kafka_x.jar"'
    )
    return program(programs, "java", f"""echo 'openjdk version "{JAVA_MIN}.0.1"' >&2""")


def test_a_taken_port(java: Path, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(BrokerError, match=f"port {port} is taken.*--port") as caught:
            Node(tmp_path / "node", quiet).prepare(port)
    assert caught.value.code == "broker.port_taken"


def test_a_full_disk(java: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "FREE_BYTES_MIN", 2**62)
    with pytest.raises(ConfigError, match=r"only \d+ MiB are free.*--data-dir") as caught:
        Node(tmp_path / "node", quiet).prepare(None)
    assert caught.value.code == "broker.disk_full"


def test_a_folder_that_is_a_file(java: Path, tmp_path: Path) -> None:
    (tmp_path / "node").write_text("")
    with pytest.raises(ConfigError, match=r"cannot be used: .*--data-dir") as caught:
        Node(tmp_path / "node", quiet).prepare(None)
    assert caught.value.code == "broker.folder"


def test_a_cache_that_cannot_be_made(java: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(ConfigError, match=r"cannot be kept under .*XDG_CACHE_HOME") as caught:
        kafka_jars(quiet)
    assert caught.value.code == "broker.jars"


def test_a_broker_that_ends_at_once_gives_its_reason(java: Path, tmp_path: Path) -> None:
    program(
        java.parent,
        "java",
        """case "$*" in
*-version*) echo 'openjdk version "17.0.1"' >&2 ;;
*kafka.Kafka*) echo 'Error: Could not reserve enough space for object heap'; exit 1 ;;
esac""",
    )
    started = Node(tmp_path / "node", quiet)
    ports = started.prepare(None)
    with pytest.raises(
        BrokerError, match=r"status 1 before it was ready: Error: Could not reserve .*broker\.log"
    ) as caught:
        started.wait_ready(started.spawn(ports), ports)
    assert caught.value.code == "broker.ended"


def test_a_format_that_fails_gives_its_reason(java: Path, tmp_path: Path) -> None:
    program(
        java.parent,
        "java",
        """case "$*" in
*-version*) echo 'openjdk version "17.0.1"' >&2 ;;
*) echo 'No space left on device' >&2; exit 1 ;;
esac""",
    )
    with pytest.raises(BrokerError, match=r"could not format .*No space left on device.*--data-dir"):
        Node(tmp_path / "node", quiet).prepare(None)


def test_a_free_port_is_free_and_below_those_of_outgoing_connections() -> None:
    for _ in range(20):
        port = free_port()
        assert is_free(port)
        assert port < 32_768


def test_the_kernel_agrees_on_which_ports_it_gives_to_outgoing_connections() -> None:
    path = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if not path.exists():
        pytest.skip("Linux only")
    first = int(path.read_text().split()[0])
    if first < 32_768:
        pytest.skip(f"this machine is configured to give out ports from {first}")
    assert free_port() < first


def test_a_started_process_is_told_from_a_later_one_with_its_number() -> None:
    from streams.broker.process import ProcessId, identify

    ourselves = identify(os.getpid())
    assert ourselves is not None
    assert ourselves.is_alive
    assert not ProcessId(os.getpid(), "another time").is_alive
    assert identify(2**22 + 1) is None
