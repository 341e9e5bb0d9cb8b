"""What the master holds of a job against what the slave holds of the same execution."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from PIL import Image

from tests.real.fidelity.execution import Entry, Execution
from tests.real.fidelity.points import MISSING, Points

_JOB_COLUMNS = (
    "state", "result", "test", "distri", "version", "flavor", "arch", "build", "machine",
    "logs_present", "archived", "backend_info", "passed_module_count", "failed_module_count",
    "softfailed_module_count", "skipped_module_count", "externally_skipped_module_count",
)  # fmt: skip

_ROW_OF_ITS_OWN = frozenset({"id", "job_id", "t_created", "t_updated"})

_ADDED = frozenset({"PROXIED", "FEDERATED_REPORT"})
"""Settings that every slave job has more than its master job."""

_WITHOUT_REASON = frozenset({"passed", "softfailed", "failed"})

_STORY = re.compile(rb"(\[[^\]\n]+\] \[info\] \[pseudoworker\] [^\n]*\n)+")
"""What may follow on the slave's part of worker-log.txt."""


def compare(slave: Execution, master: Execution, *, stopped_on_master: bool = False) -> Points:
    """Every point in which both must be equal; the slave's JOBTOKEN stands for the master's.

    `stopped_on_master` says that the master itself gave the job its result.
    """
    points = Points("slave", "master")
    if stopped_on_master and (lost := _lost(slave, master)):
        slave, master = _without(slave, lost), _without(master, lost)
    _compare_jobs(points, slave, master, stopped_on_master=stopped_on_master)
    _compare_settings(points, slave, master)
    _compare_modules(points, slave, master)
    _compare_files(points, slave, master)
    _compare_assets(points, slave, master)
    for key in ("testresults", "logs", "ulogs"):
        left = _translated(json.dumps(slave.details.get(key)).encode(), slave, master)
        points.compare(
            f"details {key}", *_known_to_both(json.loads(left), master.details.get(key), slave, master)
        )
    points.compare("comments", slave.comments, master.comments)
    return points


def _lost(slave: Execution, master: Execution) -> frozenset[str]:
    """Modules that ran when the job was cancelled on a master of 2023: it takes no status of a cancelled job
    (OpenQA::Schema::Result::Jobs, update_status), so nothing of them can come; later releases take it."""
    if master.instance.root is not None or slave.instance.root is None:
        return frozenset()
    return frozenset(row["name"] for row in slave.modules if row["result"] == "canceled")


def _without(side: Execution, names: frozenset[str]) -> Execution:
    """An execution as if it had no modules of these names."""
    theirs = re.compile(rf"(\.thumbs/)?(details-)?({'|'.join(map(re.escape, names))})(-\d+)?\.\w+")
    gone = {name: entry for name, entry in side.entries.items() if theirs.fullmatch(name)}
    addresses = {entry.address for name, entry in gone.items() if not name.startswith(".thumbs/")}
    results = [module for module in side.details["testresults"] if module["name"] not in names]
    return replace(
        side,
        job={column: value for column, value in side.job.items() if column != "skipped_module_count"},
        modules=[row for row in side.modules if row["name"] not in names],
        screenshots=Counter({its: count for its, count in side.screenshots.items() if its not in addresses}),
        entries={name: entry for name, entry in side.entries.items() if name not in gone},
        details={**side.details, "testresults": results},
    )


def _known_to_both(left: Any, right: Any, slave: Execution, master: Execution) -> tuple[Any, Any]:
    """Lists of the job's details; between two releases without the order of files and without the keys of a
    module that only one of them has, such as `always_run` of 2026."""
    if slave.instance.root == master.instance.root or not left or not right:
        return left, right
    if isinstance(left[0], str):
        return sorted(left), sorted(right)
    keys = {key for module in left for key in module} & {key for module in right for key in module}
    # 2026 names the category of each module, releases before only where it changes
    keys -= {"category"}
    left, right = (
        [{key: module[key] for key in keys & module.keys()} for module in its] for its in (left, right)
    )
    return left, right


def _compare_jobs(points: Points, slave: Execution, master: Execution, *, stopped_on_master: bool) -> None:
    known = slave.job.keys() & master.job.keys()  # a column that only one release has tells nothing
    if slave.job["result"] == "user_cancelled" and (stopped_on_master or slave.instance.root is not None):
        # A module that runs as the job is cancelled was taken off the count and is reset without being put
        # back, and a status that was on its way takes it off once more (OpenQA::Schema::Result::Jobs,
        # update_module, cancel and done); no JSON has the count. Seen where the job was cancelled on the
        # master, and with releases after 2023 wherever it was.
        known -= {"skipped_module_count"}
    for column in _JOB_COLUMNS:
        if column in known:
            points.compare(f"jobs.{column}", slave.job[column], master.job[column])
    for column in ("t_started", "t_finished"):
        points.compare(f"jobs.{column} is set", slave.job[column] is None, master.job[column] is None)
    reason = slave.job["reason"]
    if reason is None and slave.job["result"] not in _WITHOUT_REASON and not stopped_on_master:
        # The result alone does not say on which side it happened, so the reason does.
        reason = f"{slave.job['result']} on the slave: {slave.url}"
    points.compare("jobs.reason", reason, master.job["reason"])
    _compare_screenshots(points, slave, master)


