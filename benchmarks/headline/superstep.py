"""The peer: LangGraph runs the same graph over the same engines. Each stage is a node, each claim a Send.

`python -m benchmarks.headline.superstep JOB_JSON` prints the outcome as one JSON object. LangGraph runs a graph in
supersteps: a node's next ones start when all nodes of its step have ended. Engines are asked in turn.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import operator
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, Any, Final, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send

from benchmarks.headline import prompts
from benchmarks.headline.load import Outcome, one_by_one, open_loop
from benchmarks.headline.serve import LINE_BYTES_MAX
from benchmarks.headline.workload import Ask, Workload

Generate = Callable[[str, float], Awaitable[str]]


class State(TypedDict):
    ask: Ask
    began: float
    draft: str
    verdicts: Annotated[list[tuple[int, str]], operator.add]
    report: str


class Branch(TypedDict):
    """What a claim's nodes are sent."""

    ask: Ask
    began: float
    index: int
    claim: str
    evidence: str


def graph(generate: Generate) -> Any:
    """Compiled, as one would write it: no checkpointer, all nodes asynchronous."""

    async def draft(state: State) -> dict[str, object]:
        return {"draft": await generate(prompts.draft_prompt(state["ask"]), state["began"])}

    def claims(state: State) -> list[Send]:
        ask = state["ask"]
        return [
            Send("query", Branch(ask=ask, began=state["began"], index=i, evidence="",
                                 claim=prompts.claim_text(state["draft"], ask, i)))
            for i in range(len(ask.claims))
        ]  # fmt: skip

    async def query(branch: Branch) -> Command[str]:
        await generate(prompts.query_prompt(branch["claim"], branch["ask"].claims[branch["index"]]), branch["began"])
        return Command(goto=Send("retrieve", branch))

    async def retrieve(branch: Branch) -> Command[str]:
        plan = branch["ask"].claims[branch["index"]]
        await asyncio.sleep(plan.retrieve_seconds)
        found = prompts.evidence(branch["ask"].salt, branch["index"], plan)
        return Command(goto=Send("verify", {**branch, "evidence": found}))

    async def verify(branch: Branch) -> dict[str, object]:
        ask, index = branch["ask"], branch["index"]
        prompt = prompts.verify_prompt(ask.document, branch["claim"], branch["evidence"], ask.claims[index])
        return {"verdicts": [(index, prompts.verdict_of(await generate(prompt, branch["began"])))]}

    async def report(state: State) -> dict[str, object]:
        verdicts = [text for _, text in sorted(state["verdicts"])]
        return {"report": await generate(prompts.report_prompt(state["ask"], verdicts), state["began"])}

    built = StateGraph(State)
    for node in (draft, query, retrieve, verify, report):
        built.add_node(node.__name__, node)
    built.add_edge(START, "draft")
    built.add_conditional_edges("draft", claims, ["query"])
    built.add_edge("verify", "report")
    built.add_edge("report", END)
    return built.compile()


class Engines:
    """Connections to the engine processes, one for each text under way; whose turn it is comes first."""

    def __init__(self, ports: list[int]) -> None:
        self._idle: Final[dict[int, list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]] = {p: [] for p in ports}
        self._turns: Final = itertools.cycle(ports)

    async def generate(self, prompt: str, began: float) -> str:
        port = next(self._turns)
        idle = self._idle[port]
        link = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port, limit=LINE_BYTES_MAX)
        reader, writer = link
        writer.write(json.dumps({"prompt": prompt, "priority": began}).encode() + b"\n")
        answer = json.loads(await reader.readline())
        idle.append(link)
        return str(answer["text"])


async def run(job: dict[str, Any]) -> dict[str, object]:
    compiled = graph(Engines(job["ports"]).generate)

    async def ask(request: Ask) -> None:
        result = await compiled.ainvoke({"ask": request, "began": time.time(), "verdicts": []})
        if len(result["verdicts"]) != len(request.claims) or not result["report"]:
            raise ValueError("the graph did not run as a whole")

    speed, salt = job["speed"], job["salt"]
    workload = Workload(prompts.SIZES, job["seed"], job["document"], speed)
    if job["rate"] is None:
        asks = list(itertools.islice(workload.requests(salt), job["requests"]))
        return asdict(Outcome(await one_by_one(asks, ask, speed=speed), 0, 0))
    plan = workload.arrivals(salt, rate=job["rate"], seconds=job["seconds"])
    return asdict(await open_loop(plan, ask, speed=speed, drain_seconds=job["drain_seconds"]))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(json.loads(sys.argv[1])))))
