"""Symbolic values: what stages are given and return while a flow is traced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

from streams.flow.errors import RefusedFlowError


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the values that a handle stands for come from."""

    source: str
    """A stage, or REQUEST."""
    ancestry: tuple[str, ...]
    """The forks whose indices form the path of one item; of a text, of its prompt."""
    item_type: Any
    is_text: bool


class Handle:
    """Stands for all items of one source. It has no value: whatever needs one is refused and explained."""

    __slots__ = ("_origin", "_trace")

    def __init__(self, origin: Origin, trace: object) -> None:
        self._origin = origin
        self._trace = trace

    def __repr__(self) -> str:
        return f"<output of {self._origin.source}>"

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise RefusedFlowError(
            "flow.value",
            f"the flow looks at the output of {self._origin.source!r}, which has no value while the flow is traced",
            hint="A flow only connects stages: put what depends on values (if, for, operators) into a stage",
        )

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):  # copy, inspect and debuggers ask for these and expect this answer
            raise AttributeError(name)
        self._refuse()

    __hash__ = object.__hash__
    __bool__ = __iter__ = __aiter__ = __len__ = __getitem__ = __contains__ = __call__ = __await__ = _refuse
    __str__ = __format__ = __int__ = __float__ = __index__ = _refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refuse
    __or__ = __ror__ = __and__ = __rand__ = __mod__ = __rmod__ = __neg__ = __invert__ = _refuse


def origin_of(handle: Handle) -> Origin:
    return handle._origin


def trace_of(handle: Handle) -> object:
    return handle._trace
