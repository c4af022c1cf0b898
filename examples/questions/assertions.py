"""What a question is after can be told from how it begins: four assertions on a classifier's output. They were written
before anything was measured."""

from __future__ import annotations

import re
from typing import Any, Final

from assertions import Assertion, Severity, assertion

KIND: Final = "questions.kind"

AFTER: Final = {
    "who": (r"^(who|whose|whom)\b", "HUM"),
    "where": (r"^where\b", "LOC"),
    "how_many": (r"^(how (many|much|long|old|far|tall|big|fast)|when)\b", "NUM"),
    "what_does_it_mean": (r"^(why|what (does|is an? \w+ \?)|how (do|does|did|can)\b)", "DESC"),
}
"""By assertion: how a question begins, and what it is then after."""


def begins(name: str) -> Assertion:
    """An assertion of this name: the question begins so, and the classifier says that it is after something else."""
    form, kind = AFTER[name]

    def judge(said: dict[str, Any]) -> Severity | float:
        if said["kind"] == kind or not re.match(form, said["question"], re.IGNORECASE):
            return 0.0
        return Severity(said["confidence"], f"said {said['kind']}, and it begins as if it were after {kind}")

    return assertion(on=KIND, name=name, severity="the classifier's confidence")(judge)


who = begins("who")
where = begins("where")
how_many = begins("how_many")
what_does_it_mean = begins("what_does_it_mean")
