"""Logging as openQA's worker does it: `[info] [pid:42] text`, readable on a terminal and by the journal."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, TextIO

from pseudoworker.errors import PseudoworkerError
from pseudoworker.observe.folding import Folding
from pseudoworker.observe.secrets import Secrets

TRACE = 5
"""Below DEBUG, as Mojo::Log has it."""

_LEVELS = {
    "trace": TRACE,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
}
"""Names of LOG_LEVEL in workers.ini (Mojo::Log's levels; `warning` is taken as well)."""

_NAMES = {TRACE: "trace", 10: "debug", 20: "info", 30: "warn", 40: "error", 50: "fatal"}
_PRIORITIES = {TRACE: 7, 10: 7, 20: 6, 30: 4, 40: 3, 50: 2}
"""syslog(3) priorities, as the journal reads them from `<N>` at the beginning of a line."""


class LogLevelError(PseudoworkerError):
    """LOG_LEVEL names no level."""


def set_up_logging(
    level: str = "info",
    *,
    verbose: bool = False,
    secrets: Secrets | None = None,
    stream: TextIO | None = None,
    environment: Mapping[str, str] | None = None,
) -> Folding:
    """Send all logging of this process to standard error (or `stream`).

    `level` is LOG_LEVEL of workers.ini, one of trace, debug, info, warn, error, fatal; `verbose` means debug
    at least, as the stock worker's `--verbose`. Lines begin with a priority when they go to the journal.
    Repeated failures are folded; call `.flush()` of what is returned before the process ends.

    Raises LogLevelError for an unknown level.
    """
    threshold = level_number(level)
    stream = sys.stderr if stream is None else stream
    output = logging.StreamHandler(stream)
    output.setFormatter(
        LineFormatter(secrets or Secrets(), with_priority=_goes_to_journal(stream, environment))
    )
    folding = Folding(output)
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    root.addHandler(folding)
    root.setLevel(min(threshold, logging.DEBUG) if verbose else threshold)
    for chatty in ("urllib3", "requests", "websockets", "asyncio"):
        # what they say on debug level is about bytes, not about jobs, and may hold headers
        logging.getLogger(chatty).setLevel(logging.WARNING)
    return folding


def level_number(name: str) -> int:
    """The number of a level's name. Raises LogLevelError for an unknown one."""
    number = _LEVELS.get(name.strip().lower())
    if number is None:
        raise LogLevelError(f"LOG_LEVEL {name!r} is no level; use one of {', '.join(_LEVELS)}")
    return number


class SlotLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger for one slot: each line tells the slot and both jobs, so that one `grep` shows one job.

    `slot 3: text`, `slot 3, job 42: text`, `slot 3, job 42 -> 17: text`; 42 is the master's, 17 the slave's.
    """

    def __init__(
        self, logger: logging.Logger, slot: int, master_job: int | None = None, slave_job: int | None = None
    ) -> None:
        super().__init__(logger, {})
        self.slot = slot
        self.master_job = master_job
        self.slave_job = slave_job

    def of_job(self, master_job: int | None, slave_job: int | None = None) -> SlotLogger:
        """A logger for the same slot and another pair of jobs."""
        return SlotLogger(self.logger, self.slot, master_job, slave_job)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Hand slot and jobs on beside the text, so that folding sees that a text repeats."""
        where = f"slot {self.slot}"
        if self.master_job is not None:
            where += f", job {self.master_job}"
            if self.slave_job is not None:
                where += f" -> {self.slave_job}"
        kwargs["extra"] = {**(kwargs.get("extra") or {}), "where": where, "slot": self.slot}
        return msg, kwargs


class LineFormatter(logging.Formatter):
    """`[level] [pid:N] where: text`; secrets are hidden, and in the journal every line has its priority."""

    def __init__(self, secrets: Secrets, *, with_priority: bool) -> None:
        super().__init__("%(message)s")
        self._secrets = secrets
        self._with_priority = with_priority

    def format(self, record: logging.LogRecord) -> str:
        """The whole record, with its traceback if it has one."""
        text = self._secrets.hide(super().format(record))
        where = getattr(record, "where", "")
        level = _at_most(record.levelno)
        line = f"[{_NAMES[level]}] [pid:{os.getpid()}] {where}{': ' if where else ''}{_printable(text)}"
        if not self._with_priority:
            return line
        # each line of a banner or a traceback is an entry of its own in the journal
        return "\n".join(f"<{_PRIORITIES[level]}>{part}" for part in line.split("\n"))


def banner(
    version: str,
    instances: str,
    files: Sequence[object],
    host: str,
    classes: Sequence[str],
    master: str,
    slave: str,
    state_directory: object,
) -> str:
    """What the process says first, laid out as the stock worker's (OpenQA::Worker, `log_setup_info`)."""
    rows = (
        ("config files", ", ".join(map(str, files)) or "not found"),
        ("name used to register", host),
        ("web UI host (master)", master),
        ("runs jobs on (slave)", slave),
        ("class", ",".join(classes) or "?"),
        ("state directory", str(state_directory)),
    )
    lines = "".join(f"\n - {name + ':':<25}{value}" for name, value in rows)
    return f"pseudoworker {version}, worker {instances}:{lines}"


def _at_most(number: int) -> int:
    return max((level for level in _NAMES if level <= number), default=TRACE)


def _printable(text: str) -> str:
    """No control characters from outside may reach a terminal; line feeds of a banner or traceback may."""
    return "".join(character if character.isprintable() or character in "\n\t" else "?" for character in text)


def _goes_to_journal(stream: TextIO, environment: Mapping[str, str] | None) -> bool:
    """Whether systemd connected `stream` to the journal: $JOURNAL_STREAM is then its device and inode."""
    environment = os.environ if environment is None else environment
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
