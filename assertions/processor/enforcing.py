"""What assertions that enforce ask of the pipelines, as records on their topics (docs/decisions/enforcing.md)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog
from pydantic import TypeAdapter, ValidationError

from assertions.core.definition import Assertion
from assertions.core.flag import Flag, FlagState
from assertions.errors import AssertionSetupError
from streams.core.lineage import parse_lineage, parse_path, parse_serial, routing_key
from streams.core.plan import REQUEST, Plan, StageKind
from streams.core.record import Envelope, Headers, Kind
from streams.core.revision import Revision
from streams.runtime.topics import requests_topic

# Decisions that are remembered: a text that goes on raises its flag again, and asking once is enough.
ASKED_MAX: Final = 10_000

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Order:
    topic: str
    key: str
    value: bytes | None
    headers: Headers


class Enforcer:
    """Of one process."""

    def __init__(self, plans: Mapping[str, Plan]) -> None:
        """plans: pipeline → its plan, of those that a retry or a replacement may be asked of."""
        self._plans: Final = plans
        self._asked: Final[OrderedDict[tuple[str, str], None]] = OrderedDict()

    def take(self, flags: Iterable[Flag]) -> tuple[list[Flag], list[Order]]:
        """The flags as they go on the record, and what is to be asked before they are written.

        On a replay it is asked again: an order of what is over does nothing, one that is known is the same one, and a
        decision on the record that was never carried out would be worse.
        """
        written: list[Flag] = []
        orders: list[Order] = []
        for flag in flags:
            order = self._order(flag) if flag.data.decision is not None else None
            if flag.data.decision is not None and order is None:
                written.append(flag.model_copy(update={"data": flag.data.model_copy(update={"decision": None})}))
                continue
            written.append(flag)
            if order is not None and flag.state is FlagState.PROVISIONAL and self._is_new(flag):
                orders.append(order)
        return written, orders

    def _is_new(self, flag: Flag) -> bool:
        of = flag.data.lineage.request if flag.data.decision == "abort" else flag.id
        if (flag.pipeline, of) in self._asked:
            return False
        self._asked[flag.pipeline, of] = None
        if len(self._asked) > ASKED_MAX:
            self._asked.popitem(last=False)
        return True

    def _order(self, flag: Flag) -> Order | None:
        """None where it cannot be carried out."""
        if flag.data.decision == "abort":
            return _cancel(flag)
        plan = self._plans.get(flag.pipeline)
        if plan is None:
            return None
        value: bytes | None = None
        if flag.data.decision == "replace":
            output = TypeAdapter(plan[flag.data.lineage.stages[-1]].output_type)
            try:
                value = output.dump_json(output.validate_python(flag.data.replacement))
            except ValidationError as error:
                log.warning(
                    "a replacement is no output of the stage", assertion=flag.assertion, errors=error.error_count()
                )
                return None
        return _revise(flag, plan, value)


def _cancel(flag: Flag) -> Order:
    """As any client may cancel a request."""
    headers: Headers = [
        ("kind", b"cancel"),
        ("reason", reason_of(flag).encode()),
        ("stage", flag.data.lineage.stages[-1].encode()),
    ]
    return Order(requests_topic(flag.pipeline), flag.data.lineage.request, None, headers)


def _revise(flag: Flag, plan: Plan, value: bytes | None) -> Order:
    place = flag.data.lineage
    stage = plan[place.stages[-1]]
    path = parse_path(place.path.encode())[: stage.depth]
    home = stage.sources[0]
    wish = Envelope(
        id=place.request,
        kind=Kind.REVISE,
        serial=parse_serial(place.serial.encode()),
        plan=flag.data.versions.plan or plan.digest,
        stage=stage.name,
        path=path,
        lin=parse_lineage(place.run.rpartition("+")[2].encode()),
    )
    key = routing_key(place.request, path, 0 if home == REQUEST else plan[home].key_depth)
    return Order(plan.topic(home), key, Revision(flag.id, flag.data.why, value).encode(), wish.headers())


def reason_of(flag: Flag) -> str:
    """For the answer of the request that it ends; never the example."""
    about = flag.data.assertion
    found = f"severity {flag.severity:.3g}, flag {flag.id}"
    return f"assertion {about.name} (version {about.version}) ended the request: {found}"


def check_enforceable(assertions: Iterable[Assertion], plans: Mapping[str, Plan]) -> None:
    """Raises AssertionSetupError for a retry or a replacement that could never be carried out."""
    for assertion in assertions:
        if assertion.enforce not in ("retry", "replace"):
            continue
        target = assertion.on[-1]
        plan = plans.get(target.pipeline)
        about = f"assertion {assertion.name!r} has enforce={assertion.enforce!r}, and"
        if plan is None:
            raise AssertionSetupError(
                f"{about} the flow of {target.pipeline!r} is not known here. Give on= the stage itself instead of its "
                "name, or name the pipeline's module as well: descant assertions run mine.flow mine.checks."
            )
        stage = next((each for each in plan.stages if each.name == target.stage), None)
        if stage is None:
            raise AssertionSetupError(
                f"{about} {target.stage!r} is no stage of {target.pipeline!r} that could run again."
            )
        if assertion.enforce == "replace" and stage.kind is not StageKind.MAP:
            raise AssertionSetupError(
                f"{about} {target} gives a {'text' if stage.kind is StageKind.MODEL else 'stream of items'}, not one "
                "value that could be replaced. Use enforce='retry', or check a stage behind it."
            )
