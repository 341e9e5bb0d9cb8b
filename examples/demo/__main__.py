"""Posts a job on the master of the lab, lets pseudoworker run it on the slave, and shows how it goes.

`make demo` runs this after the lab's packages are installed. The lab keeps running afterwards, so that the
result can be looked at; `examples/lab/lab down` stops it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from examples.lab import Lab, OpenqaApi, current_lab, post
from examples.lab.control import Control
from examples.lab.federation import write_configuration
from pseudoworker.observe.control import NotRunning, ask, find_sockets
from pseudoworker.observe.snapshot import SlotSnapshot

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 600.0
"""Seconds after which the demonstration gives up."""


def main() -> int:
    """Run the demonstration; 0 when the job passed on both sides."""
    lab = current_lab()
    print("Starting two openQA instances (the first time takes half a minute) …", flush=True)
    Control(lab).up()
    print(f"  master {lab.master.url}\n  slave  {lab.slave.url}", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="pseudoworker-demo-") as directory,
        _pseudoworker(lab, Path(directory)),
    ):
        job_id = post(lab.master, "plain", WORKER_CLASS=":lab:qemu_x86_64")[""]
        print(
            f"Posted job {job_id} of class :lab:qemu_x86_64 on the master: {lab.master.url}/tests/{job_id}",
            flush=True,
        )
        result = _follow(lab, job_id, Path(directory))
    url = f"{lab.master.url}/tests/{job_id}"
    print(f"\nThe master's job {job_id} ended as {result}. Look at it: {url}")
    print("`examples/lab/lab down` stops both instances.")
    return 0 if result == "passed" else 1


@contextmanager
def _pseudoworker(lab: Lab, directory: Path) -> Iterator[None]:
    """A pseudoworker with four slots, stopped in the end."""
    write_configuration(lab, directory)
    log = directory / "pseudoworker.log"
    command = [sys.executable, "-m", "pseudoworker", "run", "--instance", "1-4", "--config", str(directory)]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "STATE_DIRECTORY": str(directory)}
    with (
        log.open("wb") as output,
        subprocess.Popen(command, env=environment, stdout=output, stderr=output) as process,
    ):
        try:
            yield
        except BaseException:
            print(f"\npseudoworker said:\n{log.read_text(errors='replace')}", file=sys.stderr)
            raise
        finally:
            process.terminate()
            process.wait(30)


def _follow(lab: Lab, job_id: int, directory: Path) -> str:
    """Print each change until the job has ended; its result on the master."""
    api = OpenqaApi(lab.master.url)
    shown = ""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        job = api.get(f"jobs/{job_id}")["job"]
        line = f"  master: {job['state']:<10}{_progress(_slot_of(job_id, directory))}"
        if line != shown:
            print(line, flush=True)
            shown = line
        if job["state"] == "done":
            return str(job["result"])
        time.sleep(0.5)
    raise TimeoutError(f"job {job_id} has not ended within {LIMIT:.0f} s")


def _slot_of(job_id: int, directory: Path) -> SlotSnapshot | None:
    """The slot that has the job, as `pseudoworker status` would show it."""
    for path in find_sockets([directory]):
        try:
            slots = ask(path).slots
        except NotRunning:
            continue
        for slot in slots:
            if slot.master_job == job_id:
                return slot
    return None


def _progress(slot: SlotSnapshot | None) -> str:
    if slot is None:
        return ""
    where = f"slot {slot.instance}, {slot.phase}"
    if slot.slave_job is not None:
        where += f", slave job {slot.slave_job}"
    module = f", module {slot.module_index} of {slot.module_count} ({slot.module})" if slot.module else ""
    return f"{where}{module}, {slot.bytes_relayed} bytes relayed"


if __name__ == "__main__":
    sys.exit(main())
