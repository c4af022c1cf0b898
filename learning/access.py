"""What the retraining job must be allowed to do in Kafka."""

from __future__ import annotations

from learning.journal import RETRAINING
from learning.records import JOBS, LABEL_REQUESTS, LABELS, MODELS
from learning.view import VIEW_GROUP
from streams.access import Access, member_of, read, write
from streams.core.plan import Plan


def access(plan: Plan) -> dict[str, frozenset[Access]]:
    """The same for every pipeline."""
    del plan
    found = read(LABEL_REQUESTS, LABELS, MODELS, JOBS) | write(MODELS, JOBS) | member_of(RETRAINING)
    found.add(Access("group", VIEW_GROUP, "Describe"))
    prefix = Access("transactional-id", f"{RETRAINING}.", "Write", is_prefix=True)
    return {"learning": frozenset(found | {prefix})}
