"""What a person sees who opens a federated job on the master, in a real browser."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat
from playwright.sync_api import Browser, Page, sync_playwright

from examples.lab.layout import Lab, current_lab
from tests.real.live_bridge import Bridge, bridge, wait_for

pytestmark = [pytest.mark.real, pytest.mark.timeout(500)]

CHROMIUM = "/usr/bin/chromium"
ARTEFACTS = Path(os.environ.get("BROWSER_ARTEFACTS", "build/browser"))
"""Where the screenshots of the last run are kept."""


@pytest.fixture(scope="module")
def lab() -> Lab:
    return current_lab()


@pytest.fixture(scope="module")
def process(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    with bridge(lab, tmp_path_factory.mktemp("browser"), location="browser") as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not Path(CHROMIUM).exists():
        pytest.fail("Chromium is not installed: examples/lab/lab install --browser")
    with sync_playwright() as playwright:
        flags = [
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ]
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser, lab: Lab, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page of the master, with somebody logged in who may control jobs; what it showed last is kept."""
    context = browser.new_context(viewport={"width": 1280, "height": 1400}, base_url=lab.master.url)
    found = context.new_page()
    found.goto("/login")
    yield found
    keep(found, f"last of {request.node.name}")
    context.close()


def keep(page: Page, name: str) -> Image.Image:
    """A screenshot, kept for whoever wants to look."""
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    return _image(page.screenshot(path=ARTEFACTS / f"{name}.png"))


def live_screen(page: Page) -> Image.Image:
    """The pixels of the live view's canvas."""
    return _image(page.locator("#livestream").screenshot())


def is_a_picture(image: Image.Image) -> bool:
    """Whether there is something to see: a text console is black with some grey letters."""
    bright = image.convert("L").point(lambda value: 255 if value > 100 else 0)
    return 0.001 < ImageStat.Stat(bright).mean[0] / 255 < 0.9


def differs(one: Image.Image, other: Image.Image) -> bool:
    """Whether two pictures have other pixels."""
    return one.size != other.size or ImageChops.difference(one, other).getbbox() is not None


def test_the_live_tab_shows_screen_log_and_running_module_and_the_results_load(
    lab: Lab, process: Bridge, page: Page
) -> None:
    job = process.post("long", DURATION=60)
    process.running(job)
    page.goto(f"/tests/{job}#live")

    page.locator("#liveview-loading").wait_for(state="hidden", timeout=60_000)
    wait_for("a live screen", lambda: is_a_picture(live_screen(page)), 60, every=1)
    first = live_screen(page)
    wait_for("a live screen that changes", lambda: differs(first, live_screen(page)), 60, every=1)

    page.locator("#live-log-panel .card-header").click()
    log = page.locator("#livelog")
    wait_for(
        "a live log", lambda: "tests/part" in log.inner_text() or "line" in log.inner_text(), 60, every=1
    )
    before = log.inner_text()
    wait_for("a live log that grows", lambda: log.inner_text()[-200:] != before[-200:], 60, every=1)
    page.locator("#live-terminal-panel .card-header").click()
    terminal = page.locator("#liveterminal")
    wait_for("a serial terminal", lambda: "line" in terminal.inner_text(), 60, every=1)
    keep(page, "live")

    page.locator("[href='#details']").click()
    running = page.locator("#results .resultrunning")
    running.first.wait_for(timeout=60_000)
    assert running.count() == 1
    name = page.locator("#results tr", has=page.locator(".resultrunning")).inner_text()
    assert "part_" in name or "boot" in name
    keep(page, "running")

    process.wait_for_state(job, "done")
    page.goto(f"/tests/{job}")
    pictures = page.locator("#results .links img")
    pictures.first.wait_for(timeout=30_000)
    wait_for("thumbnails that load", lambda: _loaded(page), 30, every=1)
    assert pictures.count() > 10
    keep(page, "results")
    pictures.first.click()
    shown = page.locator("#preview_container_in")
    shown.wait_for(timeout=30_000)
    wait_for("a screenshot in full size", lambda: is_a_picture(_image(shown.screenshot())), 30, every=1)
    keep(page, "screenshot")


def test_developer_mode_pauses_opens_the_needle_editor_and_resumes(
    lab: Lab, process: Bridge, page: Page
) -> None:
    job = process.post("developer", WAIT=8)
    page.goto(f"/tests/{job}")
    process.running(job)
    page.goto(f"/tests/{job}#live")
    status = page.locator("#developer-status-info")
    wait_for("the state of the test", lambda: "current module" in status.inner_text(), 90, every=1)

    page.locator("#developer-status").click()
    choice = page.locator("#developer-pause-at-module")
    wait_for("modules to choose", lambda: "waiting" in choice.inner_text(), 30, every=1)
    choice.select_option("waiting")
    page.get_by_text("Confirm to control this test").click()
    session = page.locator("#developer-session-info")
    wait_for("a session", lambda: "owned by Demo" in session.inner_text(), 90, every=1)
    wait_for(
        "a pause at the module",
        lambda: "paused at module: tests-waiting" in status.inner_text(),
        120,
        every=1,
    )
    keep(page, "developer-paused")

    page.locator("#developer-pause-on-mismatch").select_option("assert_screen")
    page.get_by_text("Resume test execution").click()
    skip = page.get_by_text("Skip timeout")
    skip.wait_for(timeout=30_000)
    skip.click()
    appendix = page.locator("#developer-status-appendix")
    wait_for("a pause on the mismatch", lambda: "match" in appendix.inner_text(), 60, every=1)
    editor = page.get_by_text("Open needle editor")
    editor.wait_for(timeout=60_000)
    keep(page, "developer-mismatch")
    area = page.locator("#needleeditor_canvas")

    def opened() -> bool:
        page.goto(f"/tests/{job}/edit")
        return area.is_visible()

    wait_for("the needle editor", opened, 30, every=2)
    wait_for("the screen in the editor", lambda: is_a_picture(_image(area.screenshot())), 30, every=1)
    keep(page, "needle-editor")

    page.goto(f"/tests/{job}#live")
    resume = page.get_by_text("Resume test execution")
    resume.wait_for(timeout=60_000)
    resume.click()
    ended = process.wait_for_state(job, "done")
    assert ended["result"] == "passed"


def _loaded(page: Page) -> bool:
    script = "() => [...document.querySelectorAll('#results .links img')].every(img => img.naturalWidth > 0)"
    return bool(page.evaluate(script))


def _image(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png)).convert("RGB")
