"""What the console must be allowed to do in Kafka."""

from __future__ import annotations

from assertions.processor.topics import FLAGS, log_topic
from learning.records import JOBS, LABEL_REQUESTS, LABELS, MODELS
from learning.view import VIEW_GROUP
from streams.access import Access, describe, read, write
from streams.core.plan import REQUEST, Plan
from streams.runtime.topics import WORKERS_STATE, answers_topic, models_of, prompts_topic, requests_topic


def access(plan: Plan) -> dict[str, frozenset[Access]]:
    """It reads what it shows, submits and cancels requests, and writes labels."""
    stages = [plan.topic(stage.name) for stage in plan.stages]
    found = read(plan.topic(REQUEST), answers_topic(plan.pipeline), *stages, WORKERS_STATE)
    found |= read(FLAGS, log_topic("default"), LABEL_REQUESTS, LABELS, MODELS, JOBS)
    found.add(Access("group", VIEW_GROUP, "Describe"))
    found |= write(requests_topic(plan.pipeline), LABELS) | describe(*map(prompts_topic, models_of(plan)))
    return {"console": frozenset(found)}
