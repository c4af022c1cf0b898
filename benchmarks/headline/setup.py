"""What runs: Kafka, engine processes, the processes of the pipeline for both routing policies, and a client of each."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Collection, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from benchmarks.headline import dummy_llama, figures
from benchmarks.headline.early import early, prefetching
from benchmarks.headline.load import Asked, Outcome, one_by_one, open_loop
from benchmarks.headline.pipeline import MODEL, by_turns, routed
from benchmarks.headline.processes import Processes, free_port, machine_seconds, process_cpu_seconds
from benchmarks.headline.workload import Ask, Sizes, Workload
from benchmarks.routing.dummy import SHARED_SETTINGS
from streams import Pipeline
from streams.broker import EmbeddedKafka
from streams.client import Client
from streams.errors import BrokerError
from streams.settings import KafkaSettings

T = TypeVar("T")

READY_SECONDS: Final = 400.0
"""A model on vLLM may compile for minutes."""
CONNECT_SECONDS: Final = 60.0
GPU_RESERVE_BYTES: Final = 3 << 30
"""Of a GPU engine's share, beside weights and KV cache: activations, CUDA graphs, libraries."""
KV_BYTES_ON_CPU: Final = 512 << 20
CONTEXT: Final = 16_384

ROUND_ROBIN: Final = "round_robin"
DESCANT: Final = "descant"


@dataclass(frozen=True, slots=True)
class Arm:
    """How a request is answered."""

    pipeline: Pipeline
    reference: str
    """MODULE:PIPELINE, for `descant run`."""
    policy: str
    stream: bool


_PIPELINE: Final = "benchmarks.headline.pipeline"
_EARLY: Final = "benchmarks.headline.early"
DESCANT_ARMS: Final = {
    figures.BASELINE: Arm(by_turns, f"{_PIPELINE}:by_turns", ROUND_ROBIN, stream=False),
    figures.STREAMING: Arm(by_turns, f"{_PIPELINE}:by_turns", ROUND_ROBIN, stream=True),
    figures.ROUTING: Arm(routed, f"{_PIPELINE}:routed", DESCANT, stream=False),
    figures.BOTH: Arm(routed, f"{_PIPELINE}:routed", DESCANT, stream=True),
    figures.EARLY: Arm(early, f"{_EARLY}:early", DESCANT, stream=True),
    figures.PREFETCH: Arm(prefetching, f"{_EARLY}:prefetching", DESCANT, stream=True),
}


@dataclass(frozen=True, slots=True)
class Machine:
    """How the system under test is made."""

    engine: str
    workers: int
    model_size: str
    gpu_memory_fraction: float
    engine_args: Mapping[str, Any]
    speed: float
    scale: float
    stage_processes: int
    bootstrap: str | None

    @property
    def sizes(self) -> Sizes:
        return Sizes().scaled(self.scale)


@contextmanager
def kafka(bootstrap: str | None) -> Iterator[tuple[str, int | None]]:
    """(bootstrap servers, pid of the broker if it is ours)."""
    if bootstrap is not None:
        yield bootstrap, None
        return
    with EmbeddedKafka() as broker:
        yield broker.bootstrap, broker.pid


