"""Runs the relay, live and asset scenarios between openQA instances of different releases:
`python -m tests.real.matrix`, or `make matrix`.

Each pair of releases gets a lab of its own, one after the other, and each lab is stopped when its pair is
done. Releases that are not this machine's own run from the root directories that `examples/lab/lab root`
makes; what is missing of them is built first. The result is a table, which `--write` puts into
docs/compatibility.md, where the rows of pairs that were not run are kept.
"""

from __future__ import annotations

import argparse
import datetime
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from examples.lab.layout import DEFAULT_DIRECTORY
from examples.lab.releases import RELEASES, build_root

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "compatibility.md"
INSTALLED = "bookworm"
"""The release of this machine itself, for which no root directory is needed."""

_WAYS = "plain or failed or cancelled-on-master or products"
"""Ways in which a job can go that differ in what passes between the sides; `failed` is softfailed, too."""
_ASSETS = "carries and (local or url or upload) or private or lacks"
"""Products that come back are among the ways of a job, and chains among the tests of clusters."""

SCENARIOS: Mapping[str, Sequence[str]] = {
    "relay": ("tests/real/test_fidelity.py", "-k", f"jobtoken or holds_what and ({_WAYS})"),
    "live": ("tests/real/test_live.py",),
    "assets": ("tests/real/test_assets.py", "-k", _ASSETS),
    "check": ("tests/real/test_check.py",),
}
"""What is run for each pair: arguments of pytest. The shapes of test_fidelity.py are left out, since a stock
worker of another release leaves other files."""

BRIEF: Mapping[str, Sequence[str]] = {
    "relay": ("tests/real/test_fidelity.py", "-k", "jobtoken or holds_what and plain"),
    "live": ("tests/real/test_live.py", "-k", "last_viewer"),
    "assets": ("tests/real/test_assets.py", "-k", "carries and (url or upload)"),
    "check": SCENARIOS["check"],
}
"""The same for `--brief`: one job each, or two."""

_PORTS = {"LAB_MASTER_PORT": 13000, "LAB_SLAVE_PORT": 14000}  # below those that the system gives out
_NUMBERS = {"LAB_SLAVE_FIRST_WORKER": 451, "LAB_NATIVE_FIRST_WORKER": 471}
_WORKERS = {"LAB_SLAVE_WORKERS": 2, "LAB_NATIVE_WORKERS": 1}
_HEAD = ("master", "slave", *SCENARIOS, "run on")


@dataclass(frozen=True)
class Pair:
    """The releases of both sides: `bookworm`, or one of `examples.lab.releases`."""

    master: str
    slave: str

    @staticmethod
    def named(text: str) -> Pair:
        """From `MASTER/SLAVE`; raises ValueError for anything else."""
        pair = Pair(*text.split("/")) if text.count("/") == 1 else Pair("", "")
        if not {pair.master, pair.slave} <= {INSTALLED, *RELEASES}:
            raise ValueError(f"{text}: MASTER/SLAVE of {INSTALLED}, {', '.join(RELEASES)} is needed")
        return pair

    def __str__(self) -> str:
        return f"{self.master}/{self.slave}"

    @property
    def environment(self) -> dict[str, str]:
        """Names this pair's lab for `examples/lab/lab` and for the tests."""
        choice = {name: str(number) for name, number in {**_PORTS, **_NUMBERS, **_WORKERS}.items()}
        directory = f"{DEFAULT_DIRECTORY}-matrix-{self.master}-{self.slave}"
        return {**os.environ, **choice, "LAB_DIR": directory}


PAIRS = (
    Pair(INSTALLED, "backports"),
    Pair("backports", INSTALLED),
    Pair(INSTALLED, "sid"),
    Pair("sid", INSTALLED),
    Pair("backports", "backports"),
    Pair("sid", "sid"),
)


@dataclass(frozen=True)
class Outcome:
    """How the tests of one scenario ended, and how long they took, in seconds."""

    passed: int
    failed: Sequence[str]
    seconds: float

    def __str__(self) -> str:
        total = self.passed + len(self.failed)
        if not total:
            return f"**no test ran**, {self.seconds:.0f} s"
        result = f"**{len(self.failed)} failed**" if self.failed else "passed"
        return f"{result}, {self.passed} of {total}, {self.seconds:.0f} s"

    @property
    def good(self) -> bool:
        """Whether something was tested, and all of it passed."""
        return self.passed > 0 and not self.failed


