"""All that passes from one slave job to its master job: statuses, modules, live view, files, products."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace

from pseudoworker.bridge.developer import DeveloperJob
from pseudoworker.bridge.files import WORKER_LOG, FileRelay
from pseudoworker.bridge.modules import COMPLETE, ModuleRelay
from pseudoworker.bridge.patience import OUTAGE
from pseudoworker.bridge.pause import Pause
from pseudoworker.bridge.scrub import Scrubber
from pseudoworker.bridge.services import Services
from pseudoworker.bridge.story import Story
from pseudoworker.bridge.transfer import Transfer, Transfers
from pseudoworker.master.job import MasterJob
from pseudoworker.master.upload_progress import UploadProgress
from pseudoworker.openqa import states
from pseudoworker.openqa.errors import NotFound, OpenQAError, Refused, Unauthorized
from pseudoworker.openqa.retry import READ
from pseudoworker.openqa.views import JobView
from pseudoworker.slave.files import ResultFile

PACE = 10.0
WATCHED_PACE = 1.0
"""Seconds between two statuses of a running job, as the stock worker has them (`OpenQA::Worker::Job`,
`_calculate_upload_results_interval`)."""
AGAIN = 1.0
"""Seconds until the slave is asked again for what it did not have yet."""
FILES = "file"
SESSION = "developer session"
"""Kinds of acknowledgement in the journal."""
_WITH_PRODUCTS = states.COMPLETE_RESULTS | {states.USER_CANCELLED}
"""Results after which a worker uploads what the job made (`OpenQA::Worker::Job`, `_stop_step_4_upload`)."""


class Relay:
    """One job's relay. `progress_wanted` is called when `progress` has something to do that the slave does
    not show; `failed` is told errors that end the job, `cancelled` is called when the master drops statuses
    of a job that was cancelled there; `view` is what the slave last said of its job."""

    def __init__(
        self,
        services: Services,
        master: MasterJob,
        story: Story,
        logger: logging.LoggerAdapter[logging.Logger],
        *,
        job_token: str,
        failed: Callable[[Exception], None],
        cancelled: Callable[[], None],
        progress_wanted: Callable[[], None],
    ) -> None:
        self.view: JobView | None = None
        self._saw = 0.0
        """When `view` came, by the monotonic clock."""
        self.bytes_relayed = 0
        self._services = services
        self._master = master
        self._story = story
        self._logger = logger
        self._job_token = job_token
        self._cancelled = cancelled
        self._progress_wanted = progress_wanted
        self._slave_tokens: set[str] = set()
        self._slave_id: int | None = None
        self._transfers = Transfers(
            services.configuration.limits.transfers_per_job,
            gave_up=self._gave_up,
            failed=failed,
            patient=replace(services.patience(logger), passing=OUTAGE).until_done,
        )
        self._modules = ModuleRelay(
            master=master,
            slave=services.slave_results,
            journal=services.journal,
            transfers=self._transfers,
            scripts=services.scripts,
            scrub=lambda content: self._scrubber().whole(content),
            note=story.tell,
            relayed=self._count,
            completed=self._completed,
        )
        self._files = FileRelay(
            slave=services.slave,
            master=master,
            threads=services.transfer_threads,
            scrubber=self._scrubber,
            story=story.text,
            relayed=self._count,
            on_retry=services.on_retry,
        )
        self.live = services.live_relay(self._wake_up, story.tell, logger)
        self._developer: DeveloperJob | None = None
        self._upload_progress = UploadProgress(master)
        self._pause = Pause()
        self._followed = asyncio.Event()
        self._wake = asyncio.Event()
        self._posted = 0.0
        self._completions: set[asyncio.Task[None]] = set()

    async def load(self) -> None:
        """Take up where an earlier process left off."""
        await self._modules.load()
        self._developer = await self._services.developer.offer(
            self._job_token, note=self._story.tell, log=self._logger, changed=self._pause_changed
        )
        if self._developer is not None:
            self._master.cmd_srv_url = self._developer.cmd_srv_url
            if await self._services.journal.acknowledged(self._master.job_id, SESSION):
                self._developer.session_started()

    async def follow(self, slave_id: int) -> None:
        """From now on the slave job is this one. If results of another one are on the master, everything
        comes anew."""
        self._followed.clear()
        self._slave_id = slave_id
        self.view = None
        self.live.follow(slave_id)
        if self._developer is not None:
            await self._developer.follow(slave_id)
        if await self._modules.is_new(slave_id):
            self._slave_tokens.clear()
            self._transfers.close()
            await self._modules.start_over(slave_id)
        self._followed.set()

    def developer_session(self) -> None:
        """Somebody on the master opened a developer session."""
        if self._developer is not None:
            self._developer.session_started()
            # The master says it once: a process after this one has to know.
            self._keep(SESSION, {"opened": ""})

    def viewers(self, change: int) -> None:
        """Somebody on the master came to watch (+1) or left (-1)."""
        self.live.viewers(change)
        self._wake_up()

    async def progress(self) -> None:
        """Report modules until the master knows all that the slave shows now."""
        await self._followed.wait()
        while (view := self.view) is not None:
            await self._learn_token(view)
            await self._post_progress(view)
            try:
                whole = await self._modules.update(view, paused=self._paused)
            except NotFound:
                whole = False  # deleted meanwhile: the watcher will tell
            self._posted = time.monotonic()
            await self._post_progress(view)
            if self._paused or not whole:
                await asyncio.sleep(AGAIN)
            elif self.view is view:
                self._services.metrics.relay_latency(self._posted - self._saw)
                return

    @property
    def waited_in_vain(self) -> bool:
        """Whether the slave showed the job, but never gave it to a worker."""
        return self.view is not None and self.view.assigned_worker_id is None

    def saw(self, view: JobView) -> None:
        """The slave showed this of its job."""
        self.view = view
        self._saw = time.monotonic()

    async def heartbeat(self) -> None:
        """Wait until a status is due, and post it."""
        pace = WATCHED_PACE if self.live.watched else PACE
        try:
            async with asyncio.timeout(max(self._posted + pace - time.monotonic(), 0.0)):
                await self._wake.wait()
            await asyncio.sleep(max(self._posted + WATCHED_PACE - time.monotonic(), 0.0))
        except TimeoutError:
            pass
        self._wake.clear()
        status = {**self.live.take(), "test_execution_paused": self._paused or 0}
        try:
            answer = await self._modules.post(self.view, status)
        except OpenQAError as error:
            self.live.put_back()
            if isinstance(error, Refused) and not isinstance(error, Unauthorized):
                raise
            self._logger.warning("The master did not take a status: %s", error)
            self._posted = time.monotonic()
            return
        self._posted = time.monotonic()
        if not answer.accepted:
            self._cancelled()

    async def rest(self) -> None:
        """Bring everything the ended slave job left. Raises NotFound when the slave does not have the job any
        more, OpenQAError when one side fails for too long."""
        await self._followed.wait()
        slave_id = self._slave_id
        assert slave_id is not None
        await self.live.close()
        view = (await self._services.slave_jobs.views([slave_id], policy=READ)).get(slave_id)
        if view is None:
            raise NotFound(f"the slave has no job {slave_id} any more")
        if view.assigned_worker_id is None:
            return  # never given to a worker
        if view.result == states.SKIPPED and not view.modules:
            return  # its worker was told not to begin
        self.view = view
        await self._master.announce_uploading()
        self._slave_tokens |= await self._services.slave_results.secrets(slave_id)
        details = await self._services.slave_results.details(slave_id)
        await self._modules.update(view, ended=details)
        listed = details.result_files()
        for problem in listed.problems:
            self._story.tell(problem)
        sent = await self._services.journal.acknowledged(self._master.job_id, FILES)
        for file in listed.files:
            if file.name not in sent and file.name != WORKER_LOG:
                self._add(slave_id, file)
        await self._transfers.finish()
        self._modules.mend(slave_id, details)
        await self._transfers.finish()
        if view.result in _WITH_PRODUCTS:
            self._count(await self._services.assets.products.relay(view, self._master, self._story.tell))
        await self._tell_story(slave_id)

    async def explain(self, reason: str | None) -> None:
        """Leave the story, and the reason, on the master for a job that never ran on the slave."""
        await self._master.announce_uploading()
        if reason:
            self._story.tell(reason)
        text = self._story.text()
        for name in (WORKER_LOG, "autoinst-log.txt"):
            await self._master.upload_file(name, text)

    async def cut_off(self) -> None:
        """Tell nothing more of the modules, not even what is on its way."""
        await self._modules.cut_off()

    async def close(self) -> None:
        """Stop everything that runs in the background."""
        await self.cut_off()
        self._transfers.close()
        await self.live.close()
        if self._developer is not None:
            await self._developer.close()
        for task in self._completions:
            task.cancel()

    def _add(self, slave_id: int, file: ResultFile) -> None:
        async def bring() -> None:
            try:
                await self._files.bring(slave_id, file)
            except NotFound:
                if file.listed:
                    raise
            await self._services.journal.acknowledge(self._master.job_id, FILES, {file.name: ""})

        self._transfers.add(Transfer(file.name, bring))

    async def _tell_story(self, slave_id: int) -> None:
        """worker-log.txt comes last, so that the story in it is whole."""
        self._story.tell(
            f"relayed from {self._services.slave_url(slave_id)}: {self.bytes_relayed} bytes in all"
        )
        try:
            await self._files.bring(slave_id, ResultFile(WORKER_LOG))
        except NotFound:
            await self._master.upload_file(WORKER_LOG, self._story.text())

    async def _learn_token(self, view: JobView) -> None:
        """Find out which secret of the slave must not pass; only the worker that runs the job has it."""
        if not self._slave_tokens and view.assigned_worker_id is not None:
            self._slave_tokens.add(await self._services.slave_token(view))

    @property
    def _paused(self) -> str:
        """Why a developer paused the test, empty when it runs."""
        return "" if self._developer is None else self._developer.paused

    async def _post_progress(self, view: JobView) -> None:
        """While somebody has a developer session, tell the live handler how far the upload is."""
        if self._developer is None or not self._developer.in_session:
            return
        running = self._modules.running(view)
        progress = self._pause.progress(
            running=running,
            shown=self._modules.shown_steps(running),
            last=self._modules.last_reported(view),
            outstanding=self._transfers.outstanding,
        )
        await self._upload_progress.post(progress)

    def _scrubber(self) -> Scrubber:
        return Scrubber(self._slave_tokens, self._job_token)

    def _count(self, sent: int) -> None:
        self.bytes_relayed += sent
        self._services.metrics.relayed("result", sent)

    def _completed(self, module: str, digest: str) -> None:
        self._keep(COMPLETE, {module: digest})

    def _keep(self, kind: str, values: dict[str, str]) -> None:
        task = asyncio.ensure_future(self._services.journal.acknowledge(self._master.job_id, kind, values))
        self._completions.add(task)
        task.add_done_callback(self._completions.discard)

    def _gave_up(self, name: str, error: OpenQAError) -> None:
        if isinstance(error, NotFound) and name.startswith("thumbnail of "):
            self._logger.debug("The slave has no %s", name)
        else:
            self._story.tell(f"{name} could not be relayed: {error}")

    def _pause_changed(self) -> None:
        running = self._modules.running(self.view) if self.view is not None else None
        self._pause.changed(paused=bool(self._paused), shown=self._modules.shown_steps(running))
        self._wake_up()
        self._progress_wanted()

    def _wake_up(self) -> None:
        self._wake.set()
