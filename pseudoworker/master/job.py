"""What a worker tells the master about the job it runs: status, files, end."""

import logging
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from pseudoworker.errors import PseudoworkerError
from pseudoworker.master.registration import PORT_DELTA
from pseudoworker.openqa.client import Client
from pseudoworker.openqa.errors import Garbage, OpenQAError, Refused
from pseudoworker.openqa.json import Json
from pseudoworker.openqa.retry import ARTEFACT, DUPLICATE, PROBE, READ, SET_DONE, STATUS
from pseudoworker.openqa.views import JobView, ModuleView, parse_job, parse_jobs

log = logging.getLogger(__name__)

T = TypeVar("T")

# What the master says with 400 or 404 when a job is not ours any more (`API/V1/Job.pm`: update_status,
# create_artefact, done). The bare words are those of a job that was deleted, in older and newer releases
# (find_job_or_render_not_found).
_LOST = re.compile(
    r"non-existing job|unexpected worker ID|not even a worker assigned"
    r"|No worker assigned|Specified job \d+ does not exist"
    r"|Refusing to set result because"
    r"|^Not Found$|^Job does not exist$"
)


class LeaseLost(PseudoworkerError):
    """The master no longer considers the job ours: it was given to another worker, ended, or deleted.

    There is nothing left to report; the slave job is to be stopped.
    """

    def __init__(self, job_id: int, text: str) -> None:
        super().__init__(f"job {job_id} is not ours any more: {text}")
        self.job_id = job_id
        self.text = text


@dataclass(frozen=True)
class StatusAnswer:
    """What the master answers to a status."""

    accepted: bool
    """False when the master dropped the status since the job is cancelled (releases of 2023): stop, and set
    it done."""
    known_images: frozenset[str]
    """The md5s of screenshots named in this status that the master has already, and which need not be
    uploaded."""
    known_files: frozenset[str]
    """The same for text and sound files, by name."""
    job_result: str = ""
    """The result that the master computes from the modules so far."""


