"""Gathers a text's tokens while its last record is on the way; an idle link never waits (DESIGN §3)."""

from __future__ import annotations

from typing import Final

from streams.core.text import Piece

HELD_TOKENS_MAX: Final = 16
"""Most tokens of one chunk record on a busy link: more delays the reader's first look at them by as many steps."""


class Coalescer:
    """One text. `due` gives what must leave now; call it after every token and after every acknowledgement."""

    __slots__ = ("_held", "_hold")

    def __init__(self, *, hold: bool) -> None:
        """`hold`: the client asked for whole outputs; nothing leaves before `rest`."""
        self._held: list[Piece] = []
        self._hold = hold

    def add(self, piece: Piece) -> None:
        self._held.append(piece)

    def due(self, unacked: int) -> Piece | None:
        tokens = sum(piece.tokens for piece in self._held)
        if self._hold or not tokens or (unacked and tokens < HELD_TOKENS_MAX):
            return None
        return self.rest()

    def rest(self) -> Piece | None:
        """Everything that is held, as one piece."""
        held, self._held = self._held, []
        if not held:
            return None
        if len(held) == 1:
            return held[0]
        return Piece(
            held[0].position,
            "".join(p.text for p in held),
            tuple(i for p in held for i in p.token_ids),
            sum(p.tokens for p in held),
            tuple(x for p in held for x in p.logprobs),
        )
