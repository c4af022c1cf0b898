"""Which earlier observations an assertion is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar, overload

from assertions.errors import AssertionSetupError

T = TypeVar("T")

# A window by count still needs an end in time, or one rare key would hold state and offsets for ever. Ten minutes
# cover a conversation; it is also the most that a restarted processor reads again
# (docs/decisions/assertion-recovery.md).
HORIZON_SECONDS: Final = 600.0

# Most observations kept for one key: 10,000 of 1 kB are 10 MB. More than this in one window is a key that is no key.
KEY_ENTRIES_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """Up to `count` observations before the judged one, none older than `seconds`."""

    count: int | None
    seconds: float

    @staticmethod
    def of(count: int | None, within: float | None) -> WindowSpec:
        if count is not None and (isinstance(count, bool) or count < 1):
            raise AssertionSetupError(f"window={count!r}: a window by count holds at least one observation.")
        if count is not None and count > KEY_ENTRIES_MAX:
            raise AssertionSetupError(f"window={count}: at most {KEY_ENTRIES_MAX} observations are kept for one key.")
        if within is not None and not within > 0:
            raise AssertionSetupError(f"within={within!r}: a window by time is longer than 0 seconds.")
        return WindowSpec(count, HORIZON_SECONDS if within is None else float(within))


class Window(Sequence[T], Generic[T]):
    """The observations before the judged one, oldest first, as the assertion's item type.

    Bounded by the count or the time that the assertion asked for; ordered by event time, whatever order they came in.
    With several stages in `on`, each element is a tuple in that order.
    """

    __slots__ = ("_items", "_times")

    def __init__(self, items: Sequence[T], times: Sequence[float] | Callable[[], Sequence[float]]) -> None:
        """times: of each element, or what gives them, as most assertions never ask."""
        self._items = items
        self._times = times

    @property
    def times(self) -> Sequence[float]:
        """Event times in seconds, one for each element."""
        if callable(self._times):
            self._times = self._times()
        return self._times

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)
