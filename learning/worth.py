"""What each assertion is worth to a model: how often people confirm it, and how much less it fires since the last
promotion. Measured numbers, from labels and from the gate's replay of traffic."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, computed_field

from learning.intervals import wilson
from learning.labels import precision
from learning.records import Interval
from learning.versions import current_of
from learning.view import Learned


class Worth(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)
    model: str
    assertion: str
    precision: Interval | None
    """Confirmed ÷ judged flags; Wilson, 95 %. None: nobody has judged one."""
    fired: float | None
    """Share of the replayed traffic that it flags with the version before the current one. None: it was not
    replayed."""
    fires: float | None
    """The same with the current version."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def reduction(self) -> float | None:
        """By which share its firings fell; negative where they rose. None where it did not fire before."""
        if self.fires is None or not self.fired:
            return None
        return (self.fired - self.fires) / self.fired


def worth(learned: Learned) -> list[Worth]:
    """Of every assertion that judged or watched a model."""
    found = []
    for model in sorted(learned.models):
        judged = precision(learned.labels, model)
        current = current_of(learned.known(model))
        rates = {} if current is None else current.gate.firings
        for name in sorted({*judged, *rates}):
            fired, fires = rates.get(name, (None, None))
            share = wilson(*judged[name]) if name in judged else None
            found.append(Worth(model=model, assertion=name, precision=share, fired=fired, fires=fires))
    return found