def main(arguments: Sequence[str]) -> int:
    """Exit status 0 when all passed, 1 when something failed, 2 when used wrongly."""
    options = _parser().parse_args(arguments)
    good = True
    rows: dict[Pair, str] = {}
    versions = {
        name: _version(name) for name in sorted({its for pair in options.pairs for its in _sides(pair)})
    }
    for name, version in versions.items():
        print(f"{name}: {version}", flush=True)
    for pair in options.pairs:
        tests = BRIEF if options.brief else SCENARIOS
        outcomes = _run_pair(pair, {name: tests[name] for name in options.scenario})
        good = good and all(outcome.good for outcome in outcomes.values())
        rows[pair] = _row(pair, outcomes, brief=options.brief)
        for name, outcome in outcomes.items():
            print(
                f"{pair} {name}: {outcome}",
                *(f"  {failed}" for failed in outcome.failed),
                sep="\n",
                flush=True,
            )
    print(_line(_HEAD), *rows.values(), sep="\n")
    if options.write:
        DOCUMENT.write_text(updated(DOCUMENT.read_text(), rows, versions))
    return 0 if good else 1


def updated(document: str, rows: Mapping[Pair, str], versions: Mapping[str, str]) -> str:
    """The document with these rows in place of the ones for the same pairs, and with these versions."""
    known = {f"| {pair.master} | {pair.slave} |": row for pair, row in rows.items()}
    for name, version in versions.items():
        about = RELEASES[name].about if name in RELEASES else "Debian 12, January 2023"
        known[f"| {name} |"] = f"| {name} | {about} | {version} |"
    lines = document.splitlines()
    for beginning, text in known.items():
        # the releases stand above the pairs
        place = next(number for number, line in enumerate(lines) if line.startswith(beginning))
        lines[place] = text
    return "\n".join(lines) + "\n"


def _sides(pair: Pair) -> tuple[str, str]:
    return pair.master, pair.slave


def _version(release: str) -> str:
    """The packages that matter, with their versions; builds the release's root directory if need be."""
    query = ["dpkg-query", "--show", "--showformat", "${Package} ${Version}\n"]
    packages = ["openqa", "openqa-worker", "os-autoinst"]
    if release != INSTALLED:
        query = ["chroot", str(build_root(release)), *query]
    shown = subprocess.run(
        [*query, *packages], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    return ", ".join(shown)


def _run_pair(pair: Pair, scenarios: Mapping[str, Sequence[str]]) -> dict[str, Outcome]:
    with _lab(pair):
        return {name: _run_tests(pair, arguments) for name, arguments in scenarios.items()}


@contextmanager
def _lab(pair: Pair) -> Iterator[None]:
    lab = [str(ROOT / "examples" / "lab" / "lab")]
    releases = [
        f"--{side}-release={release}"
        for side, release in (("master", pair.master), ("slave", pair.slave))
        if release != INSTALLED
    ]
    try:
        subprocess.run([*lab, "up", *releases], check=True, env=pair.environment)
        yield
    finally:
        subprocess.run([*lab, "down"], check=True, env=pair.environment)


def _run_tests(pair: Pair, arguments: Sequence[str]) -> Outcome:
    report = Path(pair.environment["LAB_DIR"]) / "tests.xml"
    report.unlink(missing_ok=True)
    begin = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", f"--junitxml={report}", *arguments]
    subprocess.run(command, check=False, cwd=ROOT, env=pair.environment)
    seconds = time.monotonic() - begin
    if not report.exists():
        return Outcome(0, (), seconds)
    cases = list(ElementTree.parse(report).iter("testcase"))
    bad = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    names = [str(case.get("name")) for case in bad]
    skipped = [case for case in cases if case.find("skipped") is not None]
    return Outcome(len(cases) - len(bad) - len(skipped), names, seconds)


def _row(pair: Pair, outcomes: Mapping[str, Outcome], *, brief: bool) -> str:
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    shown = [str(outcomes[name]) if name in outcomes else "not run" for name in SCENARIOS]
    return _line([*_sides(pair), *shown, f"{today}, brief" if brief else today])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(re.sub(r'[|]', '/', cell) for cell in cells)} |"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.real.matrix",
        description="Real openQA instances of different releases, in pairs.",
    )
    parser.add_argument(
        "pairs", nargs="*", type=Pair.named, default=PAIRS, metavar="MASTER/SLAVE",
        help=f"releases of both sides, of {INSTALLED}, {', '.join(RELEASES)}; none: all six pairs",
    )  # fmt: skip
    parser.add_argument(
        "--scenario",
        nargs="+",
        choices=list(SCENARIOS),
        default=list(SCENARIOS),
        help="only these; none: all",
    )
    parser.add_argument("--brief", action="store_true", help="one job for each scenario, or two")
    parser.add_argument(
        "--write", action="store_true", help=f"put the table into {DOCUMENT.relative_to(ROOT)}"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
