"""docker-compose.yml and the Dockerfile against the code that they run."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from console.server import ConsoleServer
from console.settings import ConsoleSettings
from examples.factcheck.pipeline import factcheck
from streams.broker import KAFKA_VERSION, container_environment
from streams.runtime.process import roles_of
from streams.settings import KafkaSettings

ROOT = Path(__file__).parents[3]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
TARGETS = set(re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
PIPELINE = "examples.factcheck.pipeline:factcheck"
OURS = sorted(name for name, service in SERVICES.items() if service["image"].startswith("descant-"))


def substituted(text: str) -> str:
    """With the default of every ${NAME:-default}, as compose has it where none is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def test_kafka_is_configured_as_everywhere_else() -> None:
    environment = {name: substituted(value) for name, value in SERVICES["kafka"]["environment"].items()}
    del environment["KAFKA_HEAP_OPTS"]  # the JVM's, not the broker's
    assert environment == container_environment(host_port=9092, inside="kafka:19092")
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"


def test_records_are_kept_on_a_volume() -> None:
    folder = SERVICES["kafka"]["environment"]["KAFKA_LOG_DIRS"]
    volume, _, mounted = SERVICES["kafka"]["volumes"][0].partition(":")
    assert mounted == folder
    assert volume in COMPOSE["volumes"]


def test_every_role_of_the_pipeline_is_a_service_and_nothing_else_is() -> None:
    run = {name: service["command"] for name, service in SERVICES.items() if service.get("command", [""])[0] == "run"}
    assert run == {role: ["run", PIPELINE, "--stage", role] for role in roles_of(factcheck.plan)}


def test_the_console_takes_the_token_that_it_is_given() -> None:
    command, token = SERVICES["console"]["command"], SERVICES["console"]["environment"]["DESCANT_CONSOLE_TOKEN"]
    host = command[command.index("--host") + 1]
    settings = ConsoleSettings(host=host, port=0, token=SecretStr(substituted(token)))
    ConsoleServer([factcheck], KafkaSettings(bootstrap="localhost:9092"), settings)


def test_topics_are_set_up_before_anything_runs() -> None:
    assert SERVICES["topics"]["command"] == ["topics", PIPELINE]
    for name in set(OURS) - {"topics"}:
        assert SERVICES[name]["depends_on"] == {"topics": {"condition": "service_completed_successfully"}}, name


def test_all_processes_agree_on_partitions_and_lanes() -> None:
    for setting in ("DESCANT_PARTITIONS", "DESCANT_LANES", "KAFKA_BOOTSTRAP_SERVERS"):
        assert len({SERVICES[name]["environment"][setting] for name in OURS}) == 1, setting


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_is_bounded_and_comes_back(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["restart"].startswith("on-failure" if name == "topics" else "unless-stopped")
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["logging"]["options"]["max-size"]
    for port in service.get("ports", []):
        assert substituted(port).startswith("127.0.0.1:"), f"{port} is published to the network"


@pytest.mark.parametrize("name", OURS)
def test_our_services_cannot_write_or_gain_rights(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["read_only"] is (name != "worker-vllm")


def test_images_are_built_once_and_from_targets_that_exist() -> None:
    built = {service["image"]: service["build"]["target"] for service in SERVICES.values() if "build" in service}
    assert set(built.values()) <= TARGETS
    assert {SERVICES[name]["image"] for name in OURS} == set(built)


def test_nothing_runs_as_root() -> None:
    stages = re.split(r"^FROM ", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    users = {
        stage.splitlines()[0].rpartition(" ")[2]: re.findall(r"^USER (\S+)$", stage, re.MULTILINE) for stage in stages
    }
    assert users["runtime"] == ["descant"]
    assert users["worker-vllm"][-1] == "descant"
    for target in ("base", "worker-cpu", "assertions"):
        assert users[target][-1:] in ([], ["descant"]), target


def test_what_the_images_copy_is_sent_to_the_engine() -> None:
    sent = {line[1:].rstrip("/") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(?:--\S+ )?(\S+) ", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert set(copied) - {"."} <= sent
    packages = {"streams", "workers", "assertions", "learning", "console"}
    assert packages <= sent
    assert all((ROOT / name).exists() for name in sent)
