"""Standard output of a process that prints JSON: its lines alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TextIO

_kept: Final[list[TextIO]] = []


def kept() -> TextIO | None:
    """Where JSON goes while `kept_for_json` holds; None: to standard output as it is."""
    return _kept[-1] if _kept else None


@contextmanager
def kept_for_json() -> Iterator[None]:
    """What anything else writes to standard output meanwhile goes to standard error: stages, libraries in C, and the
    processes that they start. Where standard output was replaced already, as tests do, nothing is changed.
    """
    shown: TextIO = sys.stdout
    if sys.__stdout__ is not shown:
        yield
        return
    shown.flush()
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as ours:
        os.dup2(2, 1)
        _kept.append(ours)
        try:
            yield
        finally:
            _kept.remove(ours)
            shown.flush()
            ours.flush()
            os.dup2(ours.fileno(), 1)


def give_back() -> None:
    """Before another program takes this one's place: standard output is what it was."""
    if (ours := kept()) is not None:
        ours.flush()
        os.dup2(ours.fileno(), 1)
