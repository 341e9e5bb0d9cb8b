"""Asking the slave where the scripts of a job's modules stand (see `pseudoworker.slave.scripts` for the
sources)."""

import asyncio
import logging
from collections.abc import Collection, Mapping

from pseudoworker.openqa.client import Client
from pseudoworker.openqa.errors import OpenQAError
from pseudoworker.openqa.retry import PROBE
from pseudoworker.openqa.states import FINAL_STATES, UPLOADING
from pseudoworker.openqa.views import JobView
from pseudoworker.slave.files import file_path, is_safe
from pseudoworker.slave.live import LiveSource
from pseudoworker.slave.scripts import LogScripts, complete, script_on_page, scripts_in

log = logging.getLogger(__name__)

_LOG_HEAD = 4 * 2**20
"""Bytes of autoinst-log.txt that are looked at: modules are scheduled at its beginning."""
_LARGEST_FILE = 16 * 2**20
_HEAD_START = 0.5
"""Seconds that the request for the log is ahead of the one for the screen."""
_PATIENCE = 3
"""How many live logs of other jobs are waited for."""
_MOST_PAGES = 100
_PAGES_AT_ONCE = 2


class ScriptSearch:
    """Finds the scripts of a job's modules; one for all jobs of a slave.

    They have to be right the first time: a module posted again with another script becomes a second module
    (`JobModules.pm`, unique by name, category and script). So remember what was found, and pass it as
    `known`.
    """

    def __init__(
        self,
        client: Client,
        live: LiveSource | None,
        *,
        live_seconds: float = 5.0,
        pages_seconds: float = 60.0,
    ) -> None:
        """Prepare to search; `live` is None where the live view must not be used.

        :param live_seconds: how long the live log is waited for.
        :param pages_seconds: how long all source pages of a job together may take. A busy slave needs its
            time for them, and a module that is told late is better than one with a wrong script.
        """
        self._client = client
        self._live = live
        self._live_seconds = live_seconds
        self._pages_seconds = pages_seconds
        # openQA's web UI serves one connection a process (`openqa-webui-daemon`: 30 processes): a page while
        # it is made, both streams of a live view while they are open. Jobs that start together must not
        # take them all.
        self._page_permits = asyncio.Semaphore(_PAGES_AT_ONCE)
        self._live_permit = asyncio.Semaphore(1)

    async def find(self, job: JobView, known: Mapping[str, str] | None = None) -> dict[str, str]:
        """Give each module of a job its script; never fails, for the rule is always there.

        :param job: with its modules, so from `SlaveJobs.views`.
        :param known: scripts by module name that were found before, or that another module brought along.
        """
        found = dict(known or {})
        ended = job.state in FINAL_STATES or job.state == UPLOADING
        for source in (self._finished_log, self._pages) if ended else (self._pages, self._live_log):
            wanted = [module.name for module in job.modules if module.name not in found]
            if wanted:
                found = {**await source(job, wanted), **found}
        return complete([(module.name, module.category) for module in job.modules], found)

    async def _finished_log(self, job: JobView, _wanted: Collection[str]) -> dict[str, str]:
        """Read the beginning of the log that the slave's worker uploaded at the end."""
        path = file_path(job.id, "autoinst-log.txt")
        only = {"Range": f"bytes=0-{_LOG_HEAD - 1}"}
        try:
            content = await self._client.read(path, policy=PROBE, limit=_LARGEST_FILE, headers=only)
        except OpenQAError as error:
            log.debug("no scripts from the log of slave job %d: %s", job.id, error)
            return {}
        return scripts_in(content.decode("utf-8", "replace"))

    async def _live_log(self, job: JobView, wanted: Collection[str]) -> dict[str, str]:
        """Read the live log from its start, which is possible when nobody watched before.

        The log has to be asked for before the screen, whose opening makes the slave's worker send the log at
        all: whoever opens it later is shown the last 10 KB only (`Running.pm`, `streamtext`).
        """
        if self._live is None:
            return {}
        try:
            async with asyncio.timeout(_PATIENCE * self._live_seconds):
                await self._live_permit.acquire()
        except TimeoutError:
            log.debug("no scripts from the live log of slave job %d: too many ask for one", job.id)
            return {}
        try:
            return await self._watch(self._live, job.id, wanted)
        finally:
            self._live_permit.release()

    async def _watch(self, live: LiveSource, job_id: int, wanted: Collection[str]) -> dict[str, str]:
        scripts = LogScripts()
        opened, complete_log = asyncio.Event(), asyncio.Event()

        def take(text: str) -> None:
            scripts.feed(text)
            if scripts.scripts.keys() >= set(wanted):
                complete_log.set()

        text = asyncio.create_task(live.read_text(job_id, "livelog", opened.set, take))
        screen = asyncio.create_task(_screen_after(opened, live, job_id))
        enough = asyncio.create_task(complete_log.wait())
        try:
            await asyncio.wait(
                (text, enough), timeout=self._live_seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for task in (text, screen, enough):
                task.cancel()
            ends = await asyncio.gather(text, screen, enough, return_exceptions=True)
        for end in ends:
            if isinstance(end, OpenQAError):
                log.debug("the live view of slave job %d failed: %s", job_id, end)
            elif isinstance(end, Exception):
                raise end
        return {_as_text(name): _as_text(script) for name, script in scripts.scripts.items()}

    async def _pages(self, job: JobView, wanted: Collection[str]) -> dict[str, str]:
        """Read the page with the source of each module: one request a module."""
        if "://" in job.settings.get("CASEDIR", ""):
            return {}  # the page would send us to the place of the test's git repository
        found: dict[str, str] = {}

        async def page(name: str) -> None:
            path = f"/tests/{job.id}/modules/{name}/steps/1/src"
            try:
                async with self._page_permits:
                    content = await self._client.read(path, policy=PROBE, limit=_LARGEST_FILE)
            except OpenQAError as error:
                log.debug("no script from the source page of %s: %s", name, error)
                return
            distri, version = job.settings.get("DISTRI", ""), job.settings.get("VERSION", "")
            if script := script_on_page(content.decode("utf-8", "replace"), distri, version):
                found[name] = script

        names = [name for name in wanted if is_safe(name)]
        try:
            async with asyncio.timeout(self._pages_seconds), asyncio.TaskGroup() as pages:
                for name in names[:_MOST_PAGES]:
                    pages.create_task(page(name))
        except TimeoutError:
            log.debug("the source pages of slave job %d took too long", job.id)
        return found


async def _screen_after(log_open: asyncio.Event, live: LiveSource, job_id: int) -> None:
    """Open the screen once the log was asked for, and hold it."""
    try:
        async with asyncio.timeout(_HEAD_START):
            await log_open.wait()
    except TimeoutError:
        pass  # the usual case: the slave does not even answer before the log has a first line
    await live.read_screen(job_id, _nothing, lambda _screen: None)


def _nothing() -> None:
    """Nothing is to be done when the screen is open."""


def _as_text(characters: str) -> str:
    """Undo what the live view does to text: it brings bytes, one character each."""
    try:
        return characters.encode("latin-1").decode()
    except UnicodeError:
        return characters
