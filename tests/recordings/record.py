"""Records what the two instances of the lab answer: `python -m tests.recordings.record [--flavour bw]`.

Needs a running lab (`examples/lab/lab up`). The master gets a few jobs of class `recording`, the slave one
job. Run it again after a change of the scenarios, and commit the files it writes.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import socket

from examples.lab.layout import Instance, current_lab
from examples.lab.variants import VARIANTS
from tests.fakes.caller import Caller
from tests.fakes.flavour import FLAVOURS
from tests.recordings import client_side, worker_side
from tests.recordings.recorder import DIRECTORY, Recorder


def main() -> None:
    """Record both scenarios, or one."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--flavour", default="bw", help="release of the lab's instances: bw, tx or sid")
    parser.add_argument("--variant", default="plain", help="of the job on the slave")
    parser.add_argument("--only", choices=("worker", "client"))
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    logging.basicConfig(level=logging.DEBUG if options.verbose else logging.WARNING)
    if options.only != "client":
        asyncio.run(_worker(options.flavour))
    if options.only != "worker":
        asyncio.run(_client(options.flavour, options.variant))


async def _worker(flavour: str) -> None:
    async with _caller(current_lab().master) as caller:
        recorder = Recorder(caller, _replacements(), frozenset({socket.gethostname()}))
        await worker_side.play(recorder, _live(current_lab().master, flavour))
        _save(recorder, flavour, "worker")


async def _client(flavour: str, variant: str) -> None:
    async with _caller(current_lab().slave) as caller:
        recorder = Recorder(caller, _replacements(), frozenset({socket.gethostname()}))
        await client_side.play(
            recorder, VARIANTS[variant].parameters({}, "recording"), _live(current_lab().slave, flavour)
        )
        _save(recorder, flavour, "client")


def _live(instance: Instance, flavour: str) -> str:
    """Where the pictures of running jobs are: at the live handler since 2024."""
    if not FLAVOURS[flavour].live_handler:
        return instance.url
    return f"http://127.0.0.1:{instance.base_port + 2}/liveviewhandler"


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
