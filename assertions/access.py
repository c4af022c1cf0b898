"""What assertion processors must be allowed to do in Kafka."""

from __future__ import annotations

from assertions.processor.topics import DEAD_LETTERS, FLAGS, HEALTH
from streams.access import Access, read, write
from streams.core.plan import REQUEST, Plan
from streams.runtime.topics import answers_topic, control_topic, requests_topic


def access(plan: Plan) -> dict[str, frozenset[Access]]:
    """The intake and the judging of any group.

    Those that enforce abort by a record on `requests`, and ask a stage again, or replace an item, by one on a topic
    that the stage reads.
    """
    found = read(answers_topic(plan.pipeline), control_topic(plan.pipeline), *(plan.topic(s.name) for s in plan.stages))
    found |= write(FLAGS, HEALTH, DEAD_LETTERS, requests_topic(plan.pipeline)) | read(FLAGS)
    found |= write(plan.topic(REQUEST), *(plan.topic(s.name) for s in plan.stages))
    # Each group has a log, a changelog and two consumer groups, whose names begin alike.
    for prefix in ("assertions.", "assertions-"):
        found |= {Access("topic", prefix, op, is_prefix=True) for op in ("Read", "Write", "Describe")}
        found |= {Access("group", prefix, op, is_prefix=True) for op in ("Read", "AlterConfigs")}
    # Faust asks for its changelog to be made although it is there, and takes only "it exists" for an answer.
    found.add(Access("topic", "assertions-", "Create", is_prefix=True))
    return {"assertions": frozenset(found)}
