"""Records what the two instances of the lab answer: `python -m tests.recordings.record [--flavour bw]`.

Needs a running lab (`examples/lab/lab up`). The master gets a few jobs of class `recording`, the slave one
job of the variant `plain`. Run it again after a change of the scenarios, and commit the files it writes.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import socket

from examples.lab.layout import Instance, current_lab
from examples.lab.variants import VARIANTS
from tests.fakes.caller import Caller
from tests.recordings import client_side, worker_side
from tests.recordings.recorder import DIRECTORY, Recorder


def main() -> None:
    """Record both scenarios, or one."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--flavour", default="bw", help="release of the lab's instances: bw, tx or sid")
    parser.add_argument("--only", choices=("worker", "client"))
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    logging.basicConfig(level=logging.DEBUG if options.verbose else logging.WARNING)
    if options.only != "client":
        asyncio.run(_worker(options.flavour))
    if options.only != "worker":
        asyncio.run(_client(options.flavour))


async def _worker(flavour: str) -> None:
    async with _caller(current_lab().master) as caller:
        recorder = Recorder(caller, _replacements(), frozenset({socket.gethostname()}))
        await worker_side.play(recorder)
        _save(recorder, flavour, "worker")


async def _client(flavour: str) -> None:
    async with _caller(current_lab().slave) as caller:
        recorder = Recorder(caller, _replacements(), frozenset({socket.gethostname()}))
        await client_side.play(recorder, VARIANTS["plain"].parameters({}, "recording"))
        _save(recorder, flavour, "client")


def _caller(instance: Instance) -> Caller:
    return Caller(instance.url, instance.operator.key, instance.operator.secret)


def _replacements() -> dict[str, str]:
    lab = current_lab()
    found = {str(lab.directory): "/srv/lab", **worker_side.REPLACEMENTS}
    for instance in lab:
        for key in instance.keys.values():
            found |= {key.key: "(key)", key.secret: "(secret)"}
    return found


def _save(recorder: Recorder, flavour: str, scenario: str) -> None:
    path = DIRECTORY / flavour / f"{scenario}.json"
    recorder.save(path)
    print(f"{path}: {len(recorder.exchanges)} answers, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
