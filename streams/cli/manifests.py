"""Kubernetes manifests of a pipeline, as plain documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from streams.core.plan import Plan
from streams.runtime.process import roles_of
from streams.runtime.topics import group_of, requests_topic
from streams.settings import PipelineSettings

Document = dict[str, Any]

CONFIG: Final = "descant-settings"
"""The ConfigMap with KAFKA_BOOTSTRAP_SERVERS and every DESCANT_… that all processes must agree on."""

SECRET: Final = "descant-kafka"  # noqa: S105  a name, and the object is optional
"""The Secret with DESCANT_KAFKA_SASL_USERNAME and _PASSWORD, where the cluster wants them."""

METRICS_PORT: Final = 9464

# Records of requests under way that one instance has before another one joins it. A stage commits up to the oldest open
# request, so its lag counts all records of open requests, also those that it is done with (docs/scaling.md).
OPEN_RECORDS: Final = 2_000
# Of ingress the lag is what waits, and that only grows when it is slow or the pipeline is full.
WAITING_REQUESTS: Final = 500

# The file that `descant run` touches every second (DESCANT_HEALTH_FILE in the image).
_ALIVE: Final = ["/bin/sh", "-c", "test -n \"$(find /tmp/alive -newermt '-15 seconds')\""]


def stages(plan: Plan, pipeline: str, image: str, instances: int) -> Iterator[Document]:
    """The Job that makes the topics, and a Deployment for each stage, ingress and closer."""
    yield _topics_job(plan, pipeline, image)
    for role in roles_of(plan):
        yield _deployment(plan, pipeline, role, image, instances)


def scaling(plan: Plan, settings: PipelineSettings) -> Iterator[Document]:
    """A KEDA ScaledObject for each of them, by the lag of its group."""
    for role in roles_of(plan):
        is_ingress = role == "ingress"
        trigger = {
            "bootstrapServersFromEnv": "KAFKA_BOOTSTRAP_SERVERS",
            "consumerGroup": group_of(plan.pipeline, role),
            # Without a topic: the lag of all that the group has committed offsets for.
            **({"topic": requests_topic(plan.pipeline)} if is_ingress else {}),
            "lagThreshold": str(WAITING_REQUESTS if is_ingress else OPEN_RECORDS),
            "offsetResetPolicy": "earliest",
        }
        yield {
            "apiVersion": "keda.sh/v1alpha1",
            "kind": "ScaledObject",
            "metadata": {"name": _name(plan, role), "labels": _labels(plan, role)},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": _name(plan, role)},
                "minReplicaCount": 1,
                "maxReplicaCount": settings.partitions,
                "pollingInterval": 15,
                "cooldownPeriod": 300,
                # Each change moves slots, and the new owner replays what is open: few, and not to and fro.
                "advanced": {
                    "horizontalPodAutoscalerConfig": {
                        "behavior": {
                            "scaleUp": {"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]},
                            "scaleDown": {
                                "stabilizationWindowSeconds": 600,
                                "policies": [{"type": "Pods", "value": 1, "periodSeconds": 120}],
                            },
                        }
                    }
                },
                "triggers": [{"type": "kafka", "metadata": trigger}],
            },
        }


def _name(plan: Plan, role: str) -> str:
    return f"{plan.pipeline}-{role}".replace("_", "-").lower()


def _labels(plan: Plan, role: str) -> Mapping[str, str]:
    return {
        "app.kubernetes.io/name": "descant",
        "app.kubernetes.io/part-of": plan.pipeline,
        "app.kubernetes.io/component": role,
    }


def _deployment(plan: Plan, pipeline: str, role: str, image: str, instances: int) -> Document:
    container = {
        **_container("stage", image, ["run", pipeline, "--stage", role]),
        "ports": [{"name": "metrics", "containerPort": METRICS_PORT}],
        "resources": {"requests": {"cpu": "250m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        # Ready once it owns partitions or stands by; a process that cannot go on ends by itself and is started again.
        "startupProbe": {"exec": {"command": _ALIVE}, "periodSeconds": 2, "failureThreshold": 60},
        "readinessProbe": {"exec": {"command": _ALIVE}, "periodSeconds": 10, "timeoutSeconds": 5},
        "livenessProbe": {"exec": {"command": _ALIVE}, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6},
    }
    labels = _labels(plan, role)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": _name(plan, role), "labels": labels},
        "spec": {
            "replicas": instances,
            "selector": {"matchLabels": labels},
            # The members are equal, and a new one costs a rebalance: one at a time, the new one first.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {
                    "labels": labels,
                    "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": str(METRICS_PORT)},
                },
                # Longer than an instance takes to hand its slots back.
                "spec": {**_pod(container), "terminationGracePeriodSeconds": 60},
            },
        },
    }


def _topics_job(plan: Plan, pipeline: str, image: str) -> Document:
    labels = _labels(plan, "topics")
    container = {
        **_container("topics", image, ["topics", pipeline]),
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": _name(plan, "topics"), "labels": labels},
        "spec": {
            "backoffLimit": 6,
            # A finished Job cannot be changed: it goes by itself, so that the next version's can be applied.
            "ttlSecondsAfterFinished": 600,
            "template": {"metadata": {"labels": labels}, "spec": {**_pod(container), "restartPolicy": "OnFailure"}},
        },
    }


def _container(name: str, image: str, arguments: list[str]) -> Document:
    return {
        "name": name,
        "image": image,
        "args": arguments,
        "envFrom": [{"configMapRef": {"name": CONFIG}}, {"secretRef": {"name": SECRET, "optional": True}}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108  inside the container
    }


def _pod(container: Document) -> Document:
    return {
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}],
    }
