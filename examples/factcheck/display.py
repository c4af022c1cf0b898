"""Where the demo writes: a live view at a terminal, plain lines anywhere else (a log, a pipe, `--json`)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from typing import Final, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from examples.factcheck.screen import request_line, running_view, summary_lines, table
from examples.factcheck.view import Summary, Watched

# Often enough for words to seem to flow; each drawing takes about 3 ms of a core that the model could use.
REFRESH_SECONDS: Final = 0.12
# The newest, below the answers.
ALERTS_SHOWN: Final = 5

Say = Callable[[str], None]


class Display(Protocol):
    @property
    def console(self) -> Console: ...

    def waiting(self, line: str) -> AbstractContextManager[Say]:
        """Around a wait: says what is waited for; the function that it gives says how far it is."""
        ...

    def running(
        self, title: str, requests: Sequence[Watched], total: int
    ) -> AbstractAsyncContextManager[Callable[[Watched], None]]:
        """Around a round of questions: shows `requests`, which grows to `total`, as its state changes."""
        ...

    def alert(self, line: Text) -> None:
        """An assertion fired."""
        ...


class LiveDisplay:
    """For a terminal."""

    def __init__(self, console: Console) -> None:
        self.console: Final = console
        self._alerts: Final[deque[Text]] = deque(maxlen=ALERTS_SHOWN)

    def alert(self, line: Text) -> None:
        self._alerts.append(line)

    @contextmanager
    def waiting(self, line: str) -> Iterator[Say]:
        with self.console.status(line) as status:
            yield lambda more: status.update(f"{line}: {more}")
        self.console.print(f"{line}: done", style="dim", markup=False)

    @asynccontextmanager
    async def running(
        self, title: str, requests: Sequence[Watched], total: int
    ) -> AsyncIterator[Callable[[Watched], None]]:
        def drawn(live: Live) -> None:
            view = running_view(title, requests, total - sum(r.is_answered for r in requests))
            live.update(Group(view, *self._alerts), refresh=True)

        async def redraw(live: Live) -> None:
            while True:
                drawn(live)
                await asyncio.sleep(REFRESH_SECONDS)

        with Live(console=self.console, auto_refresh=False) as live:
            drawing = asyncio.create_task(redraw(live))
            try:
                yield lambda _: None
            finally:
                drawing.cancel()
                drawn(live)


class PlainDisplay:
    """A line for each thing that happens."""

    def __init__(self, console: Console) -> None:
        self.console: Final = console

    @contextmanager
    def waiting(self, line: str) -> Iterator[Say]:
        self._say(line)
        yield self._say
        self._say(f"{line}: done")

    @asynccontextmanager
    async def running(
        self, title: str, requests: Sequence[Watched], total: int
    ) -> AsyncIterator[Callable[[Watched], None]]:
        self._say(f"{title} ({total} questions)")
        yield lambda answered: self.console.print(request_line(answered), soft_wrap=True)
        self._say(f"{sum(r.is_answered for r in requests)} of {total} answered")

    def alert(self, line: Text) -> None:
        self.console.print(line, soft_wrap=True)

    def _say(self, line: str) -> None:
        self.console.print(line, style="dim", markup=False, soft_wrap=True)


def display_for(*, as_json: bool) -> Display:
    """Standard output is for the JSON document alone when one is asked for; people then read standard error."""
    console = Console(stderr=as_json, highlight=False)
    return LiveDisplay(console) if console.is_terminal and not as_json else PlainDisplay(console)


def show_result(console: Console, requests: Sequence[Watched], summary: Summary) -> None:
    console.print(table(requests))
    for line in summary_lines(summary):
        console.print(line, markup=False, soft_wrap=True)
