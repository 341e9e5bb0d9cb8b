"""The modules of one slave job, brought to the master: their order, their results, their screenshots and
texts.

Results are posted first; the master answers which screenshots and texts it has already, and only the others
are fetched and sent. What it took is written to the journal, so that a restart of the process reports no
module twice."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from pseudoworker.bridge.journal import Journal
from pseudoworker.bridge.reported import Reported, ReportedModules
from pseudoworker.bridge.step_files import StepFiles
from pseudoworker.bridge.story import STORY
from pseudoworker.bridge.transfer import Transfers
from pseudoworker.bridge.uncut import Uncut
from pseudoworker.master.job import MasterJob, StatusAnswer
from pseudoworker.openqa import states
from pseudoworker.openqa.errors import NotFound
from pseudoworker.openqa.json import Json
from pseudoworker.openqa.views import JobView, ModuleView
from pseudoworker.slave.results import Details, ModuleDetails, SlaveResults, digest_of_texts
from pseudoworker.slave.steps import ModuleReport

ORDERED = "module order"
COMPLETE = "module files"
SOURCE = "source"
"""The slave job from which all that was acknowledged comes."""
RESET: Json = {"result": "na"}
"""A module without a result, in os-autoinst's word (`OpenQA::Schema::Result::JobModules`,
`update_result`)."""

Scripts = Callable[[JobView, Iterable[ModuleView]], Awaitable[Mapping[str, str]]]
"""Tells the script of each module."""


@dataclass
class Progress:
    """What the master knows of the modules. All but `shown` is in the journal as well."""

    ordered: dict[str, str] = field(default_factory=dict)
    """Modules that stand in the master's list, with their scripts."""
    complete: dict[str, str] = field(default_factory=dict)
    """Finished modules whose screenshots and texts are all there, with the digest of the texts."""
    shown: set[str] = field(default_factory=set)
    """Modules that the master shows with a result or as running."""


@dataclass(frozen=True)
class _News:
    """What the master lacks of the modules of a slave job."""

    order: Mapping[str, dict[str, Json]]
    """Entries of `test_order` by module."""
    reports: Mapping[str, ModuleReport]
    marks: Mapping[str, Reported]
    """For each report what is to be remembered of it."""
    unfinished: Mapping[str, ModuleReport]
    """Reported before, but their files are missing."""
    shown: Mapping[str, ModuleDetails]
    whole: bool
    """Whether this is all that the slave shows."""


