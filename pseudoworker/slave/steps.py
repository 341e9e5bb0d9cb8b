"""From the result document of a module on the slave to what a worker posts for it: pure, no network.

A worker reads `result-<module>.json` of os-autoinst, turns each screenshot into its name and md5
(`OpenQA::Worker::Job`, `_read_module_result`) and posts it. The server keeps it as `details-<module>.json`
with the screenshot reduced to its name again (`OpenQA::Schema::Result::JobModules`, `save_results`), and
after the job's end moves the text files into it as `text_data` (`finalize_results`). `report` undoes both.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from pseudoworker.openqa.json import Json
from pseudoworker.slave.files import is_safe

# What `OpenQA::Utils` `read_test_modules` and `JobModules` `results` add for display, or what comes and goes
# with finalization; none of it is the module's own.
_NOT_THE_MODULES_OWN = frozenset(
    {"text_data", "num", "display_title", "resborder", "is_parser_text_result", "md5_dirname", "md5_basename"}
)

# `JobModules` `update_result` read backwards: what os-autoinst must have written for the column to say so.
# The plain word is no alternative, for its `s,fail,failed,` makes "faileded" of "failed".
_RESULT_AS_WRITTEN = {
    "passed": "ok",
    "failed": "fail",
    "softfailed": "softfail",
    "none": "na",
    "skipped": "skip",
}


@dataclass(frozen=True)
class ModuleReport:
    """One module as a worker posts it in `status.result`, and what has to be uploaded with it."""

    document: dict[str, Json]
    """What stands in the status under the module's name."""
    images: Mapping[str, str] = field(default_factory=dict)
    """The md5 of each screenshot, and the file name it has in this module."""
    texts: Mapping[str, bytes | None] = field(default_factory=dict)
    """Text files by name. The content where the document carried it (the file is gone then), else None: fetch
    it."""
    audio: tuple[str, ...] = ()
    """Names of sound files, to be fetched."""
    extra_tests: tuple[dict[str, Json], ...] = ()
    """Entries of `test_order` for modules that this module brought along (`extra_test_results`)."""
    missing_md5: tuple[str, ...] = ()
    """Screenshots left out because the slave does not tell their md5 (yet): its worker posts a module before
    it uploads the module's images. Ask again, or fetch the image and pass the md5 of its bytes."""
    problems: tuple[str, ...] = ()
    """What was left out because it was malformed or dangerous, for the job's log."""
    fingerprint: str = ""
    """`fingerprint` of the steps as the slave has them."""

    @property
    def running(self) -> bool:
        """Whether the module has no details yet because it is the running one."""
        return self.document.get("result") == "running" and "details" not in self.document


def report(document: Json, md5_of: Mapping[str, str], *, module_result: str = "") -> ModuleReport:
    """Turn the raw `details-<module>.json` into what a worker posts.

    :param document: the parsed file; either an object, or a bare list of steps as very old releases wrote it.
    :param md5_of: md5 of each screenshot by file name, as `Details.md5_of` has it.
    :param module_result: the result that the job's module list shows; used for bare lists, which carry none.
    """
    work = _Work(md5_of)
    if isinstance(document, list):
        posted: dict[str, Json] = {"details": document}
        if module_result:
            posted["result"] = _RESULT_AS_WRITTEN.get(module_result, module_result)
    elif isinstance(document, dict):
        posted = dict(document)
    else:
        work.problems.append(f"the module's result is no object but {type(document).__name__}")
        posted = {"result": _RESULT_AS_WRITTEN.get(module_result, module_result)} if module_result else {}
    steps = posted.get("details")
    own = fingerprint(steps)
    if isinstance(steps, list):
        posted["details"] = [
            work.step(step, number) for number, step in enumerate(steps, 1) if work.usable(step, number)
        ]
    elif "details" in posted:
        del posted["details"]
    extra_tests = work.extra_tests(posted.get("extra_test_results"))
    if "extra_test_results" in posted:
        posted["extra_test_results"] = list(extra_tests)
    return ModuleReport(
        document=posted,
        images=work.images,
        texts=work.texts,
        audio=tuple(work.audio),
        extra_tests=extra_tests,
        missing_md5=tuple(work.missing_md5),
        problems=tuple(work.problems),
        fingerprint=own,
    )


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def fingerprint(steps: Json, *other: Json) -> str:
    """A hash of a module's steps that changes when, and only when, something a worker would post has changed.

    Neither finalization (`text_data`) nor what openQA adds for display changes it, so that a finished module
    is not fetched again and again. `other` are further values that belong to the module, such as its result.
    """
    own: list[Json] = []
    for step in steps if isinstance(steps, list) else []:
        if isinstance(step, dict):
            own.append({key: value for key, value in step.items() if key not in _NOT_THE_MODULES_OWN})
        else:
            own.append(step)
    text = _CANONICAL.encode([own, list(other)])
    return hashlib.sha256(text.encode()).hexdigest()


class _Work:
    """Collects what the steps of one module refer to while they are rewritten."""

    def __init__(self, md5_of: Mapping[str, str]) -> None:
        self._md5_of = md5_of
        self.images: dict[str, str] = {}
        self.texts: dict[str, bytes | None] = {}
        self.audio: list[str] = []
        self.missing_md5: list[str] = []
        self.problems: list[str] = []

    def usable(self, step: Json, number: int) -> bool:
        """Whether a step is an object at all; the server dies on anything else."""
        if isinstance(step, dict):
            return True
        self.problems.append(f"step {number} is no object but {type(step).__name__}")
        return False

    def step(self, step: Json, number: int) -> Json:
        """Return one step as a worker posts it."""
        assert isinstance(step, dict)
        posted = dict(step)
        text_data = posted.pop("text_data", None)
        if screenshot := self._file(posted, "screenshot", number):
            md5 = self._md5_of.get(screenshot)
            if md5 is None:
                self.missing_md5.append(screenshot)
                del posted["screenshot"]
            else:
                self.images[md5] = screenshot
                posted["screenshot"] = {"name": screenshot, "md5": md5}
        if audio := self._file(posted, "audio", number):
            self.audio.append(audio)
        if text := self._file(posted, "text", number):
            # "replace" concerns half surrogates only, which no text file can have held.
            self.texts[text] = text_data.encode("utf-8", "replace") if isinstance(text_data, str) else None
        return posted

    def extra_tests(self, entries: Json) -> tuple[dict[str, Json], ...]:
        """Return those entries of `extra_test_results` that a server can store (`Jobs.pm`,
        `insert_module`)."""
        usable: list[dict[str, Json]] = []
        for entry in entries if isinstance(entries, list) else []:
            if not isinstance(entry, dict) or not _is_test_order_entry(entry):
                self.problems.append("an entry of extra_test_results lacks name, category or script")
                continue
            name = str(entry["name"])
            if is_safe(name):
                usable.append(
                    {**entry, "flags": entry["flags"] if isinstance(entry.get("flags"), dict) else {}}
                )
            else:
                self.problems.append(f"extra test with the unsafe name {name!r}")
        return tuple(usable)

    def _file(self, step: dict[str, Json], kind: str, number: int) -> str | None:
        """Return the name of the file of this kind that a step refers to; an unusable one is taken out of the
        step."""
        name = step.get(kind)
        if not name:
            return None
        if isinstance(name, str) and is_safe(name):
            return name
        self.problems.append(f"step {number} names the unsafe {kind} file {name!r}")
        del step[kind]
        return None


def _is_test_order_entry(entry: Mapping[str, Json]) -> bool:
    return all(isinstance(entry.get(key), str) and entry[key] for key in ("name", "category", "script"))
