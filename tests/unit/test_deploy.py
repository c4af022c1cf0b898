"""What is shipped for Prometheus and Grafana asks for metrics that the processes really export."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from streams.metrics import catalogue

DEPLOY = Path(__file__).parents[2] / "deploy"

EXPORTED = {
    f"{metric._name}{suffix}" for metric in catalogue() for suffix in ("", "_total", "_bucket", "_count", "_sum")
}


def expressions() -> Iterator[tuple[str, str]]:
    for group in yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]
    for path in (DEPLOY / "grafana" / "dashboards").glob("*.json"):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", ()):
                yield panel["title"], target["expr"]


@pytest.mark.parametrize(("name", "expression"), [pytest.param(*found, id=found[0]) for found in expressions()])
def test_every_rule_and_panel_asks_for_metrics_that_exist(name: str, expression: str) -> None:
    asked = set(re.findall(r"descant_\w+", expression))
    assert asked, f"{name} asks for nothing of ours"
    assert asked <= EXPORTED


def test_prometheus_scrapes_every_service_that_serves_metrics() -> None:
    services = yaml.safe_load((DEPLOY.parent / "docker-compose.yml").read_text())["services"]
    commands = {name: service.get("command", [""])[0] for name, service in services.items()}
    kinds = ("run", "worker", "assertions", "console", "learn")
    serving = {name for name, command in commands.items() if command in kinds}
    assert all("DESCANT_METRICS" in services[name]["environment"] for name in serving)
    [job] = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    assert set(job["dns_sd_configs"][0]["names"]) == serving
