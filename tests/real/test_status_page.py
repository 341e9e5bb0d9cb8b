"""The status page in a real browser: it shows what it should, refreshes itself, and loads nothing else."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.async_api import async_playwright

from examples.lab.packages import BROWSER_PACKAGES, install
from pseudoworker.observe.metrics import Metrics
from pseudoworker.observe.page import REFRESH, serve_status
from pseudoworker.observe.snapshot import ProcessSnapshot, SlotSnapshot

pytestmark = pytest.mark.real

SCREENSHOT = Path(__file__).parents[2] / "build/screenshots/status-page.png"


def _snapshot() -> ProcessSnapshot:
    now = time.time()
    slots = (
        SlotSnapshot(
            1,
            11,
            "working",
            master_job=42,
            master_url="http://127.0.0.1:21000/tests/42",
            slave_job=17,
            slave_url="http://127.0.0.1:22000/tests/17",
            phase="running",
            module="<b>boot</b>",
            module_index=3,
            module_count=17,
            bytes_relayed=5_200_000,
            since=now - 65,
        ),
        SlotSnapshot(2, 12, "free", since=now - 7200),
        SlotSnapshot(3, 13, "broken", reason="no idle worker of class qemu_x86_64 on the slave (2 in all)"),
        SlotSnapshot(4, None, "offline", reason="the master does not answer", since=now - 9),
    )
    return ProcessSnapshot(
        4711,
        now - 90_000,
        "0.1.0",
        "http://127.0.0.1:21000",
        "http://127.0.0.1:22000",
        slots,
        {"jobs_passed": 40},
    )


@pytest.fixture
def browser_path() -> str:
    install(BROWSER_PACKAGES)
    return "/usr/bin/chromium"


async def test_the_page_in_a_browser(browser_path: str) -> None:
    snapshot = _snapshot()
    async with (
        serve_status("127.0.0.1:0", Metrics(), lambda: snapshot) as port,
        async_playwright() as playwright,
    ):
        browser = await playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = await browser.new_page(viewport={"width": 1100, "height": 420})
        requests: list[str] = []
        complaints: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(f"http://127.0.0.1:{port}/")

        assert await page.title() == "pseudoworker: 1 free, 1 working, 1 broken, 1 offline"
        rows = [await row.inner_text() for row in await page.locator("tbody tr").all()]
        assert [row.split("\t")[:4] for row in rows] == [
            ["1", "working", "42", "17"],
            ["2", "free", "", ""],
            ["3", "broken", "", ""],
            ["4", "offline", "", ""],
        ]
        assert "<b>boot</b> 3/17" in rows[0]
        assert "5.2 MB" in rows[0]
        assert await page.get_by_role("link", name="17", exact=True).get_attribute("href") == (
            "http://127.0.0.1:22000/tests/17"
        )
        colours = {
            await state.evaluate("element => getComputedStyle(element).backgroundColor")
            for state in await page.locator(".state").all()
        }
        assert len(colours) == 4, "each state has a colour of its own: the style is applied"
        SCREENSHOT.parent.mkdir(parents=True, exist_ok=True)
        await page.screenshot(path=SCREENSHOT)

        # nobody touches it, and it shows what is new
        snapshot = replace(snapshot, slots=(replace(snapshot.slots[0], module="shutdown", module_index=17),))
        await page.get_by_text("shutdown 17/17").wait_for(timeout=REFRESH * 1000 + 20_000)
        assert await page.title() == "pseudoworker: 1 working"
        await browser.close()
    assert complaints == []
    assert {url for url in requests if not url.endswith("/favicon.ico")} == {f"http://127.0.0.1:{port}/"}
