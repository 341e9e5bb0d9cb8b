"""`pseudoworker status`: asks the running processes of this host and shows their slots."""

from __future__ import annotations

import json as json_format
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TextIO

from pseudoworker.config.instances import parse_instances
from pseudoworker.config.load import Overrides, load
from pseudoworker.config.mistakes import ConfigurationError
from pseudoworker.config.schema import Unfit
from pseudoworker.observe.control import ControlError, NotRunning, ask, find_sockets
from pseudoworker.observe.snapshot import ProcessSnapshot, SlotSnapshot, SnapshotError, to_json
from pseudoworker.observe.texts import attention, duration, progress, size

OK, WARNING, CRITICAL, UNKNOWN = 0, 1, 2, 3
"""Exit status, as Nagios and its kin have it."""

SERVICE_DIRECTORY: Final = Path("/var/lib/openqa/pseudoworker")
"""StateDirectory= of the service units."""

_WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
_INTERVAL = 2.0
_HOME_AND_CLEAR = "\x1b[H\x1b[J"

_HEAD = ("SLOT", "STATE", "MASTER JOB", "SLAVE JOB", "PHASE", "MODULE", "RELAYED", "SINCE", "REMARK")


@dataclass(frozen=True)
class Report:
    """What was found: the exit status, one line that says it, and each process."""

    code: int
    summary: str
    processes: tuple[ProcessSnapshot, ...] = ()


def run(overrides: Overrides, *, json: bool = False, output: TextIO | None = None) -> int:
    """Show the slots of all processes of this host, or of `--instance` only; the exit status is Nagios'.

    0 all slots are free or working; 1 some are broken or offline; 2 all are, or no process runs; 3 it
    cannot be said. On a terminal the table refreshes until interrupted.
    """
    output = sys.stdout if output is None else output
    try:
        wanted = _wanted(overrides.instances)
    except Unfit as unfit:
        sys.stderr.write(f"pseudoworker: --instance: {unfit.what}; {unfit.remedy}\n")
        return UNKNOWN
    directories = _directories(overrides, os.environ)
    report = look(directories, wanted)
    if json:
        document = {
            "status": _WORDS[report.code].lower(),
            "summary": report.summary,
            "processes": [to_json(process) for process in report.processes],
        }
        output.write(json_format.dumps(document, indent=1) + "\n")
        return report.code
    if not output.isatty():
        output.write(show(report, time.time()))
        return report.code
    try:
        while True:
            width = shutil.get_terminal_size().columns
            output.write(_HOME_AND_CLEAR + show(report, time.time(), width))
            output.flush()
            time.sleep(_INTERVAL)
            report = look(directories, wanted)
    except KeyboardInterrupt:
        return report.code


def look(directories: Sequence[Path], wanted: frozenset[int] | None = None) -> Report:
    """Ask every process that keeps its state in one of these directories."""
    processes: list[ProcessSnapshot] = []
    failures: list[str] = []
    code = OK
    try:
        for path in find_sockets(directories):
            try:
                processes.append(_only(ask(path), wanted))
            except NotRunning:
                continue  # left behind by a process that was killed
            except ControlError as error:
                failures.append(str(error))
                code = max(code, CRITICAL)
    except (ControlError, SnapshotError) as error:
        return Report(UNKNOWN, f"UNKNOWN - {error}")
    shown = tuple(process for process in processes if process.slots or wanted is None)
    slots = [slot for process in shown for slot in process.slots]
    if not failures and not shown:
        places = ", ".join(map(str, directories))
        who = "pseudoworker" if wanted is None else "process for these instances"
        return Report(CRITICAL, f"CRITICAL - no {who} runs (looked in {places}); start pseudoworker@…")
    code = max(code, _code(slots))
    counts: dict[str, int] = {}
    for slot in slots:
        counts[slot.state] = counts.get(slot.state, 0) + 1
    states = ", ".join(f"{count} {state}" for state, count in counts.items()) or "no slots"
    return Report(code, f"{_WORDS[code]} - {'; '.join([states, *failures])}", shown)


def show(report: Report, now: float, width: int | None = None) -> str:
    """The report as text for people, lines cut to `width` characters."""
    lines = [report.summary]
    for process in report.processes:
        lines.append("")
        lines.append(
            f"process {process.pid}, release {process.version}, up {duration(now - process.started)}: "
            f"{process.master_url} -> {process.slave_url}"
        )
        lines.extend(_table(process.slots, now))
    return "".join(_clean(line)[:width] + "\n" for line in lines)


def _code(slots: Sequence[SlotSnapshot]) -> int:
    ill = sum(slot.state in ("broken", "offline") for slot in slots)
    if not ill:
        return OK
    return CRITICAL if ill == len(slots) else WARNING


def _only(process: ProcessSnapshot, wanted: frozenset[int] | None) -> ProcessSnapshot:
    if wanted is None:
        return process
    return replace(process, slots=tuple(slot for slot in process.slots if slot.instance in wanted))


def _table(slots: Sequence[SlotSnapshot], now: float) -> list[str]:
    rows = [_HEAD, *(_row(slot, now) for slot in slots)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = [
        "  ".join(cell.ljust(wide) for cell, wide in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    told = lines[:1]
    for slot, line in zip(slots, lines[1:], strict=True):
        told.append(line)
        if slot.master_url or slot.slave_url:
            told.append(f"{'':{widths[0]}}  {slot.master_url or '?'} -> {slot.slave_url or 'not yet posted'}")
    return told


def _row(slot: SlotSnapshot, now: float) -> tuple[str, ...]:
    return (
        str(slot.instance),
        slot.state,
        "" if slot.master_job is None else str(slot.master_job),
        "" if slot.slave_job is None else str(slot.slave_job),
        slot.phase,
        progress(slot),
        size(slot.bytes_relayed) if slot.bytes_relayed else "",
        duration(now - slot.since) if slot.since else "",
        attention(slot),
    )


def _clean(line: str) -> str:
    """Names that came from a slave must not steer the terminal."""
    return "".join(character if character.isprintable() else "?" for character in line)


def _wanted(text: str | None) -> frozenset[int] | None:
    if text is None:
        return None
    instances = parse_instances(text)
    return None if instances is None else frozenset(instances)


def _directories(overrides: Overrides, environment: Mapping[str, str]) -> list[Path]:
    """Where processes of this host may keep their state: as configured here, and as the units have it."""
    try:
        configured = [load(overrides, environment).state_dir]
    except ConfigurationError:
        configured = []  # a service that runs can be asked even while its files are being changed
    return list(dict.fromkeys([*configured, SERVICE_DIRECTORY]))
