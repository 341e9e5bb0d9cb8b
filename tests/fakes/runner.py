"""Workers inside the fake slave: each runs the scripts of the jobs that it is given, one at a time."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from tests.fakes.model import Channel, Document, Job, Worker
from tests.fakes.script import ModuleScript, Script, details, parse, picture

if TYPE_CHECKING:
    from tests.fakes.server import FakeOpenQA

_STOPS: Final = frozenset({"cancel", "obsolete", "abort", "quit"})


class ScriptedWorker(Channel):
    """One worker; what it says to the instance it says by calling what the routes would call."""

    def __init__(self, server: FakeOpenQA, worker: Worker, default: str) -> None:
        self.server = server
        self.worker = worker
        self.default = default
        """The script of jobs that have no FAKE_SCRIPT."""
        self.live_interval = 0.05
        """Seconds between two posts of live data while someone watches (1.0 in real workers)."""
        self.pending: deque[Job] = deque()
        self.run: Run | None = None
        self._task: asyncio.Task[None] | None = None
        worker.channel = self

    def send(self, message: Document) -> None:
        """Take a message from the instance."""
        kind = message["type"]
        if kind == "grab_job":
            self._take([message["job"]["id"]])
        elif kind == "grab_jobs":
            self._take([int(job_id) for job_id in message["job_info"]["ids"]])
        elif self.run is not None and message.get("jobid") == self.run.job.id:
            if kind in _STOPS:
                self.run.stop(kind)
            elif kind == "livelog_start":
                self.run.watch()

    def _take(self, ids: list[int]) -> None:
        self.pending.extend(self.server.db.jobs[job_id] for job_id in ids)
        # The next job may come while the end of the last one is still being tidied up.
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Vanish without a word."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _work(self) -> None:
        while self.pending:
            job = self.pending.popleft()
            if job.id not in self.server.db.jobs or job.assigned is not self.worker:
                continue
            if job.final:
                self.server.db.done(job, "skipped")
                continue
            self.server.workers.heard(self.worker, {"type": "accepted", "jobid": job.id}, self)
            self.run = Run(self, job, parse(job.settings.get("FAKE_SCRIPT") or self.default))
            try:
                await self.run.play()
            finally:
                self.run.finish()
                self.run = None
        self.server.scheduler.wake()


class Run:
    """One job being executed."""

    def __init__(self, owner: ScriptedWorker, job: Job, script: Script) -> None:
        self.owner = owner
        self.server = owner.server
        self.job = job
        self.script = script
        self.log = self.terminal = ""
        self.opened: set[str] = set()
        self._gate = asyncio.Event()
        self._hurried = asyncio.Event()
        self._stop = asyncio.get_running_loop().create_future()
        self._sent = self._sent_terminal = 0
        self._pictures = 0
        self._live: asyncio.Task[None] | None = None
        self.ending: Document = {}
        """Result and reason that a test wants at once."""

    def stop(self, kind: str) -> None:
        """Obey a command."""
        if not self._stop.done():
            self._stop.set_result(kind)

    def open(self, place: str) -> None:
        """Let the run go on past a place where it holds; `*` opens all."""
        self.opened.add(place)
        self._gate.set()
        self._gate = asyncio.Event()

    def hurry(self) -> None:
        """End the module that runs now, leave out those after it, and wait nowhere any more."""
        self.open("*")
        self._hurried.set()

    def write(self, text: str) -> None:
        """Add to autoinst-log.txt and, as the real worker does, to the live log when someone watches."""
        self.log += text

    async def play(self) -> None:
        """From setup to the end."""
        play = asyncio.create_task(self._play())
        try:
            await asyncio.wait({play, self._stop}, return_when=asyncio.FIRST_COMPLETED)
            if self._stop.done():
                play.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await play
                await self._stopped(self._stop.result())
            else:
                await play
        finally:
            play.cancel()

    def finish(self) -> None:
        """Leave nothing running."""
        if self._live is not None:
            self._live.cancel()
        self._stop.cancel()

    async def _play(self) -> None:
        self._line(f"isotovideo version fake, job {self.job.id}")
        await self._pause(self.script.setup, "setup")
        for module in self.script.modules:
            self._line(f"scheduling {module.name} {module.script}")
        status: Document = {"test_order": [module.order() for module in self.script.modules], "result": {}}
        if not self.script.modules:
            self._post({})
        for module in self.script.modules:
            status["result"][module.name] = {"result": "running"}
            self._post(status)
            self._line(f"||| starting {module.name} {module.script}")
            await self._pause(module.seconds, module.name)
            status = {"result": {module.name: self._finish_module(module)}}
            self._line(f"||| finished {module.name} {module.category}")
            if self._hurried.is_set():
                break
            if module.result == "fail" and (self.script.fail == module.name or "fatal" in module.flags):
                break
        if self.script.modules:
            self._post(status)
        self.server.reports.apply(self.job, self.owner.worker, {"uploading": 1})
        await self._pause(self.script.upload, "upload")
        self._leave_files()
        result = self.ending.get("result", self.script.result)
        self.server.db.done(self.job, result, self.ending.get("reason", self.script.reason))

    async def _stopped(self, kind: str) -> None:
        """Cancelled or obsoleted: the logs still come; aborted: nothing does."""
        if kind in ("cancel", "obsolete"):
            await asyncio.sleep(self.script.upload)
            self._leave_files()
        result = {"obsolete": "obsoleted"}.get(kind, "user_cancelled")
        if self.job.id in self.server.db.jobs:
            self.server.db.done(self.job, result)

    async def _pause(self, seconds: float, place: str) -> None:
        end = time.monotonic() + seconds
        if self.script.log_every:
            while (left := end - time.monotonic()) > 0:
                await asyncio.sleep(min(left, self.script.log_every))
                self._line(f"{place}: {left:.2f} s to go")
                self.terminal += f"{place}: {left:.2f} s to go\n"
                self._pictures += 1
        else:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._hurried.wait()
        while place in self.script.hold and not self.opened & {place, "*"}:
            await self._gate.wait()

    def _finish_module(self, module: ModuleScript) -> Document:
        document, pictures, texts = details(self.script, module, self.job)
        for shot in pictures.values():
            self.server.db.images[shot.md5] = shot.content
            self.server.db.thumbs[shot.md5] = shot.thumb
        self.job.files.update(texts)
        return document

    def _post(self, status: Document) -> None:
        self.server.reports.apply(self.job, self.owner.worker, status)

    def _leave_files(self) -> None:
        job, script, worker = self.job, self.script, self.owner.worker
        secrets = {"JOBTOKEN": job.token, "WORKER_ID": worker.id, "WORKER_INSTANCE": worker.instance}
        paths = {"ASSETDIR": "/var/lib/openqa/share/factory", "CASEDIR": "/var/lib/openqa/share/tests/fake"}
        variables = {**job.settings, **paths, **secrets, "NAME": f"{job.id:08d}-{job.name}"}
        job.files["vars.json"] = json.dumps(variables, indent=3, sort_keys=True).encode()
        job.files["autoinst-log.txt"] = self.log.encode()
        job.files["worker-log.txt"] = f"worker {worker.name} ran job {job.id}\n".encode()
        job.files["serial0.txt"] = f"serial of job {job.id}\r\n".encode()
        job.files["serial_terminal.txt"] = f"terminal of job {job.id}\n".encode()
        for number in range(1, script.terminals + 1):
            job.files[f"serial_terminal{number}.txt"] = f"terminal {number} of job {job.id}\n".encode()
        if script.video:
            job.files["video.ogv"] = (f"video of job {job.id} ".encode() * (script.video // 12 + 1))[
                : script.video
            ]
            job.files["video_time.vtt"] = b"WEBVTT\n\n0\n00:00:00.000 --> 00:00:00.042\n[1.000] \n"
        for number in range(script.ulogs):
            job.ulogs[f"{script.modules[0].name if script.modules else 'main'}-log{number}.txt"] = (
                f"ulog {number} of job {job.id}\n".encode()
            )
        if job.result in ("none", "user_cancelled"):
            for name, told in script.assets.items():
                self._publish(name, int(told.get("size", 1000)), str(told.get("scope", "public")))
        job.touch()

    def _publish(self, name: str, size: int, scope: str) -> None:
        from tests.fakes.chunks import upload_type

        final = name if scope == "public" else f"{self.job.id:08d}-{name}"
        content = (f"{name} of job {self.job.id} ".encode() * (size // 10 + 1))[:size]
        kind = upload_type(name)
        self.server.db.register(kind, final, content, self.job.id)
        self.job.assets.append((kind, final))

    def _line(self, text: str) -> None:
        self.write(time.strftime("[%Y-%m-%dT%H:%M:%S.000000Z] [debug] ", time.gmtime()) + text + "\n")

    def watch(self) -> None:
        """Someone looks: post what was written so far, and go on until nobody does."""
        if self._live is None or self._live.done():
            self._live = asyncio.create_task(self._show())

    async def _show(self) -> None:
        shown = -1
        while self.job.live.viewers > 0:
            changed = False
            if self._sent < len(self.log):
                self.job.live.log += self.log[self._sent :]
                self._sent, changed = len(self.log), True
            if self._sent_terminal < len(self.terminal):
                self.job.live.terminal += self.terminal[self._sent_terminal :]
                self._sent_terminal, changed = len(self.terminal), True
            if shown != self._pictures:
                shown, changed = self._pictures, True
                content = picture(f"live picture {shown}", self.script.image_size).content
                self.job.live.screen = (f"{shown}.png", base64.b64encode(content).decode())
            if changed:
                self.job.live.notify()
            await asyncio.sleep(self.owner.live_interval)
