"""How a flow is refused: one sentence with the stage and parameter, and what to do instead."""

from __future__ import annotations

from collections.abc import Sequence

from streams.errors import FlowError


class RefusedFlowError(FlowError):
    """A flow that cannot work, with the place in it that is at fault.

    `code` says which rule (`flow.unjoinable`, `flow.type`, ...); `stage` and `parameter` are None where the
    fault is not in one of them; `hint` is what to do.
    """

    def __init__(
        self, code: str, message: str, *, hint: str, stage: str | None = None, parameter: str | None = None
    ) -> None:
        where = "" if stage is None else f"stage {stage!r}: "
        super().__init__(f"{where}{message}. {hint}.", code=code)
        self.stage = stage
        self.parameter = parameter
        self.hint = hint


def ancestry_words(ancestry: Sequence[str]) -> str:
    """An ancestry as people say it: `one per request`, `one per request > claims`."""
    return "one per " + " > ".join(("request", *ancestry))