class Setup:
    """`async with Setup(machine) as setup`: everything is ready when it is entered."""

    def __init__(self, machine: Machine, arms: Collection[str]) -> None:
        """Runs what these arms need; the baseline is always among them."""
        self._machine: Final = machine
        self._arms: Final = {
            name: arm for name, arm in DESCANT_ARMS.items() if name in arms or name == figures.BASELINE
        }
        self._stack: Final = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            await self._enter()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def _enter(self) -> None:
        machine, stack = self._machine, self._stack
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="descant-headline-")))
        self._bootstrap, self._broker_pid = stack.enter_context(kafka(machine.bootstrap))
        self._processes = stack.enter_context(Processes(folder))
        self._ports = [free_port() for _ in range(machine.workers)]
        settings = json.dumps(engine_settings(machine, folder))
        common = {
            "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "DESCANT_LANES": str(machine.workers),
            "DESCANT_PARTITIONS": str(max(2, 2 * machine.stage_processes)),
            "HEADLINE_SCALE": str(machine.scale),
        }
        self._environment = common
        for number, port in enumerate(self._ports):
            serve = [sys.executable, "-m", "benchmarks.headline.serve", machine.engine, settings]
            self._processes.start(f"engine {number}", [*serve, self._bootstrap, str(port)], common)
        descant = [sys.executable, "-c", "from streams.cli import main; main()", "run"]
        for reference, policy in dict.fromkeys((arm.reference, arm.policy) for arm in self._arms.values()):
            for number in range(machine.stage_processes):
                command = [*descant, reference, "--bootstrap", self._bootstrap, "--json"]
                name = f"stages {reference.partition(':')[2]} {number}"
                self._processes.start(name, command, {**common, "DESCANT_ROUTING": policy})
        await asyncio.to_thread(self._processes.wait_ready, READY_SECONDS)
        self._clients = {
            pipeline.name: await stack.enter_async_context(self._connected(pipeline))
            for pipeline in dict.fromkeys(arm.pipeline for arm in self._arms.values())
        }

    @asynccontextmanager
    async def _connected(self, pipeline: Pipeline) -> AsyncIterator[Client]:
        """On a machine that is very busy a broker knows new topics some seconds after they were made."""
        ends_at = time.monotonic() + CONNECT_SECONDS
        while True:
            client = Client(pipeline, KafkaSettings(bootstrap=self._bootstrap))
            try:
                await client.__aenter__()
                break
            except BrokerError as error:
                if error.code != "broker.topic" or time.monotonic() > ends_at:
                    raise
                await asyncio.sleep(0.5)
        try:
            yield client
        finally:
            await client.__aexit__(None, None, None)

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    # -- loads -----------------------------------------------------------------------------------------------------

    def asked(self, arm: str) -> Asked:
        how = self._arms[arm]
        client, stream = self._clients[how.pipeline.name], how.stream

        async def ask(request: Ask) -> None:
            await (await client.submit(request, id=request.salt, stream=stream)).answer()

        return ask

    async def loaded(
        self, arm: str, workload: Workload, salt: str, *, rate: float, seconds: float, drain_seconds: float
    ) -> Outcome:
        """One point of a curve."""
        if arm == figures.LANGGRAPH:
            return await self._superstep(workload, salt, rate=rate, seconds=seconds, drain_seconds=drain_seconds)
        plan = workload.arrivals(salt, rate=rate, seconds=seconds)
        load = open_loop(plan, self.asked(arm), speed=workload.speed, drain_seconds=drain_seconds)
        return await self._while_alive(load)

    async def idle(self, arm: str, workload: Workload, salt: str, requests: int) -> list[float]:
        """Latencies of requests that never meet."""
        if arm == figures.LANGGRAPH:
            return (await self._superstep(workload, salt, rate=None, requests=requests)).latencies
        asks = list(itertools.islice(workload.requests(salt), requests))
        return await self._while_alive(one_by_one(asks, self.asked(arm), speed=workload.speed))

    async def _while_alive(self, work: Coroutine[Any, Any, T]) -> T:
        """Raises ProcessError as soon as a process has ended: its requests would be waited for in vain."""
        task = asyncio.create_task(work)
        try:
            while not task.done():
                await asyncio.wait([task], timeout=1.0)
                self.check()
            return task.result()
        finally:
            task.cancel()

    async def _superstep(self, workload: Workload, salt: str, **how: Any) -> Outcome:
        """LangGraph in a process of its own."""
        job = {"ports": self._ports, "seed": workload.seed, "document": workload.document, "speed": workload.speed,
               "salt": salt, **how}  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.headline.superstep", json.dumps(job),
            stdout=asyncio.subprocess.PIPE, env={**os.environ, **self._environment},
        )  # fmt: skip
        said, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"LangGraph's process ended with status {process.returncode}; see above")
        return Outcome(**json.loads(said.splitlines()[-1]))

    # -- what it costs ---------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raises ProcessError when a process has ended."""
        self._processes.check()

    def cpu(self) -> dict[str, float]:
        """CPU seconds so far: of each process of ours, of Kafka where it is ours, and of the whole machine."""
        busy, everything = machine_seconds()
        found = {**self._processes.cpu_seconds(), "load": process_cpu_seconds(os.getpid())}
        if self._broker_pid is not None:
            found["kafka"] = process_cpu_seconds(self._broker_pid)
        return {**found, "machine busy": busy, "machine all": everything}

    async def counts(self) -> dict[str, float]:
        """Totals of all engines."""
        total: dict[str, float] = {}
        for port in self._ports:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b'{"counts": true}\n')
            for name, value in json.loads(await reader.readline()).items():
                total[name] = total.get(name, 0) + value
            writer.close()
        return total


def engine_settings(machine: Machine, folder: Path) -> dict[str, Any]:
    """Of each engine process, for the registry of engines."""
    if machine.engine == "simulated":
        return {"model": MODEL, "speed": machine.speed, "salt": "run", **machine.engine_args}
    path = dummy_llama.write(folder / "model", machine.model_size)
    arguments = {**SHARED_SETTINGS, **_on_gpu_or_cpu(machine), **machine.engine_args}
    return {"model": MODEL, "path": str(path), "context": CONTEXT, "parallel": 256, "engine_args": arguments}


def _on_gpu_or_cpu(machine: Machine) -> dict[str, Any]:
    """The size of the KV cache is said: measuring it, as vLLM does, fails when several engines start on one GPU."""
    total = gpu_memory_bytes()
    if total is None:
        return {"kv_cache_memory_bytes": KV_BYTES_ON_CPU}
    left = int(total * machine.gpu_memory_fraction) - dummy_llama.weight_bytes(machine.model_size) - GPU_RESERVE_BYTES
    if left < CONTEXT * dummy_llama.kv_bytes_per_token(machine.model_size):
        raise ValueError(
            f"a {machine.model_size} model leaves no room for one context of {CONTEXT} tokens in "
            f"{machine.gpu_memory_fraction} of the GPU: raise --gpu-memory-fraction or take fewer --workers."
        )
    return {
        "gpu_memory_utilization": machine.gpu_memory_fraction,
        "kv_cache_memory_bytes": left,
        # A start in seconds instead of minutes; a step costs the same but for what fusing would save.
        "compilation_config": {"mode": 0, "cudagraph_mode": "FULL_DECODE_ONLY"},
    }


def gpu_memory_bytes() -> int | None:
    """Of the first GPU; None without one."""
    said = asked_of_driver("memory.total")
    return None if said is None else int(said.split("\n")[0].split()[0]) << 20


def asked_of_driver(field: str) -> str | None:
    """What nvidia-smi says, a line for each GPU; None without a GPU."""
    return said_by("nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader,nounits")


def said_by(*command: str) -> str | None:
    """What a program says; None where it says nothing, or is not here."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or None
    except OSError:
        return None