class ModuleRelay:
    """Reports the modules of one job; `update` is not called twice at a time.

    Whoever waits for `update` or `post` may be cancelled. What is on its way to the master goes on then
    (`Uncut`), and what follows waits for it."""

    def __init__(
        self,
        *,
        master: MasterJob,
        slave: SlaveResults,
        journal: Journal,
        transfers: Transfers,
        scripts: Scripts,
        scrub: Callable[[bytes], bytes],
        note: Callable[[str], None],
        relayed: Callable[[int], None],
        completed: Callable[[str, str], None],
    ) -> None:
        """`scrub` takes secrets of the slave out of a text; `note` is told what could not be relayed;
        `relayed` the bytes that were sent; `completed` the module whose files are all on the master, and the
        digest of its texts."""
        self._master = master
        self._slave = slave
        self._journal = journal
        self._scripts = scripts
        self._note = note
        self._scrub = scrub
        self._completed = completed
        self._files = StepFiles(
            master=master,
            slave=slave,
            transfers=transfers,
            scrub=scrub,
            relayed=relayed,
            arrived=self._arrived,
        )
        self._reported = ReportedModules(master, journal)
        self._posting = asyncio.Lock()
        self._uncut = Uncut()
        self._apart: dict[str, tuple[str, str]] = {}
        """Fingerprints of steps in details and document, of modules where both did not agree."""
        self._running: dict[str, dict[str, Json]] = {}
        """What was last reported of a module that still runs, while the test was paused."""
        self.progress = Progress()

    async def load(self) -> None:
        """Take up what an earlier process reported."""
        job_id = self._master.job_id
        await self._reported.load()
        self.progress = Progress(
            ordered=await self._journal.acknowledged(job_id, ORDERED),
            complete=await self._journal.acknowledged(job_id, COMPLETE),
            shown=set(self._reported.taken),
        )

    async def is_new(self, slave_id: int) -> bool:
        """Whether nothing on the master comes from this slave job, of which results are to come now."""
        kept = await self._journal.acknowledged(self._master.job_id, SOURCE)
        return kept != source_of(slave_id)

    async def start_over(self, slave_id: int) -> None:
        """Results of this slave job are to come, and none that another one left are to stay: the slave
        restarted the job. Take back what the master shows of the modules, until they come anew."""
        await self._uncut.arrival()
        if self.progress.shown:
            # The post that told of a module may have been cut off, and the master refuses results of modules
            # that it does not know, for ever.
            known = {module.name for module in await self._master.modules()}
            if stale := sorted(self.progress.shown & known):
                await self.post(None, {"result": dict.fromkeys(stale, RESET)})
        self.progress = Progress(ordered=self.progress.ordered)
        self._reported.forget()
        self._running.clear()
        self._files.forget()
        self._apart.clear()
        await self._journal.forget(
            self._master.job_id,
            but=[STORY],
            instead={ORDERED: self.progress.ordered, SOURCE: source_of(slave_id)},
        )

    async def post(
        self, view: JobView | None, status: Mapping[str, Json], *, listed: Collection[str] = ()
    ) -> StatusAnswer:
        """Post a status; the running module of `view` is marked in it. `listed` are modules that its
        `test_order` brings."""
        return await self._uncut.run(self._post(view, status, listed))

    async def _post(
        self, view: JobView | None, status: Mapping[str, Json], listed: Collection[str]
    ) -> StatusAnswer:
        async with self._posting:
            results = status.get("result")
            marked = dict(results) if isinstance(results, dict) else {}
            if view is not None and (running := self.running(view, listed)) is not None:
                # Without the steps that were shown once, the master would forget them.
                marked.setdefault(running, self._running.get(running, {"result": states.RUNNING}))
                self.progress.shown.add(running)
            return await self._master.post_status({**status, "result": marked} if marked else status)

    def running(self, view: JobView, listed: Collection[str] = ()) -> str | None:
        """The module that runs by the slave's list, if it stands in the master's list (or is `listed` there
        now) and has not been reported."""
        for module in view.modules:
            known = module.name in self.progress.ordered or module.name in listed
            if module.result == states.RUNNING and known:
                before = self._reported.taken.get(module.name)
                return module.name if before is None or before.result == states.RUNNING else None
        return None

    def shown_steps(self, name: str | None) -> str:
        """The fingerprint of the steps of a running module that the master has; empty when it has none."""
        shown = self._reported.taken.get(name or "")
        has_steps = bool(self._running.get(name or "", {}).get("details"))
        return shown.fingerprint if shown is not None and has_steps else ""

    def last_reported(self, view: JobView) -> str | None:
        """The last module, in their order, whose result the master has."""
        taken = self._reported.taken
        ended = {name for name, reported in taken.items() if reported.result != states.RUNNING}
        return next((module.name for module in reversed(view.modules) if module.name in ended), None)

    async def update(self, view: JobView, *, ended: Details | None = None, paused: str = "") -> bool:
        """Report what the master lacks: new modules and those that finished; with `ended`, the details of a
        job that has ended, whatever differs from them. Screenshots and texts follow by themselves
        (`Transfers`).

        Returns False when the slave does not have all of it yet, so that it is worth to come back in a
        moment."""
        await self._uncut.arrival()
        await self._reported.settle()
        for module_details in ended.modules if ended is not None else ():
            self._files.learn(module_details.texts)
        news = await self._news(view, ended=ended, paused=paused)
        await self._uncut.run(self._deliver(view, news, final=ended is not None))
        return news.whole

    async def cut_off(self) -> None:
        """Give up what is on its way: the end of the job is to be told, or nothing more."""
        await self._uncut.cut_off()

    def mend(self, slave_id: int, details: Details) -> None:
        """The slave job has ended and nothing is on its way any more: bring those texts again that were read
        before the slave had all of them."""
        for module in details.modules:
            sent = self.progress.complete.get(module.name)
            if sent is not None and sent != digest_of_texts(module.texts):
                self._files.bring_texts(slave_id, module.name, module.texts)

    async def _news(self, view: JobView, *, ended: Details | None, paused: str) -> _News:
        """Look what the master lacks."""
        final = ended is not None
        due = self._due(view, final=final, paused=bool(paused))
        shown: Mapping[str, ModuleDetails] = {}
        reports: dict[str, ModuleReport] = {}
        unfinished: dict[str, ModuleReport] = {}
        whole = True
        if due:
            details = ended or await self._slave.details(view.id)
            shown = {module.name: module for module in details.modules}
            for module in due:
                before = self._reported.taken.get(module.name)
                unchanged = before is not None and before.fingerprint == _fingerprint(shown, module.name)
                if unchanged and self._is_settled(module.name):
                    continue
                found = await self._report(view.id, module, details, final=final)
                if found is None or not (final or self._is_coherent(module, shown, found)):
                    whole = final and whole
                else:
                    (unfinished if unchanged else reports)[module.name] = found
        results = {module.name: module.result for module in due}
        marks = {name: Reported(results[name], _fingerprint(shown, name)) for name in reports}
        return _News(await self._order(view, reports), reports, marks, unfinished, shown, whole)

    async def _deliver(self, view: JobView, news: _News, *, final: bool) -> None:
        """Report it, and begin to bring the files that it names."""
        await self._reported.announce(news.marks)
        answer = await self._tell(view, news)
        await self._reported.confirm(news.marks)
        self._running = {
            name: self._scrubbed(news.reports[name].document)
            for name, mark in news.marks.items()
            if mark.result == states.RUNNING
        } or self._running
        self.progress.shown.update(news.marks)
        for name in news.marks:
            self.progress.complete.pop(name, None)
        for name, report in {**news.reports, **news.unfinished}.items():
            self._files.bring(view.id, name, report, answer.known_images, _texts(news.shown, name))
            if final and report.running:
                self._files.bring_unlisted(view.id, name)

    def _due(self, view: JobView, *, final: bool, paused: bool) -> list[ModuleView]:
        if final:
            finished = [module for module in view.modules if module.result != states.NONE]
            return [*finished, *_interrupted(view)]
        return [module for module in view.modules if self._is_due(module, paused=paused)]

    def _is_due(self, module: ModuleView, *, paused: bool) -> bool:
        if module.result == states.RUNNING:
            return paused  # its steps so far are wanted for the needle editor
        if module.result not in states.FINISHED_MODULE_RESULTS:
            return False
        before = self._reported.taken.get(module.name)
        return before is None or before.result != module.result or not self._is_settled(module.name)

    def _is_coherent(
        self, module: ModuleView, shown: Mapping[str, ModuleDetails], found: ModuleReport
    ) -> bool:
        """Whether list, details and document of a module were read while the slave did not change them: its
        column comes first, the document behind (`OpenQA::Schema::Result::Jobs`, `update_module`). What
        differs in the same way twice is no matter of time."""
        if found.running and module.result != states.RUNNING:
            return False
        details = shown.get(module.name)
        apart = (details.steps_fingerprint if details is not None else "", found.fingerprint)
        if apart[0] == apart[1] or self._apart.get(module.name) == apart:
            return True
        self._apart[module.name] = apart
        return False

    def _is_settled(self, name: str) -> bool:
        """Whether the files of a reported module are on the master or on their way."""
        return name in self.progress.complete or self._files.are_coming(name)

    async def _report(
        self, slave_id: int, module: ModuleView, details: Details, *, final: bool
    ) -> ModuleReport | None:
        """The module as a worker posts it, None when the slave does not have all of it (yet)."""
        found = await self._slave.module_report(
            slave_id, module.name, details.md5_of, module_result=module.result
        )
        if found is not None and found.missing_md5:
            if not final:
                return None
            # The slave never got these images, or does not tell their address: that of their bytes has to do.
            own = {name: await self._md5_of_bytes(slave_id, name) for name in found.missing_md5}
            known = {**details.md5_of, **{name: md5 for name, md5 in own.items() if md5 is not None}}
            found = await self._slave.module_report(slave_id, module.name, known, module_result=module.result)
        for problem in found.problems if found is not None else ():
            self._note(f"module {module.name}: {problem}")
        return found

    async def _md5_of_bytes(self, slave_id: int, name: str) -> str | None:
        try:
            return hashlib.md5(await self._slave.image(slave_id, name), usedforsecurity=False).hexdigest()
        except NotFound:
            self._note(f"screenshot {name} is missing on the slave")
            return None

    async def _tell(self, view: JobView, news: _News) -> StatusAnswer:
        order, reports = news.order, news.reports
        if not order and not reports:
            return StatusAnswer(True, frozenset(), frozenset())
        status: dict[str, Json] = {}
        if order:
            status["test_order"] = list(order.values())
        if reports:
            status["result"] = {name: self._scrubbed(found.document) for name, found in reports.items()}
        answer = await self.post(view, status, listed=order)
        if order and answer.accepted:
            # Not before: a post that is cut off may not have brought them, and the master refuses results of
            # modules that it does not know, for ever.
            scripts = {name: str(entry["script"]) for name, entry in order.items()}
            self.progress.ordered.update(scripts)
            await self._journal.acknowledge(self._master.job_id, ORDERED, scripts)
        return answer

    def _arrived(self, module: str, digest: str) -> None:
        self.progress.complete[module] = digest
        self._completed(module, digest)

    def _scrubbed(self, document: dict[str, Json]) -> dict[str, Json]:
        text = json.dumps(document).encode()
        scrubbed = self._scrub(text)
        # What a test puts into the title of a step may hold the secret, which is of letters and digits.
        return document if scrubbed == text else dict(json.loads(scrubbed))

    async def _order(self, view: JobView, reports: Mapping[str, ModuleReport]) -> dict[str, dict[str, Json]]:
        """Entries of `test_order` for modules that the master does not know, in the order of the slave."""
        new = [module for module in view.modules if module.name not in self.progress.ordered]
        brought_along = {
            str(entry["name"]): entry for found in reports.values() for entry in found.extra_tests
        }
        scripts = await self._scripts(view, [module for module in new if module.name not in brought_along])
        return {
            module.name: brought_along.get(module.name) or _entry(module, scripts[module.name])
            for module in new
        }


