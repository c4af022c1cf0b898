"""The histories of flaws 1, 9 and 10 of PROTOCOL-FLAWS.md, step by step.

Each yields the moments it waits for; those that only a flaw brings about do not come without it.
"""

from __future__ import annotations

from collections.abc import Iterator

from streams.core.record import Envelope, Kind
from tests.simulation.directed import Moment, Play


def marked_then_half_replayed(play: Play) -> Iterator[Moment]:
    """9. The fork w1 of the text a0 is finished and marked. Its next owner has replayed only the beginning of the text
    when it emits a child and dies. The owner after that replays everything and finds the mark."""
    play.sleep("a2")
    yield lambda: bool(_ends(play, "w1")) and play.is_finished("w1")
    epoch, text = play.epoch("w1"), play.written("a0")
    play.gate("w1", "a0", next((at for at, e in enumerate(text) if e.kind is Kind.CHUNK), 0) + 1)
    play.kill_owner("w1")
    yield lambda: any(e.kind is Kind.ITEM and _epoch(e) > epoch for e in play.written("w1"))
    play.kill_owner("w1")
    play.open_gates("w1")
    yield lambda: play.epoch("w1") > epoch + 1 and play.has_replayed("w1")
    play.wake("a2")


def older_ancestor_replayed(play: Play) -> Iterator[Moment]:
    """1. B (w1) is finished and marked on A@2 (a0). Its next owner has replayed only A@1 when it runs on that, then
    reads A@2 and finds the mark. D (a2) reads both A and B."""
    play.sleep("a2")
    yield lambda: len(play.written("w1")) == 1
    play.forget_marks("a0")
    play.kill_owner("a0")
    yield lambda: _newest(play, "w1") == 2 and play.is_finished("w1")
    epoch = play.epoch("w1")
    play.gate("w1", "a0", 1)
    play.kill_owner("w1")
    yield lambda: any(_epoch(e) > epoch for e in play.written("w1"))
    play.open_gates("w1")
    yield lambda: play.epoch("w1") > epoch and play.is_finished("w1")
    play.wake("a2")


def two_selections_marked(play: Play) -> Iterator[Moment]:
    """10. J (a2) of X (a0) and Y (w1) is finished on {X1, Y2} by one owner, then on {X2, Y1} by the next, which has not
    replayed Y2 yet. Then it reads Y2. Nobody has run on {X2, Y2}, which w3 waits for."""
    play.sleep("w3")
    yield lambda: len(play.written("a2")) == 1
    play.forget_marks("w1")
    play.kill_owner("w1")
    yield lambda: len(play.written("w1")) == 2 and len(play.written("a2")) == 2 and play.is_finished("a2")
    epoch = play.epoch("a2")
    play.gate("a2", "a0", 1)
    play.forget_marks("a0")
    play.kill_owner("a0")
    yield lambda: len(play.written("a0")) == 2
    play.open_gates("a2")
    play.gate("a2", "w1", 1)
    play.kill_owner("a2")
    yield lambda: any(_epoch(e) > epoch for e in play.written("a2")) and play.has_marked("a2")
    play.open_gates("a2")
    yield lambda: play.epoch("a2") > epoch and play.is_finished("a2")
    play.wake("w3")


def _epoch(envelope: Envelope) -> int:
    """Of the run that wrote it."""
    run = envelope.lin[-1]
    return run.epoch if run is not None else 0


def _newest(play: Play, stage: str) -> int:
    """How many different runs of its first ancestor the stage has been run on."""
    return len({envelope.lin[0] for envelope in play.written(stage)})


def _ends(play: Play, stage: str) -> list[Envelope]:
    return [envelope for envelope in play.written(stage) if envelope.kind is Kind.END]
