"""The demo's child processes: one per stage, with ingress, closer and a model worker, none of which outlives it.

All of them are in one process group, whose leader is a small shell that reads a pipe held by this process. However
this process ends, the pipe closes and the leader ends the group. Ctrl-C at a terminal reaches only the demo, which
then stops its children in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from streams.errors import ConfigError, DescantError

# A worker may first write a model of 242 MB to the cache, on a machine that is busy starting everything else.
READY_SECONDS_MAX: Final = 180.0
# What a stage has to do at its end (commit, leave its group) takes less than a second; a generation is cut off.
STOP_SECONDS_MAX: Final = 8.0
LINES_KEPT: Final = 40

# The group outlives a starter that was killed for at most two seconds.
_LEADER: Final = "trap '' TERM INT HUP; read -r word; kill -TERM 0; sleep 2; kill -KILL 0"

T = TypeVar("T")

ENGINE_COMMANDS: Final = ("llamacpp", "openai", "vllm")
# Beside this environment, as `make vllm-env` makes it.
VLLM_ENVIRONMENT: Final = ".venv-vllm"


class ChildError(DescantError):
    """A child process ended that should run."""

    code = "demo.process"


@dataclass(frozen=True, slots=True)
class Command:
    """A child that says `{"event": "ready"}` on a line of its own when it is."""

    name: str
    arguments: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()


def stage_commands(pipeline: str, roles: Sequence[str], bootstrap: str) -> list[Command]:
    """One process a role: each stage, ingress, closer."""
    return [
        Command(role, (*_descant(), "run", pipeline, "--stage", role, "--bootstrap", bootstrap, "--json"))
        for role in roles
    ]


def worker_command(engine: str, model: str, bootstrap: str, python: Path | None = None) -> Command:
    """A model worker, under `python` where it is named. Raises ConfigError for an engine that the demo cannot start."""
    if engine not in ENGINE_COMMANDS:
        raise ConfigError(
            f"the demo has no engine {engine!r}; it has {', '.join(ENGINE_COMMANDS)}.", code="demo.engine"
        )
    descant = _descant(str(python or _python_for(engine)))
    arguments = (*descant, "worker", "--engine", engine, "--model", model, "--bootstrap", bootstrap, "--json")
    return Command(f"worker ({engine})", arguments)


def pipeline_command(pipeline: str, bootstrap: str) -> Command:
    """All roles in one process."""
    return Command("pipeline", (*_descant(), "run", pipeline, "--bootstrap", bootstrap, "--json"))


def learn_command(what: str, recipe: str, bootstrap: str) -> Command:
    """`descant learn choose` or `run`."""
    return Command(f"learn {what}", (*_descant(), "learn", what, recipe, "--bootstrap", bootstrap, "--json"))


def assertions_command(module: str, bootstrap: str) -> Command:
    """The processors of a module's assertions, in a group of their own that starts with what comes from now on."""
    arguments = (*_descant(), "assertions", "run", module, "--group", "demo", "--bootstrap", bootstrap, "--json")
    return Command("assertions", arguments)


def _python_for(engine: str) -> Path:
    """This interpreter, but for vLLM, which cannot live beside the rest, that of the environment made for it."""
    if engine != "vllm" or find_spec("vllm") is not None:
        return Path(sys.executable)
    apart = Path(sys.prefix).with_name(VLLM_ENVIRONMENT) / "bin" / "python"
    if not apart.exists():
        raise ConfigError(
            f"vLLM is not installed here, and there is no {apart}. Make that environment by `make vllm-env` (5.8 GB), "
            "or name the Python that has vLLM and Descant: --worker-python PATH.",
            code="demo.vllm_missing",
        )
    return apart


def _descant(python: str = sys.executable) -> tuple[str, ...]:
    # The `descant` beside this interpreter need not be on the PATH, nor be ours if one is.
    return python, "-c", "from streams.cli import main; main()"


@dataclass(slots=True)
class Child:
    name: str
    process: asyncio.subprocess.Process
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    said: deque[str] = field(default_factory=lambda: deque(maxlen=LINES_KEPT))
    """Its last lines, of both outputs."""
    readers: tuple[asyncio.Task[None], ...] = ()


