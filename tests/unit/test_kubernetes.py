"""deploy/kubernetes: valid by Kubernetes' own schemas, in agreement with itself, with the plan and with the images."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from examples.factcheck.pipeline import factcheck
from streams.cli.main import _status
from streams.runtime.process import roles_of

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy" / "kubernetes"
VERSION = "1.34"
PARTITIONS = "24"

# KEDA's own schema ships with its operator only. This is the part of it that we use, and nothing else is let through:
# keda.sh/docs, "ScaledObject specification" and "Apache Kafka".
NAME = {"type": "string", "pattern": "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"}
COUNT = {"type": "integer", "minimum": 0}
POLICIES = {
    "type": "object",
    "additionalProperties": False,
    "required": ["policies"],
    "properties": {
        "stabilizationWindowSeconds": {"type": "integer", "minimum": 0, "maximum": 3600},
        "policies": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["type", "value", "periodSeconds"],
                "properties": {
                    "type": {"enum": ["Pods", "Percent"]},
                    "value": {"type": "integer", "minimum": 1},
                    "periodSeconds": {"type": "integer", "minimum": 1, "maximum": 1800},
                },
            },
        },
    },
}
SCALED_OBJECT = {
    "type": "object",
    "additionalProperties": False,
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "keda.sh/v1alpha1"},
        "kind": {"const": "ScaledObject"},
        "metadata": {"type": "object", "required": ["name"], "properties": {"name": NAME}},
        "spec": {
            "type": "object",
            "additionalProperties": False,
            "required": ["scaleTargetRef", "triggers"],
            "properties": {
                "scaleTargetRef": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["name"],
                    "properties": {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "name": NAME},
                },
                "minReplicaCount": COUNT,
                "maxReplicaCount": COUNT,
                "pollingInterval": COUNT,
                "cooldownPeriod": COUNT,
                "advanced": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "horizontalPodAutoscalerConfig": {
                            "type": "object",
                            "additionalProperties": False,
                            "properties": {
                                "behavior": {
                                    "type": "object",
                                    "additionalProperties": False,
                                    "properties": {"scaleUp": POLICIES, "scaleDown": POLICIES},
                                }
                            },
                        }
                    },
                },
                "triggers": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["type", "metadata"],
                        "properties": {
                            "type": {"const": "kafka"},
                            "metadata": {
                                "type": "object",
                                "additionalProperties": False,
                                "required": ["bootstrapServersFromEnv", "consumerGroup", "lagThreshold"],
                                "properties": {
                                    "bootstrapServersFromEnv": {"type": "string"},
                                    "consumerGroup": {"type": "string"},
                                    "topic": {"type": "string"},
                                    "lagThreshold": {"type": "string", "pattern": "^[1-9][0-9]*$"},
                                    "offsetResetPolicy": {"enum": ["earliest", "latest"]},
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}


def written() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(DEPLOY.rglob("*.yaml")):
        if path.name != "kustomization.yaml":
            for document in yaml.safe_load_all(path.read_text()):
                yield f"{path.name}:{document['kind']}/{document['metadata']['name']}", document


WRITTEN = dict(written())


def check(document: dict[str, Any]) -> None:
    if document["apiVersion"].startswith("keda.sh/"):
        jsonschema.Draft202012Validator(SCALED_OBJECT).validate(document)
    else:
        kubernetes_validate.validate(document, VERSION, strict=True)


@pytest.fixture(scope="module")
def rendered() -> list[dict[str, Any]]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl renders, and is not installed here")
    done = subprocess.run(["kubectl", "kustomize", DEPLOY / "scaled"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.mark.parametrize("name", WRITTEN)
def test_every_manifest_fits_its_schema(name: str) -> None:
    check(WRITTEN[name])


def test_the_check_finds_what_is_wrong() -> None:
    worker = WRITTEN["worker.yaml:StatefulSet/worker"]
    with pytest.raises(Exception, match="replica"):
        check({**worker, "spec": {**worker["spec"], "replica": 2}})
    scaled = WRITTEN["worker-scaling.yaml:ScaledObject/worker"]
    with pytest.raises(jsonschema.ValidationError, match="maxReplicas"):
        check({**scaled, "spec": {**scaled["spec"], "maxReplicas": 2}})


@pytest.mark.parametrize(("file", "more"), [("base/pipeline.yaml", []), ("scaled/pipeline-scaling.yaml", ["--scaled"])])
def test_what_the_command_wrote_is_what_it_writes(
    file: str, more: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DESCANT_PARTITIONS", PARTITIONS)
    out = tmp_path / "written.yaml"
    assert not _status(["kubernetes", "examples.factcheck.pipeline:factcheck", *more, "--out", str(out)])
    assert out.read_text() == (DEPLOY / file).read_text()


def test_every_role_of_the_plan_runs_and_is_scaled() -> None:
    expected = {f"factcheck-{role}" for role in roles_of(factcheck.plan)}
    kinds = {kind: {d["metadata"]["name"] for d in WRITTEN.values() if d["kind"] == kind} for kind in KINDS}
    assert expected <= kinds["Deployment"]
    assert expected <= kinds["ScaledObject"]


KINDS = ("Deployment", "StatefulSet", "ScaledObject", "Service", "Job")


def pods() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    for name, document in WRITTEN.items():
        if "template" in document.get("spec", {}):
            yield name, document, document["spec"]["template"]


@pytest.mark.parametrize("name", [name for name, _, _ in pods()])
def test_pods_are_selected_by_their_own_labels_and_have_few_rights(name: str) -> None:
    document, template = WRITTEN[name], WRITTEN[name]["spec"]["template"]
    if document["kind"] != "Job":
        assert document["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    spec = template["spec"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert not spec["automountServiceAccountToken"]
    for container in spec["containers"]:
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert not container["securityContext"]["allowPrivilegeEscalation"]
        assert "memory" in container["resources"]["limits"]
        mounted = {mount["name"] for mount in container.get("volumeMounts", ())}
        made = {volume["name"] for volume in spec.get("volumes", ())}
        made |= {claim["metadata"]["name"] for claim in document["spec"].get("volumeClaimTemplates", ())}
        assert mounted == made


def test_images_are_targets_of_the_dockerfile_and_are_tagged() -> None:
    targets = set(re.findall(r"^FROM \S+ AS (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    images = {c["image"] for _, _, template in pods() for c in template["spec"]["containers"]}
    assert {image.removeprefix("descant-") for image in images} <= targets
    tagged = {image["name"] for image in yaml.safe_load((DEPLOY / "base" / "kustomization.yaml").read_text())["images"]}
    assert images == tagged


def test_what_is_scaled_is_there_and_never_has_more_instances_than_partitions_or_lanes() -> None:
    settings = dict(
        line.split("=", 1)
        for line in yaml.safe_load((DEPLOY / "base" / "kustomization.yaml").read_text())["configMapGenerator"][0][
            "literals"
        ]
    )
    assert settings["DESCANT_PARTITIONS"] == PARTITIONS
    there = {(d["kind"], d["metadata"]["name"]) for d in WRITTEN.values()}
    for document in WRITTEN.values():
        if document["kind"] == "ScaledObject":
            target = document["spec"]["scaleTargetRef"]
            assert (target["kind"], target["name"]) in there
            limit = "DESCANT_LANES" if target["kind"] == "StatefulSet" else "DESCANT_PARTITIONS"
            assert document["spec"]["maxReplicaCount"] <= int(settings[limit])


def test_it_renders_into_valid_documents_that_refer_to_what_is_there(rendered: list[dict[str, Any]]) -> None:
    assert len(rendered) == len(WRITTEN) + 1, "the ConfigMap is made"
    [settings] = [document for document in rendered if document["kind"] == "ConfigMap"]
    for document in rendered:
        check(document)
        if document["kind"] != "Namespace":
            assert document["metadata"]["namespace"] == "descant"
        for container in document.get("spec", {}).get("template", {}).get("spec", {}).get("containers", ()):
            [named] = [source["configMapRef"]["name"] for source in container["envFrom"] if "configMapRef" in source]
            assert named == settings["metadata"]["name"]
            assert container["image"].endswith(":0.1.0")
