"""What people do in the console, in a real Chromium, with a real Kafka and a pipeline behind it.

DESCANT_SCREENSHOTS=docs/images keeps what was seen.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import pytest_asyncio

from assertions.core.flag import CorrectionRef, FlagState
from assertions.processor.topics import FLAGS, group_topics, log_topic, shared_topics
from console.server import ConsoleServer
from console.settings import ConsoleSettings
from learning.records import LABELS, Label, VersionState
from learning.view import View, topics
from streams.runtime.process import PipelineProcess, roles_of
from streams.runtime.topics import ensure_topics
from streams.settings import KafkaSettings, PipelineSettings
from streams.testing import KafkaForTests
from tests.console.pipelines import checker
from tests.console.records import Records, flag, label_request, log_record, model_version, observation
from workers.engines.registry import create_engine
from workers.service.worker import Worker

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("there is no Chromium: apt install chromium", allow_module_level=True)
playwright = pytest.importorskip("playwright.async_api", reason="needs Playwright: pip install 'descant[dev]'")

from axe_playwright_python.async_playwright import Axe  # noqa: E402
from playwright.async_api import Browser, Page, async_playwright, expect  # noqa: E402

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.asyncio(loop_scope="module"),
]

SETTINGS = PipelineSettings(partitions=2, lanes=4)
PATIENCE_MS = 90_000
"""The machine may be busy with much else; what is waited for comes within a second on one that is not."""

FREEZE_MS = 1_000
"""Longest that one task may hold up the page while 10,000 flags come; what people call frozen begins above it."""

WATCH_TASKS = """() => {
  globalThis.longestTask = 0;
  new PerformanceObserver((list) => {
    for (const task of list.getEntries()) globalThis.longestTask = Math.max(globalThis.longestTask, task.duration);
  }).observe({ entryTypes: ["longtask"] });
}"""

expect.set_options(timeout=PATIENCE_MS)


@dataclass
class Running:
    url: str
    browser: Browser
    kafka: KafkaSettings
    records: Records
    pipeline: str
    group: str
    model: str
    problems: list[str] = field(default_factory=list)
    """What pages complained of: errors of scripts, refused resources, violations of the policy."""

    async def page(self, path: str, width: int = 1280, height: int = 800, scheme: str = "light") -> Page:
        page = await self.browser.new_page(
            viewport={"width": width, "height": height}, color_scheme="dark" if scheme == "dark" else "light"
        )
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda said: self.problems.append(said.text) if said.type == "error" else None)
        await page.goto(self.url + path)
        return page


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(kafka: KafkaForTests) -> AsyncIterator[Running]:
    settings = KafkaSettings(bootstrap=kafka.bootstrap)
    name, model, group = kafka.unique("factcheck"), kafka.unique("gemma"), kafka.unique("group")
    if "DESCANT_SCREENSHOTS" in os.environ:  # with a Kafka of its own
        name, model, group = "factcheck", "gemma-3-270m", "capital-agrees"
    ensure_topics(settings, [*shared_topics(), *group_topics(group, 1), *topics()])
    pipeline = checker(name, model)
    async with AsyncExitStack() as stack:
        engine = create_engine("simulated", {"model": model, "context": 2_048, "speed": 0.2})
        await stack.enter_async_context(Worker(engine, settings, SETTINGS))
        await stack.enter_async_context(PipelineProcess(pipeline.plan, roles_of(pipeline.plan), settings, SETTINGS))
        console = await stack.enter_async_context(
            ConsoleServer([pipeline], settings, ConsoleSettings(port=0), assertion_groups=[group])
        )
        driver = await stack.enter_async_context(async_playwright())
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        stack.push_async_callback(browser.close)
        yield Running(console.url, browser, settings, Records(kafka.bootstrap), name, group, model)


@pytest.fixture(autouse=True)
def without_complaints(running: Running) -> Iterator[None]:
    running.problems.clear()
    yield
    assert running.problems == []


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    kept = os.environ.get("DESCANT_SCREENSHOTS")
    folder = Path(kept) if kept else tmp_path
    folder.mkdir(parents=True, exist_ok=True)
    return folder


async def no_sideways_scroll(page: Page) -> None:
    wider = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wider <= 0, f"the page is {wider} px wider than the window"


async def test_a_question_is_asked_and_its_answer_is_seen_being_made(running: Running, shots: Path) -> None:
    page = await running.page("/")
    await expect(page.locator("#connection")).to_have_text("live")
    await page.fill("#ask textarea", "Tell me about <b>Bolivia</b>.")
    await page.press("#ask textarea", "Enter")
    await expect(page.locator(".request-head h2")).to_have_text("Tell me about <b>Bolivia</b>.")
    draft = page.locator(".node[data-stage=draft] .generated")
    await expect(draft).not_to_be_empty()
    await expect(page.locator(".branch").first).to_be_visible()
    await expect(page.locator(".branch .node[data-stage=verdict] .chip").first).to_be_visible()
    await page.screenshot(path=shots / "console-request.png")
    answer = page.locator(".answer")
    await expect(answer).to_be_visible()
    await expect(page.locator(".request-more .state")).to_have_text("answered")
    assert await page.locator(".branch").count() == 5  # 40 tokens in claims of eight
    assert await page.locator(".branch .node[data-stage=verify] .generated").count() == 5
    await expect(page.locator("#list li")).to_have_attribute("data-state", "answered")
    await page.reload()
    await expect(page.locator(".answer")).to_be_visible()  # the address names the request
    assert await page.locator(".branch").count() == 5
    await page.close()
    for name, width, scheme in (("console-request-phone", 360, "light"), ("console-request-dark", 1280, "dark")):
        page = await running.page("/", width, 740 if width == 360 else 800, scheme)
        await page.click("#list .row")
        await expect(page.locator(".answer")).to_be_visible()
        await no_sideways_scroll(page)
        await page.evaluate("scrollTo(0, 0)")
        await page.screenshot(path=shots / f"{name}.png")
        await page.close()


async def test_the_gateway_streams_submits_and_cancels(running: Running) -> None:
    async with httpx.AsyncClient(base_url=running.url, timeout=90) as http:
        path = f"/v1/pipelines/{running.pipeline}/requests"
        refused = await http.post(path, json={"input": {"text": ""}})
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "request.invalid")
        answer = await http.post(path, json={"input": {"text": "Peru?"}, "id": "peru"})
        assert (answer.status_code, answer.json()["id"]) == (202, "peru")
        again = await http.post(path, json={"input": {"text": "Peru?"}, "id": "peru"})
        assert again.status_code == 202
        kinds = []
        async with http.stream("GET", answer.json()["events"]) as events:
            async for line in events.aiter_lines():
                if line.startswith("data:"):
                    kinds.append(line.partition('"type":"')[2].partition('"')[0])
        assert (kinds[0], kinds[-1]) == ("request", "answer")
        assert {"text", "text-end", "item"} <= set(kinds)
        await http.post(path, json={"input": {"text": "Chile?"}, "id": "chile", "timeout_seconds": 60})
        assert (await http.delete(f"{path}/chile")).status_code == 202
        async with http.stream("GET", f"{path}/chile/events") as events:
            last = [line async for line in events.aiter_lines() if line.startswith("data:")][-1]
        assert '"code":"cancelled"' in last


async def test_a_chat_completion_runs_the_pipeline(running: Running) -> None:
    async with httpx.AsyncClient(base_url=running.url, timeout=90) as http:
        asked = {"model": running.pipeline, "messages": [{"role": "user", "content": "Chile?"}]}
        whole = (await http.post("/v1/chat/completions", json=asked)).json()
        assert whole["object"] == "chat.completion"
        assert whole["choices"][0]["message"]["content"].count(".") >= 5
        streamed = asked | {"model": f"{running.pipeline}/draft", "stream": True}
        async with http.stream("POST", "/v1/chat/completions", json=streamed) as events:
            lines = [line[6:] async for line in events.aiter_lines() if line.startswith("data: ")]
        assert lines[-1] == "[DONE]"
        assert sum('"content"' in line for line in lines) > 2
        assert '"finish_reason": "stop"' in lines[-2]


async def test_a_flag_appears_with_both_sides_of_the_contradiction(running: Running, shots: Path) -> None:
    page = await running.page("/flags")
    await expect(page.locator("#list li").first).to_be_visible()
    other = observation("r-before", "0:3", {"sentence": "The capital of Bolivia is Sucre.", "label": "supported"})
    this = {"sentence": "The capital of Bolivia is La Paz.", "label": "supported", "confidence": 0.87}
    why = "Bolivia: capital is La Paz here and Sucre elsewhere"
    name = running.group  # unique, as the topic is everybody's
    running.records.send(log_topic(running.group), "", log_record(other))
    raised = flag(
        name, "r-now", {"verdict": this}, id=f"{name}-1", why=why, severity=0.5, state=FlagState.PROVISIONAL,
        window=(other.id,), correction=CorrectionRef(kind="modify", changes={"capital": "Sucre"}),
    )  # fmt: skip
    running.records.send(FLAGS, raised.subject, raised.to_bytes())
    running.records.flush()
    row = page.locator("#list li", has_text=why)
    await expect(row).to_have_attribute("data-state", "provisional")
    data = raised.data.model_copy(update={"state": FlagState.STANDING, "revision": 2})
    running.records.send(FLAGS, raised.subject, raised.model_copy(update={"data": data}).to_bytes())
    running.records.flush()
    await expect(row).to_have_attribute("data-state", "standing")
    await row.locator("button").click()
    await expect(page.locator(".panel.this")).to_contain_text("La Paz")
    await expect(page.locator(".panel.other")).to_contain_text("The capital of Bolivia is Sucre.")
    await page.screenshot(path=shots / "console-flags.png")
    await page.close()
    page = await running.page("/flags", 360, 740)
    await expect(page.locator("#list li").first).to_be_visible()
    await no_sideways_scroll(page)
    await page.close()


async def test_ten_thousand_flags_do_not_freeze_the_page(running: Running) -> None:
    page = await running.page("/flags")
    await expect(page.locator("#list li").first).to_be_visible()
    await page.evaluate(WATCH_TASKS)
    for n in range(10_000):
        many = flag(f"{running.group}-many", f"r{n}", {"verdict": n}, id=f"{running.group}-m{n}", why=f"number {n}")
        running.records.send(FLAGS, many.subject, many.to_bytes())
        if n % 1_000 == 999:
            running.records.flush()
    await expect(page.locator("#flag-count")).to_have_text(re.compile(r"\d\d,\d{3} flags"))
    assert await page.locator("#list li").count() <= 500
    longest = await page.evaluate("longestTask")
    assert longest < FREEZE_MS, f"the page did nothing else for {longest:.0f} ms"
    await page.click("#list .row >> nth=0")
    await expect(page.locator(".panel.this")).to_be_visible()
    await page.close()


async def test_labels_are_given_by_keyboard_and_reach_the_topic(running: Running, shots: Path) -> None:
    model = running.model
    sentences = ("The capital of Bolivia is La Paz.", "Its currency is the sol.", "It borders five countries.")
    for n, sentence in enumerate(sentences):
        running.records.record(label_request(f"{model}-{n}", model, {"sentence": sentence, "confidence": 0.6}))
    running.records.flush()
    page = await running.page("/labels")
    await page.fill("#labeller", "Ada")
    await page.press("#labeller", "Tab")
    card = page.locator(".label-card")
    await expect(card).to_be_visible()
    await expect(card.locator(".headline")).to_have_text(sentences[0])
    await page.screenshot(path=shots / "console-labels.png")
    await page.keyboard.press("2")
    await expect(card.locator(".headline")).to_have_text(sentences[1])
    await page.keyboard.press("s")
    await expect(card.locator(".headline")).to_have_text(sentences[2])
    await page.keyboard.press("1")
    await expect(card.locator(".headline")).to_have_text(sentences[1])
    await page.keyboard.press("3")
    await expect(page.locator("#card")).to_contain_text("Nothing to label")
    await page.close()
    view = View(running.kafka, [LABELS])
    try:
        labels = view.catch_up().labels
        said = {n: labels.opinion(f"{model}-{n}").labels for n in range(3)}
    finally:
        view.close()
    found: dict[int, list[Label]] = {n: list(each) for n, each in said.items()}
    assert {n: [label.value for label in each] for n, each in found.items()} == {
        0: ["refuted"],
        1: ["unknown"],
        2: ["supported"],
    }
    assert {label.labeller for each in found.values() for label in each} == {"Ada"}


async def test_model_versions_and_workers_are_shown(running: Running, shots: Path) -> None:
    name = f"{running.model}-verifier"
    states = [
        (1, VersionState.RETIRED, 0.81, None),
        (2, VersionState.HELD, 0.8, -0.01),
        (3, VersionState.CURRENT, 0.88, 0.07),
    ]
    for version, state, accuracy, gain in states:
        running.records.record(model_version(name, version, state, accuracy, gain))
    running.records.flush()
    page = await running.page("/models")
    table = page.get_by_role("region", name=f"Versions of {name}")
    await expect(table.locator("tbody tr")).to_have_count(3)
    await expect(table.locator("tbody tr").first).to_contain_text("current")
    row = page.get_by_role("region", name="Assertions").locator("tr", has_text=name)
    await expect(row).to_contain_text("agrees-on-capital")
    await expect(row).to_contain_text("14.0 % → 5.0 %")
    await expect(row).to_contain_text("64.3 %")
    await table.scroll_into_view_if_needed()
    await page.screenshot(path=shots / "console-models.png")
    await page.close()
    page = await running.page("/workers")
    # Asked with the page open: a worker that is done is idle again before a page is there.
    async with httpx.AsyncClient(base_url=running.url, timeout=90) as http:
        for n in range(12):
            await http.post(f"/v1/pipelines/{running.pipeline}/requests", json={"input": {"text": f"Number {n}?"}})
    lanes = page.locator("section", has=page.get_by_role("heading", name=running.model)).locator(".lane")
    await expect(page.locator(".worker").first).to_have_attribute("data-state", "serving")
    await expect(lanes).to_have_count(SETTINGS.lanes)
    await expect(page.locator(".lane.orphan")).to_have_count(0)
    await page.screenshot(path=shots / "console-workers.png")
    await page.close()
    for path in ("/models", "/workers", "/labels"):
        page = await running.page(path, 360, 740)
        await expect(page.locator("main h1, main h2").first).to_be_visible()
        await no_sideways_scroll(page)
        await page.close()


async def have_content(running: Running) -> None:
    raised = flag(
        f"{running.group}-seen", "r1", {"verdict": "La Paz"}, id=f"{running.group}-seen", why="La Paz, not Sucre"
    )
    running.records.send(FLAGS, raised.subject, raised.to_bytes())
    running.records.record(label_request(f"{running.model}-seen", running.model, {"sentence": "It is high up."}))
    running.records.record(model_version(f"{running.model}-seen", 1, VersionState.CURRENT, 0.9, 0.1))
    running.records.flush()
    async with httpx.AsyncClient(base_url=running.url, timeout=90) as http:
        path = f"/v1/pipelines/{running.pipeline}/requests"
        await http.post(path, json={"input": {"text": "Seen by axe?"}, "id": "seen-by-axe"})
        async with http.stream("GET", f"{path}/seen-by-axe/events") as events:
            async for _ in events.aiter_lines():
                pass  # until it is answered


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
async def test_every_page_is_clean_to_axe(running: Running, width: int, scheme: str, shots: Path) -> None:
    """No violation of WCAG 2.2 A or AA, and none of axe's best practices, with content on the page."""
    await have_content(running)
    for name, path in (
        ("request", "/"),
        ("flags", "/flags"),
        ("labels", "/labels"),
        ("models", "/models"),
        ("workers", "/workers"),
    ):
        page = await running.page(path, width, 740 if width == 360 else 800, scheme)
        await expect(page.locator("main h1, main h2").first).to_be_visible()
        if path in ("/", "/flags"):
            await page.locator("#list .row").first.click()
            await expect(page.locator("#request h2, #flag h2").first).to_be_visible()
        await page.wait_for_timeout(500)  # what fades in has its colours
        found = await Axe().run(page)
        assert not found.response["violations"], f"{path} {width} {scheme}\n{found.generate_report()}"
        await no_sideways_scroll(page)
        await page.evaluate("scrollTo(0, 0)")
        kind = ("phone" if width == 360 else "wide") + ("-dark" if scheme == "dark" else "")
        await page.screenshot(path=shots / f"console-{name}-{kind}.png")
        await page.close()


async def test_the_openai_client_streams_and_asks(running: Running) -> None:
    async with openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key="none", timeout=90) as client:
        assert running.pipeline in [model.id async for model in client.models.list()]
        asked: Any = [{"role": "user", "content": "Tell me about Peru."}]
        whole = await client.chat.completions.create(model=running.pipeline, messages=asked)
        assert whole.choices[0].message.content
        assert whole.choices[0].finish_reason == "stop"
        stream = await client.chat.completions.create(model=f"{running.pipeline}/draft", messages=asked, stream=True)
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
        assert len("".join(pieces).split()) == 40
        assert len(pieces) > 5, "the text came at once"
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.create(model="nobody", messages=asked)


async def test_a_request_is_cancelled_on_the_page(running: Running) -> None:
    page = await running.page("/")
    await page.fill("#ask textarea", "Tell me about Ecuador.")
    await page.press("#ask textarea", "Enter")
    await expect(page.locator(".request-head h2")).to_have_text("Tell me about Ecuador.")
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.locator(".request-more .state")).to_have_text("cancelled")
    await page.close()
