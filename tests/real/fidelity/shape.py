"""What a job looks like when its values are left out: for comparing two executions of the same test."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from tests.real.fidelity.execution import Execution
from tests.real.fidelity.points import Points

_TOLD_APART = frozenset({"PROXIED", "FEDERATED_REPORT"})
"""Keys of vars.json that tell a federated job from others, which is what they are for."""

_SAME_VALUES = (
    "state", "priority", "result", "archived", "logs_present", "passed_module_count", "failed_module_count",
    "softfailed_module_count", "skipped_module_count", "externally_skipped_module_count", "test", "distri",
    "version", "flavor", "arch", "build", "machine",
)  # fmt: skip
"""Columns of `jobs` that have to hold the same, not just something."""

_DIED = re.compile(
    r"^(died: terminated prematurely, see log output|backend died: QEMU exited unexpectedly, see log)"
    r" for details$"
)
"""How openQA words the death of QEMU, as its worker or its backend is the first to see it."""


def compare_shapes(
    stock: Execution, ours: Execution, *, steady: bool = True, explained: bool = False
) -> Points:
    """Every point in which a job that pseudoworker ran must look like one that a stock worker ran.

    Without `steady`, two runs of the test take a different number of steps: then kinds of files and steps
    are compared, not each one, and a video may have no picture yet. `explained` says that ours has a reason
    that a stock worker's has not, since the job was stopped on the slave.
    """
    points = Points("stock worker", "pseudoworker")
    left, right = _shape(stock, steady=steady), _shape(ours, steady=steady)
    if explained:
        for shape in (left, right):
            del shape["jobs.reason"], shape["jobs.reason is set"]
            shape["job in the API"].pop("reason", None)
    points.compare_all("", left, right)
    return points


def _shape(side: Execution, *, steady: bool) -> dict[str, Any]:
    shape: dict[str, Any] = {}
    for column, value in side.job.items():
        shape[f"jobs.{column} is set"] = value is not None
    for column in _SAME_VALUES:
        if steady or not column.endswith("_count"):
            shape[f"jobs.{column}"] = side.job[column]
    shape["jobs.reason"] = _without_numbers(side.job["reason"], side)
    for key, value in side.settings.items():
        shape[f"setting {key}"] = True if key == "WORKER_CLASS" else _anonymous(value, side)
    for number, row in enumerate(side.modules):
        shape |= {
            f"module {number}, {column}": value
            for column, value in row.items()
            if column not in ("id", "job_id", "t_created", "t_updated") and (steady or column != "result")
        }
    for name, entry in side.entries.items():
        filled = steady or not name.startswith("video.")
        content = None if entry.content is None or not filled else bool(entry.content)
        shape[f"file {_name(name, steady=steady)}"] = (
            entry.kind,
            entry.mode,
            content,
            re.sub(r"[0-9a-f]{3,}", "x", entry.address),
        )
        if name.startswith("details-") and name.endswith(".json"):
            shape |= _documents(name, side.document(name), steady=steady)
    variables = side.document("vars.json")
    if variables is not None:
        shape["keys of vars.json"] = sorted(variables.keys() - _TOLD_APART)
    for row in side.assets:
        name = _anonymous(row["name"], side)
        shape[f"asset {row['type']}/{name}"] = {key: row[key] is not None for key in row} | {
            "created_by": row["created_by"]
        }
    shape["screenshots belong to the job"] = bool(side.screenshots)
    shape["comments"] = side.comments
    whole = {**side.details, "testresults": [], "logs": [], "ulogs": [], "settings": {}}
    shape["job in the API"] = form(whole)
    shape["logs in the API"] = sorted(side.details["logs"])
    shape["uploaded logs in the API"] = sorted(side.details["ulogs"])
    # A module that took less than a second has no time there.
    modules = [{**module, "execution_time": ""} for module in side.details["testresults"]]
    shape["modules in the API"] = _forms(modules, steady=steady)
    return shape


def form(value: Any) -> Any:
    """The keys and types of a JSON value, all the way down."""
    match value:
        case dict():
            return {key: form(entry) for key, entry in sorted(value.items())}
        case list():
            return sorted({repr(form(entry)) for entry in value})
        case bool() | None:
            return repr(value)
        case int() | float():
            return "number"
        case _:
            return type(value).__name__


def _documents(name: str, document: Any, *, steady: bool) -> dict[str, Any]:
    steps = document.get("details", [])
    name = _name(name, steady=steady)
    return {
        f"{name}, keys": form({**document, "details": []}),
        f"{name}, steps": _forms(steps, steady=steady),
    }


def _forms(values: Iterable[Any], *, steady: bool) -> list[str]:
    forms = [repr(form(value)) for value in values]
    return forms if steady else sorted(set(forms))


def _name(name: str, *, steady: bool) -> str:
    """A file's name; numbers that depend on how many steps there were are left out."""
    return name if steady else re.sub(r"\d+", "N", name)


def _without_numbers(reason: str | None, side: Execution) -> str | None:
    return None if reason is None else _DIED.sub("died", re.sub(r"\d+", "N", _anonymous(reason, side)))


def _anonymous(text: str, side: Execution) -> str:
    """A value without what is this job's own: its id, and what the lab made unique for it."""
    return re.sub(r"-[0-9a-f]{8}\.", "-x.", text.replace(f"{side.id:08d}-", "<job>-"))