class MasterJob:
    """One job that this worker runs for the master. All methods but one are coroutines and retry by their
    policy."""

    def __init__(
        self,
        client: Client,
        job_id: int,
        worker_id: int,
        *,
        worker_hostname: str = "",
        cmd_srv_url: str = "",
        port_delta: int = PORT_DELTA,
    ) -> None:
        """Take the ids that the master gave; no request is made.

        :param worker_hostname: where the master's live handler finds the command server (developer mode).
        :param cmd_srv_url: the command server's URL; only its port and path count (`SharedHelpers.pm`,
            `determine_os_autoinst_web_socket_url`).
        :param port_delta: from the registration.
        """
        self.job_id = job_id
        self.worker_id = worker_id
        self.worker_hostname = worker_hostname
        self.cmd_srv_url = cmd_srv_url
        self._client = client
        self.port_delta = port_delta
        self._path = f"/api/v1/jobs/{job_id}"

    async def post_status(self, status: Mapping[str, Json] | None = None) -> StatusAnswer:
        """Post a status; the first one turns the job into a running one.

        :param status: `test_order`, `result`, `log`, `screen` and so on as `OpenQA::Worker::Job` builds them.
            What every status of a stock worker holds is added: `worker_id`, `worker_hostname`, `cmd_srv_url`,
            `test_execution_paused`.
        :raises LeaseLost: the job is not ours any more.
        :raises ServerFailed: among others for 490, after retries: the status names a module that the master
            does not know.
        :raises Refused: the master could not store the status.
        """
        whole: dict[str, Json] = {
            "cmd_srv_url": self.cmd_srv_url,
            "worker_hostname": self.worker_hostname,
            "test_execution_paused": 0,
            **(status or {}),
            "worker_id": self.worker_id,
        }
        return _status_answer(self._client.url_of(self._path), await self._post_status(whole))

    async def announce_uploading(self) -> None:
        """Tell that the test has ended and only uploads remain (state `uploading`)."""
        await self._post_status({"uploading": 1, "worker_id": self.worker_id})

    async def upload_image(self, md5: str, name: str, content: bytes, *, thumb: bool = False) -> None:
        """Upload a screenshot or its thumbnail.

        :param md5: the content address: that of the image as it was before any optimisation, also for its
            thumbnail.
        :param name: its file name in the job; the master does not use it.
        """
        params = [("image", "1"), ("thumb", "1" if thumb else "0"), ("md5", md5)]
        await self._guarded(lambda: self._upload(params, name, content))

    async def upload_file(self, name: str, content: bytes, *, ulog: bool = False) -> None:
        """Upload a result file, or with `ulog` a log that the test uploaded.

        Like any upload not before the first status: until then the master knows of no worker and answers as
        if the job were lost.

        The master stores it under this very name, folders included: check it with `safe_name` before.
        """
        await self._guarded(lambda: self._upload(_file_params(ulog), name, content))

    def upload_file_stream(
        self, name: str, length: int, chunks: Iterator[bytes], *, ulog: bool = False, timeout: float
    ) -> None:
        """Upload a large file as it comes in. BLOCKING, for transfer threads; one attempt, for the chunks are
        gone then.

        :param length: the exact number of bytes that `chunks` will yield.
        :param timeout: seconds without progress.
        """
        try:
            self._client.upload_stream(
                f"{self._path}/artefact",
                _file_params(ulog),
                name,
                length,
                chunks,
                timeout,
                kind=ARTEFACT.name,
            )
        except Refused as error:
            raise self._told(error) from error

    async def set_done(
        self, result: str | None = None, reason: str | None = None, *, newbuild: bool = False
    ) -> str:
        """End the job. Doing it twice is fine: the second time changes nothing.

        :param result: one of `OpenQA::Jobs::Constants` RESULTS; without it the master computes it from the
            modules.
        :param newbuild: the job was obsoleted by a new build; the master then ignores `result`.
        :return: the result that the master settled on, which differs from ours when the job had been
            cancelled there.
        """
        fields = [("worker_id", str(self.worker_id))]
        fields += [("result", result)] if result is not None else []
        fields += [("reason", reason)] if reason is not None else []
        fields += [("newbuild", "1")] if newbuild else []
        answer = await self._guarded(
            lambda: self._client.post_form(f"{self._path}/set_done", fields, policy=SET_DONE)
        )
        settled = answer.get("result") if isinstance(answer, dict) else None
        return settled if isinstance(settled, str) else ""

    async def duplicate(self) -> int | None:
        """Have the master run the job again, as a worker that quits does before it ends its own.

        :return: the new job's id, or None when there is none, for instance since a duplicate existed before.
        """
        answer = await self._guarded(
            lambda: self._client.post_form(
                f"{self._path}/duplicate", [("dup_type_auto", "1")], policy=DUPLICATE
            )
        )
        new_id = answer.get("id") if isinstance(answer, dict) else None
        return new_id if isinstance(new_id, int) else None

    async def view(self) -> JobView:
        """Fetch the job as the master sees it: state, parents and children, `clone_id`."""
        return parse_job(await self._guarded(lambda: self._client.get_json(self._path, policy=READ)))

    async def modules(self) -> tuple[ModuleView, ...]:
        """The modules with their results, as the master shows them. Raises LeaseLost when there is no such
        job."""
        path = "/api/v1/jobs"
        params = [("ids", str(self.job_id))]
        answer = await self._client.get_json(path, policy=READ, params=params)
        for job in parse_jobs(answer, url=self._client.url_of(path)):
            if job.id == self.job_id:
                return job.modules
        raise LeaseLost(self.job_id, "it does not exist")

    async def upload_progress(self, progress: Mapping[str, Json]) -> bool:
        """Tell the master's live handler how far uploads are, as a worker does while a developer session is
        open.

        :param progress: `upload_up_to`, `upload_up_to_current_module`, `outstanding_files`,
            `outstanding_images`.
        :return: whether it took it. A master without live handler is no reason to bother the job: it is
            logged only.
        """
        try:
            await self._client.post_json(
                f"/liveviewhandler{self._path}/upload_progress",
                dict(progress),
                policy=PROBE,
                port_delta=self.port_delta,
            )
        except OpenQAError as error:
            log.warning("Failed to post upload progress to liveviewhandler: %s", error)
            return False
        return True

    async def _post_status(self, status: dict[str, Json]) -> Json:
        document: Json = {"status": status}
        return await self._guarded(
            lambda: self._client.post_json(f"{self._path}/status", document, policy=STATUS)
        )

    async def _upload(self, params: list[tuple[str, str]], name: str, content: bytes) -> None:
        await self._client.upload(f"{self._path}/artefact", params, name, content, policy=ARTEFACT)

    async def _guarded(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call and tell a lost job from other refusals."""
        try:
            return await call()
        except Refused as error:
            raise self._told(error) from error

    def _told(self, error: Refused) -> PseudoworkerError:
        if error.status in (400, 404) and _LOST.search(error.text):
            return LeaseLost(self.job_id, error.text)
        return error


def _file_params(ulog: bool) -> list[tuple[str, str]]:
    return [("ulog", "1")] if ulog else []


def _status_answer(url: str, answer: Json) -> StatusAnswer:
    if not isinstance(answer, dict):
        raise Garbage(f"answered with {type(answer).__name__} instead of an object", method="POST", url=url)
    job_result = answer.get("job_result")
    return StatusAnswer(
        accepted=bool(answer.get("result")),
        known_images=_names(answer.get("known_images")),
        known_files=_names(answer.get("known_files")),
        job_result=job_result if isinstance(job_result, str) else "",
    )


def _names(value: Json) -> frozenset[str]:
    return (
        frozenset(name for name in value if isinstance(name, str)) if isinstance(value, list) else frozenset()
    )
