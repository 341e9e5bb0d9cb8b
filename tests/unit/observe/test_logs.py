import io
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pseudoworker.observe.folding import Folding, ranges
from pseudoworker.observe.logs import TRACE, LogLevelError, SlotLogger, banner, set_up_logging
from pseudoworker.observe.secrets import Secrets


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Logging is global: give it back as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level
    root.setLevel(level)


def test_lines_are_as_openqas_worker_writes_them() -> None:
    stream = io.StringIO()
    set_up_logging(stream=stream)
    log = logging.getLogger("pseudoworker.test")
    log.info("Registering with openQA %s", "http://master")
    log.warning("unsteady")
    log.error("bad")
    log.critical("worse")
    log.debug("not shown")
    pid = os.getpid()
    assert stream.getvalue() == (
        f"[info] [pid:{pid}] Registering with openQA http://master\n"
        f"[warn] [pid:{pid}] unsteady\n[error] [pid:{pid}] bad\n[fatal] [pid:{pid}] worse\n"
    )


def test_the_level_is_that_of_log_level_and_verbose_means_debug_at_least() -> None:
    stream = io.StringIO()
    log = logging.getLogger("pseudoworker.test")
    for level, verbose in (("error", False), ("error", True), ("trace", True)):
        set_up_logging(level, verbose=verbose, stream=stream)
        log.debug("debug at %s %s", level, verbose)
        log.log(TRACE, "trace at %s %s", level, verbose)
    told = [line.partition("] [")[2].partition("] ")[2] for line in stream.getvalue().splitlines()]
    assert told == ["debug at error True", "debug at trace True", "trace at trace True"]


def test_an_unknown_level_names_the_known_ones() -> None:
    with pytest.raises(LogLevelError, match="LOG_LEVEL 'loud' is no level; use one of trace, debug, info"):
        set_up_logging("loud")


def test_in_the_journal_every_line_of_a_record_has_its_priority(tmp_path: Path) -> None:
    with (tmp_path / "journal").open("w+") as stream:
        status = os.fstat(stream.fileno())
        set_up_logging(stream=stream, environment={"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
        logging.getLogger("pseudoworker.test").warning("first\nsecond")
        stream.seek(0)
        assert stream.read() == f"<4>[warn] [pid:{os.getpid()}] first\n<4>second\n"


def test_elsewhere_there_is_no_priority(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w+") as stream:
        set_up_logging(stream=stream, environment={"JOURNAL_STREAM": "1:2"})
        logging.getLogger("pseudoworker.test").warning("text")
        stream.seek(0)
        assert stream.read().startswith("[warn] ")


def test_a_slots_lines_name_the_slot_and_both_jobs() -> None:
    stream = io.StringIO()
    set_up_logging(stream=stream)
    log = SlotLogger(logging.getLogger("pseudoworker.test"), 3)
    log.info("free")
    log.of_job(42).info("accepted")
    log.of_job(42, 17).info("%d %s", 5, "files")
    told = [line.partition("] [")[2].partition("] ")[2] for line in stream.getvalue().splitlines()]
    assert told == ["slot 3: free", "slot 3, job 42: accepted", "slot 3, job 42 -> 17: 5 files"]


def test_no_secret_is_written_not_even_in_a_traceback() -> None:
    stream = io.StringIO()
    secrets = Secrets(["1234567890ABCDEF"])
    set_up_logging(stream=stream, secrets=secrets)
    secrets.add("tokentoken")
    log = logging.getLogger("pseudoworker.test")
    try:
        raise ValueError("key 1234567890ABCDEF was refused")
    except ValueError:
        log.exception("with tokentoken and %s", {"_SECRET_PIN": "4711", "JOBTOKEN": "abc", "X": "y"})
    text = stream.getvalue()
    assert "ValueError: key [redacted] was refused" in text
    assert "with [redacted] and {'_SECRET_PIN': [redacted], 'JOBTOKEN': [redacted], 'X': 'y'}" in text
    for secret in ("1234567890ABCDEF", "tokentoken", "4711", "abc"):
        assert secret not in text


def test_control_characters_from_outside_do_not_reach_a_terminal() -> None:
    stream = io.StringIO()
    set_up_logging(stream=stream)
    logging.getLogger("pseudoworker.test").info("reason %s", "\x1b[2Jgone\r\x07")
    assert stream.getvalue().endswith("reason ?[2Jgone??\n")


def test_the_banner_is_laid_out_as_the_stock_workers() -> None:
    text = banner(
        "0.1",
        "1-4",
        [Path("/etc/openqa/workers.ini")],
        "bridge",
        [":lab:x", ":lab:y"],
        "http://m",
        "http://s",
        "/s",
    )
    assert text.splitlines() == [
        "pseudoworker 0.1, worker 1-4:",
        " - config files:            /etc/openqa/workers.ini",
        " - name used to register:   bridge",
        " - web UI host (master):    http://m",
        " - runs jobs on (slave):    http://s",
        " - class:                   :lab:x,:lab:y",
        " - state directory:         /s",
    ]


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


class _Folded:
    def __init__(self) -> None:
        self.now = 0.0
        self.kept = _Kept()
        self.folding = Folding(self.kept, window=60, clock=lambda: self.now)
        self.logger = logging.Logger("test")
        self.logger.addHandler(self.folding)


def test_a_repeated_failure_is_told_once_a_minute_with_how_often_and_where() -> None:
    folded = _Folded()
    for slot in (1, 2, 3, 7):
        SlotLogger(folded.logger, slot).warning("%s does not answer", "http://m")
    assert folded.kept.texts == ["http://m does not answer"]
    folded.now = 61
    folded.logger.info("something else")
    assert folded.kept.texts[1:] == ["http://m does not answer (3 times more, slots 2-3,7)", "something else"]
    folded.logger.warning("http://m does not answer")
    assert folded.kept.texts[3:] == ["http://m does not answer"]


def test_flushing_tells_what_was_held_back() -> None:
    folded = _Folded()
    folded.logger.error("full")
    folded.logger.error("full")
    folded.folding.flush()
    assert folded.kept.texts == ["full", "full (once more)"]
    folded.folding.flush()
    assert len(folded.kept.texts) == 2


def test_what_is_no_failure_is_never_folded() -> None:
    folded = _Folded()
    for _ in range(3):
        folded.logger.info("Accepting job")
    assert folded.kept.texts == ["Accepting job"] * 3


@given(st.lists(st.tuples(st.integers(0, 400), st.floats(0, 20)), max_size=400))
def test_no_failure_is_lost_and_memory_is_bounded(failures: list[tuple[int, float]]) -> None:
    folded = _Folded()
    for number, pause in failures:
        folded.now += pause
        folded.logger.warning("failure %d", number)
        assert len(folded.folding._seen) <= 256
    folded.folding.flush()
    told = 0
    for text in folded.kept.texts:
        _, _, count = text.partition(" (")
        told += 1 if not count or count.startswith("once") else int(count.split(" ")[0])
    assert told == len(failures)


@given(st.sets(st.integers(1, 60)))
def test_ranges_name_each_number_once(numbers: set[int]) -> None:
    read: list[int] = []
    for part in filter(None, ranges(numbers).split(",")):
        first, _, last = part.partition("-")
        read.extend(range(int(first), int(last or first) + 1))
    assert read == sorted(numbers)
