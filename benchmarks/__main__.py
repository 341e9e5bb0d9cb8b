"""`python -m benchmarks`: measure, and write the table.

Without arguments everything is measured at full size, which takes about an hour and needs the lab
(`examples/lab/lab up`) for the parts `wan` and `cost`. What is measured replaces what the JSON file
has of it; the Markdown is made of all that stands there. The exit status is 1 when a goal was missed."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path

from benchmarks.cost import cost
from benchmarks.scale import Pace, scale
from benchmarks.start import start
from benchmarks.table import Part, machine, markdown, read_json, write_json
from benchmarks.traffic import traffic
from benchmarks.wan import wan

SIZES = (1, 20, 100, 500)
PLACE = Path(__file__).parents[1] / "docs" / "performance"
Measure = Callable[[Path], Awaitable[Part]]
_BEGIN, _END = "<!-- table -->", "<!-- end of the table -->"


def measurements(options: argparse.Namespace) -> Mapping[str, list[Measure]]:
    """What there is to measure, by the name of the part."""
    pace = Pace(seconds=options.seconds, module=options.module)
    return {
        "scale": [partial(scale, slots, pace=pace) for slots in options.sizes],
        "start": [partial(start, max(options.sizes))],
        "bytes": [partial(traffic, 10)],
        "wan": [wan],
        "cost": [partial(cost, pairs=options.pairs)],
    }


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", metavar="part", help="scale, start, bytes, wan, cost; all by default"
    )
    parser.add_argument("--pairs", type=int, default=7, help="of jobs in `cost`")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="numbers of slots")
    parser.add_argument("--seconds", type=float, default=300.0, help="of each window")
    parser.add_argument("--module", type=float, default=60.0, help="seconds of a test module")
    parser.add_argument("--out", type=Path, default=PLACE, help="path of the two files without their suffix")
    options = parser.parse_args()
    known = measurements(options)
    if unknown := set(options.parts) - set(known):
        parser.error(f"there is no part {', '.join(sorted(unknown))}, only {', '.join(known)}")
    missed = False
    for name in options.parts or known:
        for measure in known[name]:
            with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
                part = asyncio.run(_run(measure, Path(directory)))
            print(markdown([part]), flush=True)
            missed = missed or bool(part.problems) or any(figure.missed > 1 for figure in part.figures)
            _write(options.out, part)
    return 1 if missed else 0


async def _run(measure: Measure, directory: Path) -> Part:
    return await measure(directory)


def _write(out: Path, part: Part) -> None:
    document = out.with_suffix(".json")
    write_json(document, [part])
    page = out.with_suffix(".md")
    text = page.read_text() if page.exists() else f"{_BEGIN}\n{_END}\n"
    head, _, rest = text.partition(_BEGIN)
    tail = rest.partition(_END)[2]
    where = ", ".join(f"{key} {value}" for key, value in machine().items())
    page.write_text(
        f"{head}{_BEGIN}\n\nMeasured on: {where}.\n\n{markdown(read_json(document))}\n{_END}{tail}"
    )


if __name__ == "__main__":
    sys.exit(main())
