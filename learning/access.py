"""What the retraining job and the chooser must be allowed to do in Kafka."""

from __future__ import annotations

from learning.flagreader import FLAGS, FLAGS_GROUP
from learning.journal import CHOOSING, RETRAINING
from learning.records import CHOICES, JOBS, LABEL_REQUESTS, LABELS, MODELS
from learning.replay import REPLAY_GROUP
from learning.view import VIEW_GROUP
from streams.access import Access, member_of, read, write
from streams.core.plan import Plan


def access(plan: Plan) -> dict[str, frozenset[Access]]:
    """The same for every pipeline."""
    del plan
    found = read(LABEL_REQUESTS, LABELS, MODELS, JOBS, CHOICES, FLAGS) | write(MODELS, JOBS, CHOICES, LABEL_REQUESTS)
    for group in (RETRAINING, CHOOSING):
        found |= member_of(group)
        found.add(Access("transactional-id", f"{group}.", "Write", is_prefix=True))
    found |= {Access("group", group, "Describe") for group in (VIEW_GROUP, FLAGS_GROUP, REPLAY_GROUP)}
    return {"learning": frozenset(found)}
