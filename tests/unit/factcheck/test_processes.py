from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from examples.factcheck.processes import ChildError, Command, Processes, worker_command
from streams.errors import ConfigError

READY = """print('{"event": "ready"}', flush=True)"""
STAY = "import signal; signal.pause()"


def python(name: str, *lines: str) -> Command:
    return Command(name, (sys.executable, "-c", "\n".join(lines)))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except FileNotFoundError:
        return False


def ends_within(seconds: float, pidfd: int) -> bool:
    """Whether the process has ended by then; a pidfd can be read from that moment on."""
    return bool(select.select([pidfd], [], [], seconds)[0])


async def test_it_waits_for_every_child_and_leaves_none() -> None:
    seen: list[tuple[str, int, int]] = []
    async with Processes() as children:
        await children.start(
            [python("a", READY, STAY), python("b", "print('loading')", READY, STAY)], lambda *a: seen.append(a)
        )
        pids = [child.process.pid for child in children._children]
        assert all(map(is_alive, pids))
    assert sorted(name for name, _, _ in seen) == ["a", "b"]
    assert [(done, of) for _, done, of in seen] == [(1, 2), (2, 2)]
    assert not any(map(is_alive, pids))


async def test_a_child_that_ends_instead_is_told_with_its_last_words() -> None:
    async with Processes() as children:
        with pytest.raises(ChildError, match=r"'b' ended with status 3.*no such topic"):
            await children.start(
                [
                    python("a", READY, STAY),
                    python("b", "import sys", "sys.stderr.write('no such topic')", "sys.exit(3)"),
                ]
            )


async def test_a_child_that_ends_later_is_noticed() -> None:
    async with Processes() as children:
        await children.start([python("a", READY, STAY), python("b", READY, STAY)])
        os.kill(children._children[1].process.pid, signal.SIGKILL)
        with pytest.raises(ChildError, match="'b' ended"):
            await children.watch()


async def test_children_that_do_not_listen_are_ended_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("examples.factcheck.processes.STOP_SECONDS_MAX", 0.2)
    deaf = python("deaf", "import signal", "signal.signal(signal.SIGTERM, signal.SIG_IGN)", READY, "signal.pause()")
    async with Processes() as children:
        await children.start([deaf])
        pids = [child.process.pid for child in children._children]
    assert not any(map(is_alive, pids))


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
async def test_no_child_outlives_a_starter_that_is_interrupted_or_killed(end: signal.Signals) -> None:
    script = textwrap.dedent(f"""
        import asyncio
        from examples.factcheck.processes import Command, Processes
        import sys
        async def main():
            async with Processes() as children:
                commands = [Command(n, (sys.executable, "-c", {READY + chr(10) + STAY!r})) for n in "ab"]
                await children.start(commands)
                print(*(child.process.pid for child in children._children), flush=True)
                await children.watch()
        asyncio.run(main())
    """)
    starter = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0
    )
    assert starter.stdout is not None
    pids = [int(word) for word in (await starter.stdout.readline()).split()]
    pidfds = [os.pidfd_open(pid) for pid in pids]
    assert len(pidfds) == 2
    starter.send_signal(end)
    await starter.communicate()
    assert all(ends_within(10, pidfd) for pidfd in pidfds)
    for pidfd in pidfds:
        os.close(pidfd)


def test_an_engine_that_the_demo_cannot_start_is_refused() -> None:
    with pytest.raises(ConfigError, match="llamacpp, openai, vllm"):
        worker_command("simulated", "m", "localhost:9092")


def test_vllm_runs_under_the_python_of_its_own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    with pytest.raises(ConfigError, match=r"make vllm-env.*--worker-python"):
        worker_command("vllm", "m", "localhost:9092")
    apart = tmp_path / ".venv-vllm" / "bin" / "python"
    apart.parent.mkdir(parents=True)
    apart.touch()
    assert worker_command("vllm", "m", "localhost:9092").arguments[0] == str(apart)
    assert worker_command("vllm", "m", "localhost:9092", tmp_path / "python").arguments[0] == str(tmp_path / "python")
