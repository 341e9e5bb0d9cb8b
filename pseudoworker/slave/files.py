"""Which files of a slave job are to be brought to the master, and where they are found: pure, no network."""

from collections.abc import Iterable
from dataclasses import dataclass

from pseudoworker.openqa.errors import UnsafeName
from pseudoworker.openqa.names import safe_name

# What a worker uploads (`OpenQA::Worker::Job`, `_stop_step_4_upload`) although the details do not list it in
# every release: video_time.vtt never (`Jobs.pm`, `test_resultfile_list`), serial terminals only when not
# empty and the numbered one under another name until 2025, sut_packages.txt only where the server knows it.
KNOWN_UNLISTED = (
    "video_time.vtt",
    "serial_terminal.txt",
    "serial_terminal1.txt",
    "serial_terminal_user.txt",
    "sut_packages.txt",
)


_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND\xaeB`\x82"


@dataclass(frozen=True)
class ResultFile:
    """One file to fetch from the slave and to upload to the master under the same name."""

    name: str
    ulog: bool = False
    """Whether the test itself uploaded it (`upload_logs`); such files have a folder of their own."""
    listed: bool = True
    """Whether the slave says that it exists; an unlisted one may well answer 404."""


@dataclass(frozen=True)
class ResultFiles:
    """The files of a finished job."""

    files: tuple[ResultFile, ...]
    problems: tuple[str, ...] = ()
    """Names that were refused, for the job's log."""


def result_files(logs: Iterable[str], ulogs: Iterable[str]) -> ResultFiles:
    """Return every file that is worth fetching once a slave job has ended: listed logs, ulogs, then known
    unlisted names.

    Logs and ulogs share one URL (`OpenQA::WebAPI::Controller::File`, `_set_test`: the result directory comes
    first), so a ulog named like a result file cannot be read through any route of openQA; it is reported as a
    problem.
    """
    files: dict[str, ResultFile] = {}
    problems: list[str] = []
    for names, ulog in ((logs, False), (ulogs, True)):
        for name in names:
            if not is_safe(name):
                problems.append(f"the slave lists a file with the unsafe name {name!r}")
            elif name not in files:
                files[name] = ResultFile(name, ulog=ulog)
            elif ulog and not files[name].ulog:
                problems.append(f"the uploaded log {name} is hidden by the result file of the same name")
    for name in KNOWN_UNLISTED:
        files.setdefault(name, ResultFile(name, listed=False))
    return ResultFiles(tuple(files.values()), tuple(problems))


def file_path(job_id: int, name: str) -> str:
    """Where any file of the result directory, or a ulog, is read. The name must be safe; the client encodes
    it."""
    return f"/tests/{job_id}/file/{name}"


def image_path(job_id: int, name: str) -> str:
    """Where a screenshot is read by its name in the job.

    `/image/<md5>` would be the shared route, but without a reverse proxy it answers 404 (`OpenQA::WebAPI` has
    only its thumbnails); the route below `/tests` reaches the web UI in both cases.
    """
    return f"/tests/{job_id}/images/{name}"


def thumbnail_path(job_id: int, name: str) -> str:
    """Where the thumbnail of a screenshot is read by the screenshot's name in the job."""
    return f"/tests/{job_id}/images/thumb/{name}"


def seems_whole(content: bytes) -> bool:
    """Whether a picture (PNG) or a sound (WAV) is all there, as far as its format tells; an empty file is
    not."""
    if content.startswith(_PNG):
        return content.endswith(_PNG_END)
    if content.startswith(b"RIFF"):
        return len(content) >= 8 + int.from_bytes(content[4:8], "little")
    return bool(content)


def is_safe(name: str) -> bool:
    """Whether a name that the slave chose may be used as a file name on the other side."""
    try:
        safe_name(name)
    except UnsafeName:
        return False
    return True
