"""What is on the flags topic already, so that a replay adds nothing twice."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from assertions.core.flag import Flag, FlagState

# Flags remembered after they were written: 200 bytes each, minutes of replay at thousands of flags a second.
KNOWN_MAX: Final = 500_000


@dataclass(frozen=True, slots=True)
class Written:
    flag: Flag
    fold: int


class FlagLog:
    """Decides which records go out. While a partition is replayed, only the newest state of each flag counts, and it is
    compared at the end with what is there; what nobody raised again is withdrawn."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Written] = OrderedDict()
        self._replaying: dict[int, dict[str, Flag]] = {}

    def restore(self, fold: int, flag: Flag) -> None:
        """A record read from the flags topic."""
        self._remember(Written(flag, fold))

    def replay(self, fold: int) -> None:
        self._replaying[fold] = {}

    def admit(self, fold: int, flags: Iterable[Flag]) -> list[Flag]:
        """Those to write now, with the revision that follows what is there."""
        buffer = self._replaying.get(fold)
        if buffer is not None:
            buffer.update((flag.id, flag) for flag in flags)
            return []
        return [admitted for flag in flags if (admitted := self._admit(fold, flag)) is not None]

    def caught_up(self, fold: int) -> list[Flag]:
        """The replay of this partition is over. What is to be withdrawn is known only to whoever has replayed it."""
        newest = self._replaying.pop(fold, None)
        if newest is None:
            return []
        written = [admitted for flag in newest.values() if (admitted := self._admit(fold, flag)) is not None]
        lost = [
            known.flag
            for known in self._known.values()
            if known.fold == fold and known.flag.state is FlagState.PROVISIONAL and known.flag.id not in newest
        ]
        withdrawn = (
            flag.model_copy(update={"data": flag.data.model_copy(update={"state": FlagState.WITHDRAWN})})
            for flag in lost
        )
        return written + [admitted for flag in withdrawn if (admitted := self._admit(fold, flag)) is not None]

    def forget(self, fold: int) -> None:
        """The partition is somebody else's now: what is known of its flags will not be true for long."""
        self._replaying.pop(fold, None)
        for name in [name for name, written in self._known.items() if written.fold == fold]:
            del self._known[name]

    def _admit(self, fold: int, flag: Flag) -> Flag | None:
        there = self._known.get(flag.id)
        if there is None:
            if flag.state is FlagState.WITHDRAWN:
                return None
            revision = 1
        else:
            known = there.flag
            if known.state is FlagState.STANDING or (known.state is flag.state and known.severity == flag.severity):
                return None
            revision = known.data.revision + 1
        if flag.data.revision != revision:
            flag = flag.model_copy(update={"data": flag.data.model_copy(update={"revision": revision})})
        self._remember(Written(flag, fold))
        return flag

    def _remember(self, written: Written) -> None:
        self._known[written.flag.id] = written
        self._known.move_to_end(written.flag.id)
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
