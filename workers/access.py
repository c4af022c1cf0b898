"""What a worker must be allowed to do in Kafka."""

from __future__ import annotations

from typing import Final

from streams.access import Access, describe, member_of, read, write
from streams.core.plan import Plan, StageKind
from streams.runtime.topics import (
    MODELS,
    WORKERS_STATE,
    control_topic,
    dead_letters_topic,
    group_of,
    models_of,
    prompts_topic,
)

ROLE: Final = "workers"


def workers_group(model: str) -> str:
    """The consumer group of a model's workers."""
    return group_of(f"{MODELS}.{model}", ROLE)


def access_of_worker(model: str) -> frozenset[Access]:
    """Whatever pipelines ask: its own model's prompts, and to announce itself."""
    found = read(prompts_topic(model)) | write(WORKERS_STATE, dead_letters_topic(MODELS)) | describe(WORKERS_STATE)
    return frozenset(found | member_of(workers_group(model)))


def access(plan: Plan) -> dict[str, frozenset[Access]]:
    """A worker of each model that the plan asks for: texts go straight to the topic of the stage that asked."""
    found = {}
    for model in models_of(plan):
        texts = [plan.topic(s.name) for s in plan.stages if s.kind is StageKind.MODEL and s.options["model"] == model]
        ours = read(control_topic(plan.pipeline), *texts) | write(*texts)
        found[f"worker-{model}"] = frozenset(access_of_worker(model) | ours)
    return found
