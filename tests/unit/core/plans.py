"""Small plans, written as (name, kind, *inputs): `f` is a plain input, `f*` a stream, `f~` a text."""

from __future__ import annotations

from streams.core.plan import REQUEST, InputMode, OnError, Plan, StageKind
from streams.flow.definition import StageDefinition
from streams.flow.handle import Handle, origin_of
from streams.flow.signature import Parameter, StageSignature
from streams.flow.trace import Trace


def plan_of(
    *stages: tuple[str, ...], on_error: OnError = OnError.FAIL, retries: int = 2, answer: str | None = None
) -> Plan:
    """The plan of stages in order; the last, or `answer`, is joined to the root if it is deeper."""
    trace = Trace("p", str)
    handles: dict[str, Handle] = {REQUEST: trace.request()}
    used: set[str] = set()
    for name, kind, *inputs in stages:
        _call(trace, handles, name, StageKind(kind), tuple(inputs), on_error, retries)
        used.update(i.rstrip("*~") for i in inputs)
    last = answer or stages[-1][0]
    loose = [s[0] for s in stages if s[0] not in used and s[0] != last]
    if loose or origin_of(handles[last]).ancestry:
        gathered = tuple(_loosely(handles[n], n) for n in (*loose, last))
        _call(trace, handles, "last", StageKind.MAP, (REQUEST, *gathered), on_error, retries)
        last = "last"
    return trace.plan(handles[last], answer_annotation=str, declared=())


def _loosely(handle: Handle, name: str) -> str:
    origin = origin_of(handle)
    return f"{name}~" if origin.is_text else f"{name}*" if origin.ancestry else name


def _call(
    trace: Trace,
    handles: dict[str, Handle],
    name: str,
    kind: StageKind,
    inputs: tuple[str, ...],
    on_error: OnError,
    retries: int,
) -> None:
    parameters = tuple(
        Parameter(
            f"p{k}",
            InputMode.ITEM if i[-1] not in "*~" else InputMode.STREAM,
            str,
            on_error is OnError.PASS,
            True,
        )
        for k, i in enumerate(inputs)
    )
    options = {"model": "m"} if kind is StageKind.MODEL else {}
    definition = StageDefinition(
        name, _never_called, StageSignature(kind, parameters, str), retries, on_error, None, options
    )
    handles[name] = trace.call(definition, {f"p{k}": handles[i.rstrip("*~")] for k, i in enumerate(inputs)})


def _never_called() -> None:
    """The core never calls a stage's function."""