class Processes:
    """`async with Processes() as children: await children.start(commands, on_ready)`; none is left afterwards."""

    def __init__(self) -> None:
        self._leader: asyncio.subprocess.Process | None = None
        self._children: list[Child] = []

    async def __aenter__(self) -> Self:
        self._leader = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", _LEADER, stdin=asyncio.subprocess.PIPE, process_group=0
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        # A second Ctrl-C must not leave the rest running: ending them is bounded in time anyway.
        held = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            await self._stop()
        finally:
            for number, handler in held.items():
                signal.signal(number, handler)

    async def start(
        self, commands: Sequence[Command], on_ready: Callable[[str, int, int], None] = lambda *_: None
    ) -> None:
        """Start them all and return when every one is ready; `on_ready` gets a name, how many are, and how many of all.

        Raises ChildError with its last lines when one ends, or is not ready in time.
        """
        started = [await self._spawn(command) for command in commands]
        deadline = time.monotonic() + READY_SECONDS_MAX
        waiting = {asyncio.create_task(child.ready.wait()): child for child in started}
        ended = asyncio.create_task(self.first_end())
        try:
            while waiting:
                left = deadline - time.monotonic()
                done, _ = await asyncio.wait({*waiting, ended}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if ended in done:
                    raise _ended(ended.result())
                if not done:
                    raise _late(next(iter(waiting.values())))
                for task in done:
                    child = waiting.pop(task)  # type: ignore[arg-type]
                    on_ready(child.name, len(started) - len(waiting), len(started))
        finally:
            for task in (*waiting, ended):
                task.cancel()

    async def watch(self) -> None:
        """Return never; raises ChildError when a child ends."""
        raise _ended(await self.first_end())

    async def first_end(self) -> Child:
        tasks = {asyncio.create_task(child.process.wait()): child for child in self._children}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
        child = tasks[next(iter(done))]
        await asyncio.wait(child.readers, timeout=1.0)  # its last words
        return child

    async def _spawn(self, command: Command) -> Child:
        if self._leader is None:
            raise RuntimeError("Processes is used outside of its `async with` block")
        process = await asyncio.create_subprocess_exec(
            *command.arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            process_group=self._leader.pid,
            env={**os.environ, **dict(command.environment)},
        )
        child = Child(command.name, process)
        self._children.append(child)
        child.readers = tuple(
            asyncio.create_task(_read(stream, child)) for stream in (process.stdout, process.stderr) if stream
        )
        return child

    async def _stop(self) -> None:
        for child in self._children:
            with contextlib.suppress(ProcessLookupError):
                child.process.terminate()
        ends = [asyncio.create_task(child.process.wait()) for child in self._children]
        if ends:
            await asyncio.wait(ends, timeout=STOP_SECONDS_MAX)
        if self._leader is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._leader.pid, signal.SIGKILL)
            await self._leader.wait()
        if ends:
            await asyncio.wait(ends)
        for child in self._children:
            await asyncio.gather(*child.readers, return_exceptions=True)


async def unless_a_child_ends(work: Coroutine[Any, Any, T], children: Processes) -> T:
    """The work's result. Raises ChildError as soon as a child ends, whatever the work then waits for."""
    working, watching = asyncio.create_task(work), asyncio.create_task(children.watch())
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if watching.done() and not working.done():
            await watching
        return await working
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _read(stream: asyncio.StreamReader, child: Child) -> None:
    while True:
        try:
            line = await stream.readline()
        except ValueError:  # longer than the reader's limit, which no line of ours is
            continue
        if not line:
            return
        text = line.decode(errors="replace").rstrip()
        if not child.ready.is_set() and _is_ready(text):
            child.ready.set()
        else:
            child.said.append(text)


def _is_ready(line: str) -> bool:
    try:
        said = json.loads(line)
    except ValueError:
        return False
    return isinstance(said, dict) and said.get("event") == "ready"


def _ended(child: Child) -> ChildError:
    return ChildError(
        f"the process of {child.name!r} ended with status {child.process.returncode}. It said: {_words(child)}"
    )


def _late(child: Child) -> ChildError:
    return ChildError(
        f"the process of {child.name!r} was not ready after {READY_SECONDS_MAX:.0f} s. It said: {_words(child)}"
    )


def _words(child: Child) -> str:
    return " / ".join(line for line in list(child.said)[-6:] if line) or "nothing"
