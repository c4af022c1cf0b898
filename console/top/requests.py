"""Which requests of a pipeline are open, folded from `accepted` and `control`. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from streams.core.control import Control
from streams.core.lineage import Serial
from streams.core.record import Envelope, Kind


class OpenRequest(NamedTuple):
    id: str
    since: float
    """When it was accepted, seconds since 1970."""
    deadline: float


class OpenRequests:
    """Records may come in any order of the two topics; memory is bounded by the pipeline's admission window."""

    def __init__(self, control: Control) -> None:
        """`control` is kept up to date by whoever made it; `closed` is to be called for each of its entries."""
        self._control: Final = control
        self._open: Final[dict[Serial, OpenRequest]] = {}
        self.answered = 0
        """Closings seen."""

    def accepted(self, serial: Serial, envelope: Envelope, appended: float) -> None:
        """The next record of `accepted`."""
        if envelope.kind is Kind.ITEM and not self._control.is_closed(serial):
            self._open[serial] = OpenRequest(envelope.id, appended, envelope.deadline / 1000)

    def closed(self, serial: Serial) -> None:
        self.answered += 1
        self._open.pop(serial, None)

    def sweep(self) -> None:
        """Drops what `control` says is below its lowest open offset: entries that were not seen one by one."""
        for serial in [s for s in self._open if self._control.is_closed(s)]:
            del self._open[serial]

    def __len__(self) -> int:
        return len(self._open)

    @property
    def oldest(self) -> OpenRequest | None:
        return min(self._open.values(), key=lambda request: request.since, default=None)
