"""Reading the results of a slave job: its details, the raw document of each module, and its files."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pseudoworker.openqa.client import Client
from pseudoworker.openqa.errors import Garbage, NotFound
from pseudoworker.openqa.json import Json
from pseudoworker.openqa.names import safe_name
from pseudoworker.openqa.retry import DOWNLOAD, READ
from pseudoworker.openqa.states import NONE
from pseudoworker.slave.files import ResultFiles, file_path, image_path, result_files, thumbnail_path
from pseudoworker.slave.steps import ModuleReport, fingerprint, report

LARGEST_STEP_FILE = 64 * 2**20
"""Bytes that a screenshot, a text or a sound file of one step may have; logs and videos are streamed
instead."""

_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class ModuleDetails:
    """One module as the details show it."""

    name: str
    result: str
    fingerprint: str
    """Changes when there is something new to relay; to be compared, nothing else."""
    steps_fingerprint: str
    """Changes when the steps do (`slave.steps.fingerprint`)."""
    steps: int
    texts: Mapping[str, bytes]
    """Contents of the text steps by file name, as far as the slave could read them. While the slave's worker
    uploads one, what is read may be cut."""


@dataclass(frozen=True)
class Details:
    """What `GET /api/v1/jobs/<id>/details` adds to the job itself."""

    modules: tuple[ModuleDetails, ...]
    md5_of: Mapping[str, str]
    """The md5, the content address, of each screenshot by its file name. One whose image was not uploaded yet
    is missing."""
    logs: tuple[str, ...]
    """Names of result files that exist; not all are listed (see `result_files`)."""
    ulogs: tuple[str, ...]
    """Names of files that the test uploaded."""

    def result_files(self) -> ResultFiles:
        """Every file that is worth fetching once the job has ended."""
        return result_files(self.logs, self.ulogs)


def digest_of_texts(texts: Mapping[str, bytes]) -> str:
    """A hash of texts and their names, empty when there are none."""
    if not texts:
        return ""
    lines = (f"{name} {hashlib.sha256(texts[name]).hexdigest()}\n" for name in sorted(texts))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


class SlaveResults:
    """Reads what a slave job left. All of it is untrusted: names are checked, sizes bounded, types
    verified."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def details(self, job_id: int) -> Details:
        """Fetch the details of a job: one request, with the text of every text step in it, so not to be made
        for nothing."""
        path = f"/api/v1/jobs/{job_id}/details"
        return parse_details(await self._client.get_json(path, policy=READ), url=self._client.url_of(path))

    async def module_document(self, job_id: int, module: str) -> Json:
        """Fetch `details-<module>.json` as the slave's worker posted it, but for the screenshots (see
        `slave.steps`).

        :raises NotFound: the slave has nothing for this module; those not reached have no file.
        :raises UnsafeName: no file can have this module's name.
        """
        return await self._client.get_json(
            file_path(job_id, safe_name(f"details-{module}.json")), policy=READ
        )

    async def module_report(
        self, job_id: int, module: str, md5_of: Mapping[str, str], *, module_result: str = NONE
    ) -> ModuleReport | None:
        """Fetch a module's document and turn it into what a worker posts; None when the slave has nothing for
        it."""
        try:
            document = await self.module_document(job_id, module)
        except NotFound:
            return None
        return report(document, md5_of, module_result=module_result)

    async def secrets(self, job_id: int) -> set[str]:
        """The job's JOBTOKEN, by the vars.json that its worker uploaded; nothing when there is none (yet)."""
        try:
            document = await self._client.get_json(file_path(job_id, "vars.json"), policy=READ)
        except (NotFound, Garbage):
            return set()
        token = document.get("JOBTOKEN") if isinstance(document, dict) else None
        return {token} if isinstance(token, str) and token else set()

    async def text(self, job_id: int, module: str, name: str) -> bytes:
        """Fetch a text file of a module.

        When the job ends, a background task of the slave moves texts into the module's document and deletes
        the files (`JobModules.pm`, `finalize_results`), so a file that is gone is looked for there.

        :raises NotFound: it is in neither place.
        """
        try:
            return await self.step_file(job_id, name)
        except NotFound:
            moved = await self.module_report(job_id, module, {})
            content = moved.texts.get(name) if moved is not None else None
            if content is None:
                raise
            return content

    async def step_file(self, job_id: int, name: str) -> bytes:
        """Fetch a small file of the result directory, such as a sound."""
        return await self._client.read(file_path(job_id, name), policy=DOWNLOAD, limit=LARGEST_STEP_FILE)

    async def image(self, job_id: int, name: str) -> bytes:
        """Fetch a screenshot by its file name in the job."""
        return await self._client.read(image_path(job_id, name), policy=DOWNLOAD, limit=LARGEST_STEP_FILE)

    async def thumbnail(self, job_id: int, name: str) -> bytes:
        """Fetch the thumbnail of a screenshot by the screenshot's file name; not every image has one
        (`NotFound`)."""
        return await self._client.read(thumbnail_path(job_id, name), policy=DOWNLOAD, limit=LARGEST_STEP_FILE)


def parse_details(document: Json, *, url: str = "") -> Details:
    """Read the answer of `GET /api/v1/jobs/<id>/details`. Raises `Garbage` when it is none."""
    job = document.get("job") if isinstance(document, dict) else None
    if not isinstance(job, dict) or not isinstance(job.get("testresults", []), list):
        raise Garbage("the answer holds no details of a job", method="GET", url=url)
    modules: list[ModuleDetails] = []
    md5_of: dict[str, str] = {}
    for module in _list(job.get("testresults")):
        if not isinstance(module, dict) or not isinstance(name := module.get("name"), str) or not name:
            raise Garbage("a module of the details has no name", method="GET", url=url)
        steps = _list(module.get("details"))
        result = module.get("result")
        own = fingerprint(steps)
        modules.append(
            ModuleDetails(
                name=name,
                result=result if isinstance(result, str) else NONE,
                fingerprint=fingerprint([], own, result, module.get("execution_time")),
                steps_fingerprint=own,
                steps=len(steps),
                texts=dict(text for step in steps if (text := _text(step)) is not None),
            )
        )
        for step in steps:
            if (
                isinstance(step, dict)
                and isinstance(shot := step.get("screenshot"), str)
                and (md5 := _md5(step))
            ):
                md5_of[shot] = md5
    return Details(tuple(modules), md5_of, _names(job.get("logs")), _names(job.get("ulogs")))


def _text(step: Json) -> tuple[str, bytes] | None:
    """Name and content of a step's text; None where there is none, or a note in place of one that the slave
    could not read (`JobModules.pm`, `results`)."""
    if not isinstance(step, dict):
        return None
    name, content = step.get("text"), step.get("text_data")
    if not isinstance(name, str) or not isinstance(content, str):
        return None
    if content in (f"Unable to read {name}.", f"Unable to decode {name}."):
        return None
    # "replace" concerns half surrogates only, which no text file can have held.
    return name, content.encode("utf-8", "replace")


def _md5(step: Mapping[str, Json]) -> str | None:
    """Put the md5 together again that the server split into a path (`OpenQA::Utils`,
    `image_md5_filename`)."""
    folder, base = step.get("md5_dirname"), step.get("md5_basename")
    if not isinstance(folder, str) or not isinstance(base, str):
        return None
    md5 = folder.replace("/", "") + base.removesuffix(".png")
    return md5 if _MD5.fullmatch(md5) else None


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _names(value: Json) -> tuple[str, ...]:
    return tuple(name for name in _list(value) if isinstance(name, str))