def _interrupted(view: JobView) -> list[ModuleView]:
    """The module that may have been running when the job ended: its result was taken back then, its document
    stays (`OpenQA::Schema::Result::Jobs`, `store_column`)."""
    results = [module.result for module in view.modules]
    reached = max((place for place, result in enumerate(results, 1) if result != states.NONE), default=0)
    return list(view.modules[reached : reached + 1])


def _fingerprint(shown: Mapping[str, ModuleDetails], name: str) -> str:
    return shown[name].fingerprint if name in shown else ""


def _texts(shown: Mapping[str, ModuleDetails], name: str) -> Mapping[str, bytes]:
    return shown[name].texts if name in shown else {}


def source_of(slave_id: int) -> dict[str, str]:
    """What is acknowledged as SOURCE when all else that is acknowledged comes from this slave job."""
    return {"slave job": str(slave_id)}


def _entry(module: ModuleView, script: str) -> dict[str, Json]:
    """One entry of `test_order`, with the flags as a test module sets them."""
    flags: dict[str, Json] = {
        name: 1 for name in ("fatal", "milestone", "always_rollback", "always_run") if name in module.flags
    }
    if "important" not in module.flags:
        flags["ignore_failure"] = 1
    return {"name": module.name, "category": module.category, "script": script, "flags": flags}