def _compare_screenshots(points: Points, slave: Execution, master: Execution) -> None:
    """A worker that posts a module twice makes a second link to each of its screenshots; how many there are
    on the slave is not to be seen from outside, but we post each module once."""
    for address in sorted({*slave.screenshots, *master.screenshots}):
        ours, theirs = address in slave.screenshots, address in master.screenshots
        points.compare(f"screenshot {address} belongs to the job", ours, theirs)
    showing: Counter[str] = Counter()
    for row in master.modules:
        document = master.document(f"details-{row['name']}.json") or {}
        names = {step.get("screenshot") for step in document.get("details", [])}
        showing.update({entry.address for name, entry in master.entries.items() if name in names})
    points.compare("links of screenshots, by modules that show them", showing, master.screenshots)


def _compare_settings(points: Points, slave: Execution, master: Execution) -> None:
    points.compare("settings added", slave.settings.keys() - master.settings.keys(), _ADDED)
    points.compare("FEDERATED_REPORT", slave.settings.get("FEDERATED_REPORT"), master.url)
    for key in sorted(master.settings.keys() - {"WORKER_CLASS"}):
        points.compare(f"setting {key}", slave.settings.get(key, MISSING), master.settings[key])


def _compare_modules(points: Points, slave: Execution, master: Execution) -> None:
    points.compare("order of modules", *([row["name"] for row in side.modules] for side in (slave, master)))
    shown = {row["name"]: row for row in master.modules}
    for row in slave.modules:
        other = shown.get(row["name"], {})
        for column in row.keys() - _ROW_OF_ITS_OWN - _unknown_columns(slave, master):
            points.compare(f"module {row['name']}, {column}", row[column], other.get(column, MISSING))


def _unknown_columns(slave: Execution, master: Execution) -> frozenset[str]:
    """Columns of modules that only one of two releases has."""
    if slave.instance.root == master.instance.root or not slave.modules or not master.modules:
        return frozenset()
    return frozenset(slave.modules[0].keys() ^ master.modules[0].keys())


def _compare_files(points: Points, slave: Execution, master: Execution) -> None:
    for name in sorted({*slave.entries, *master.entries}):
        left, right = slave.entries.get(name), master.entries.get(name)
        points.compare(
            f"file {name}", left.form if left is not None else MISSING, right.form if right else MISSING
        )
        if left is None or right is None or left.kind != right.kind:
            continue
        if left.kind == "link":
            points.compare(f"file {name}, address", left.address, right.address)
            points.compare(f"file {name}, picture", *_pictures(left.content, right.content))
        elif left.kind == "file":
            _compare_contents(points, name, left, right, slave, master)
    if slave.token:
        points.compare("length of the JOBTOKEN", len(slave.token), len(master.token))
        points.compare(
            "files with the slave's JOBTOKEN on the master",
            [],
            [name for name, entry in master.entries.items() if slave.token in (entry.content or b"")],
        )


def _compare_contents(
    points: Points, name: str, left: Entry, right: Entry, slave: Execution, master: Execution
) -> None:
    expected = _translated(left.content or b"", slave, master)
    shown = right.content or b""
    if name == "vars.json":
        points.compare_all("vars.json", json.loads(expected), json.loads(shown))
    elif name == "worker-log.txt":
        points.compare(f"file {name}, the slave's part", expected, shown[: len(expected)])
        story = _STORY.fullmatch(shown[len(expected) :]) is not None
        points.compare(f"file {name}, the rest is the federation's story", True, story)
    elif name.startswith("details-") and name.endswith(".json"):
        points.compare(f"file {name}, parsed", json.loads(expected), json.loads(shown))
    else:
        points.compare(f"file {name}, bytes", expected, shown)


def _pictures(left: bytes | None, right: bytes | None) -> tuple[object, object]:
    """Both as they are; if the bytes differ, what is to be seen. An image keeps the address it had before its
    worker optimized it, and the first one under an address stays, however another instance encoded it."""
    if left is None or right is None or left == right:
        return left, right
    return _pixels(left), _pixels(right)


def _pixels(png: bytes) -> tuple[tuple[int, int], bytes]:
    with Image.open(io.BytesIO(png)) as image:
        return image.size, image.convert("RGB").tobytes()


def _compare_assets(points: Points, slave: Execution, master: Execution) -> None:
    left, right = _assets(slave), _assets(master)
    points.compare_all("asset", left, right)


def _assets(side: Execution) -> dict[str, Any]:
    """Assets that the job used or made, by name without the job's own number; of those it made, the bytes."""
    found: dict[str, Any] = {}
    for row in side.assets:
        content: Mapping[str, Any] = {}
        if row["created_by"]:
            path = side.instance.factory_directory / row["type"] / row["name"]
            content = {"size": row["size"], "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        name = row["name"].replace(f"{side.id:08d}-", "<job>-")
        found[f"{row['type']}/{name}"] = {"created": row["created_by"], **content}
    return found


def _translated(content: bytes, slave: Execution, master: Execution) -> bytes:
    return content.replace(slave.token, master.token) if slave.token else content
