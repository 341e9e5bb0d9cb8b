"""Every reason that the program can give stands in the tables of docs/operations.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
BRIDGE = ROOT / "pseudoworker" / "bridge"
ANY = "…"

JOB_CALLS = {
    "Ending": "",
    "failure": "",
    "Failed": "",
    "RelayFailed": "",
    "NotRunnable": "",
    "ClusterFailed": "",
    "CreateRefused": "",
    "UnmappedClass": "setup failure: ",
    "UnpostableJob": "setup failure: ",
}
"""What is called with a reason of a job, and what is put before it on the way."""

SLOT_PLACES = {
    "availability.py": ("why_not", "__init__", "_look"),
    "slot.py": ("_why_not",),
    "assets/provider.py": ("problem",),
    "assets/space.py": ("_too_much",),
    "journal_file.py": ("_failed",),
}
"""Functions that make the reason why a slot takes no job."""

DEFECTS = {
    "setup failure: … cannot name a job in a request: use letters, digits, _ and -",
    "setup failure: jobs to create need one key each, not …",
}
"""What only a defect of ours could say."""


def _text(node: ast.expr) -> str | None:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(_text(value) or ANY for value in values)
    return None


def _trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in (*BRIDGE.rglob("*.py"), ROOT / "pseudoworker" / "slave" / "posting.py"):
        yield path, ast.parse(path.read_text())


def _job_reasons() -> Iterator[str]:
    for path, tree in _trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                if name in JOB_CALLS:
                    arguments = [*node.args, *(its.value for its in node.keywords if its.arg == "reason")]
                    texts = [text for argument in arguments if (text := _text(argument)) is not None]
                    yield from (JOB_CALLS[name] + text for text in texts)
            elif path.name == "endings.py" and isinstance(node, ast.Assign) and (text := _text(node.value)):
                yield text


def _slot_reasons() -> Iterator[str]:
    yield "currently stopping"
    for name, functions in SLOT_PLACES.items():
        for node in ast.walk(ast.parse((BRIDGE / name).read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in functions:
                skipped = {id(node.body[0].value)} if isinstance(node.body[0], ast.Expr) else set()
                joined = [its for its in ast.walk(node) if isinstance(its, ast.JoinedStr)]
                skipped |= {id(part) for its in joined for part in ast.walk(its) if part is not its}
                for each in ast.walk(node):
                    if isinstance(each, ast.expr) and id(each) not in skipped:
                        text = _text(each)
                        if text is not None and " " in text.strip("; ") and "%s" not in text:
                            yield text


def _rows(table: str) -> list[str]:
    """The reasons of the first column of a table, by a word of the line above it."""
    text = (ROOT / "docs" / "operations.md").read_text().partition(table)[2].partition("\n\n|")[2]
    cells = [line.split(" | ")[0] for line in text.partition("\n\n")[0].splitlines()]
    return [reason for cell in cells for reason in re.findall(r"`([^`]+)`", cell)]


def _covers(row: str, reason: str) -> bool:
    pattern = ".*".join(map(re.escape, row.split(ANY)))
    return re.match(pattern, reason.replace(ANY, "X")) is not None


JOB_REASONS = sorted(
    # what comes after is collected where it is made
    {reason for reason in _job_reasons() if re.search("[a-z]", reason)} - DEFECTS - {"setup failure: …"}
)
SLOT_REASONS = sorted({reason for reason in _slot_reasons() if re.search("[a-z]", reason)})


def test_the_reasons_are_found() -> None:
    assert {"abort", "asset failure: …", "api failure: …", "worker broken: …"} <= set(JOB_REASONS)
    assert "… on the slave: …" in JOB_REASONS
    assert "the slave has no worker of class …" in SLOT_REASONS
    assert any(reason.startswith("only … are free in …") for reason in SLOT_REASONS)


@pytest.mark.parametrize("reason", JOB_REASONS)
def test_each_reason_of_a_job_stands_in_the_table(reason: str) -> None:
    assert any(_covers(row, reason) for row in _rows("On a job (")), reason


@pytest.mark.parametrize("reason", SLOT_REASONS)
def test_each_reason_of_a_slot_stands_in_the_table(reason: str) -> None:
    assert any(_covers(row, reason) for row in _rows("On a slot (")), reason


def test_no_row_takes_every_reason() -> None:
    for row in (*_rows("On a job ("), *_rows("On a slot (")):
        assert not _covers(row, "setup failure: something that nobody has thought of yet"), row
        assert not _covers(row, "something that nobody has thought of yet"), row
