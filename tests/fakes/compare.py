"""What a master holds of a job against what the slave holds of the same execution."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.fakes.control import digest, dump
from tests.fakes.model import Document, Job

if TYPE_CHECKING:
    from tests.fakes.server import FakeOpenQA

_OURS = frozenset({"worker-log.txt", "vars.json", "pseudoworker-log.txt"})
"""Files that may differ: the bridge adds to the worker's log and redacts the variables."""


def differences(slave: FakeOpenQA, ran: Job, master: FakeOpenQA, shown: Job) -> list[str]:
    """Every point in which they differ, in words; text results count wherever they lie."""
    left, right = dump(slave, ran), dump(master, shown)
    found = [
        f"{name}: {left[name]!r} on the slave, {right[name]!r} on the master"
        for name in ("result", "ulogs", "screenshots", "images", "thumbs")
        if left[name] != right[name]
    ]
    found += _modules(left["modules"], right["modules"])
    texts, shown_texts = _texts(ran, left), _texts(shown, right)
    names = sorted((set(texts) | set(shown_texts)) - _OURS)
    found += [
        f"file {name}: {texts.get(name)} on the slave, {shown_texts.get(name)} on the master"
        for name in names
        if texts.get(name) != shown_texts.get(name)
    ]
    for name in _OURS & set(texts):
        if name not in shown_texts:
            found.append(f"file {name} is missing on the master")
    contents = (*shown.files.values(), *shown.ulogs.values(), json.dumps(right["modules"]).encode())
    if any(token.encode() in content for token in ran.tokens for content in contents):
        found.append("the slave's JOBTOKEN is on the master")
    return found


def _modules(left: list[Document], right: list[Document]) -> list[str]:
    if [module["name"] for module in left] != [module["name"] for module in right]:
        return [
            f"modules: {[module['name'] for module in left]} against {[module['name'] for module in right]}"
        ]
    return [
        f"module {one['name']}, {key}: {one[key]!r} on the slave, {other[key]!r} on the master"
        for one, other in zip(left, right, strict=True)
        for key in ("category", "script", "result", "flags", "details")
        if _plain(one[key]) != _plain(other[key])
    ]


def _plain(value: Any) -> Any:
    """A details document without `text_data`, which is there or not depending on when one looks."""
    if not isinstance(value, dict) or not isinstance(value.get("details"), list):
        return value
    steps = [{key: entry for key, entry in step.items() if key != "text_data"} for step in value["details"]]
    return value | {"details": steps}


def _texts(job: Job, dumped: Document) -> dict[str, Any]:
    """All files with their digests, those that finalisation moved into the details included."""
    found = dict(dumped["files"])
    for module in job.modules.values():
        steps = (module.details or {}).get("details")
        for step in steps if isinstance(steps, list) else []:
            if step.get("text_data") is not None and step.get("text"):
                found[step["text"]] = digest(step["text_data"].encode())
    return found
