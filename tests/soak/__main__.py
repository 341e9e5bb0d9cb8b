"""`python -m tests.soak`: the long run. Prints its figures; the exit status is 1 when anything went wrong."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.soak.run import Plan, run


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--slots", type=int, default=20)
    parser.add_argument("--rate", type=float, default=0.003, help="chance of each of seven faults a request")
    parser.add_argument("--pause", type=float, default=20.0, help="seconds between two kills, on average")
    parser.add_argument("--seed", type=int, default=0)
    plan = Plan(**vars(parser.parse_args()))
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        report = run(plan, Path(directory))
    print("\n".join(report.lines()))
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
