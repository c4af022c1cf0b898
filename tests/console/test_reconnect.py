"""A page stays open while the broker is killed and comes back."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import AsyncExitStack

import pytest

from console.server import ConsoleServer
from console.settings import ConsoleSettings
from streams.broker import EmbeddedKafka
from streams.runtime.process import PipelineProcess, roles_of
from streams.settings import KafkaSettings, PipelineSettings
from tests.console.pipelines import checker
from workers.engines.registry import create_engine
from workers.service.worker import Worker

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("there is no Chromium: apt install chromium", allow_module_level=True)
pytest.importorskip("playwright.async_api", reason="needs Playwright: pip install 'descant[dev]'")

from playwright.async_api import Page, async_playwright, expect  # noqa: E402

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]

SETTINGS = PipelineSettings(partitions=2, lanes=2)
PATIENCE_MS = 120_000


async def ask(page: Page, question: str) -> None:
    await page.fill("#ask textarea", question)
    await page.press("#ask textarea", "Enter")
    await expect(page.locator(".request-head h2")).to_have_text(question, timeout=PATIENCE_MS)
    await expect(page.locator(".request-more .state")).to_have_text("answered", timeout=PATIENCE_MS)


async def test_a_page_goes_on_when_the_broker_comes_back() -> None:
    async with AsyncExitStack() as stack:
        broker = stack.enter_context(EmbeddedKafka())
        kafka = KafkaSettings(bootstrap=broker.bootstrap)
        pipeline = checker("factcheck", "gemma")
        engine = create_engine("simulated", {"model": "gemma", "context": 2_048})
        await stack.enter_async_context(Worker(engine, kafka, SETTINGS))
        await stack.enter_async_context(PipelineProcess(pipeline.plan, roles_of(pipeline.plan), kafka, SETTINGS))
        console = await stack.enter_async_context(ConsoleServer([pipeline], kafka, ConsoleSettings(port=0)))
        driver = await stack.enter_async_context(async_playwright())
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        stack.push_async_callback(browser.close)
        page = await browser.new_page()
        await page.goto(console.url)
        await expect(page.locator("#connection")).to_have_text("live", timeout=PATIENCE_MS)
        await ask(page, "Before the kill?")
        await asyncio.to_thread(broker.kill)
        await asyncio.sleep(3)
        await asyncio.to_thread(broker.start)
        await ask(page, "And after it?")
        assert await page.locator("#list li").count() == 2
        await page.reload()
        await expect(page.locator("#list li")).to_have_count(2, timeout=PATIENCE_MS)
