"""Registering a worker with the master: who we say we are, and what it answers."""

import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from pseudoworker.errors import PseudoworkerError
from pseudoworker.openqa.client import Client
from pseudoworker.openqa.errors import Garbage, Refused
from pseudoworker.openqa.json import Json
from pseudoworker.openqa.retry import REGISTER, Policy
from pseudoworker.openqa.values import integer, positive_int

PORT_DELTA = 2
"""How far the live handler's port is from the web UI's when the master does not tell (releases before
2024)."""

_WEBSOCKET_API_VERSION = 1
"""`OpenQA::Constants`, WEBSOCKET_API_VERSION; the same in all releases so far."""


_CPUINFO = Path("/proc/cpuinfo")


class IncompatibleMaster(PseudoworkerError):
    """The master speaks another version of the worker's protocol (426); a newer pseudoworker may know it."""


@dataclass(frozen=True)
class Capabilities:
    """What a worker tells about its machine (`OpenQA::Worker`, `capabilities`).

    Nothing but the page of the worker shows it, unless a test reads it from its variables; so the machine
    that pseudoworker runs on will do, and the slave's workers' properties would be more honest.
    """

    cpu_arch: str
    mem_max: int
    """Memory in MiB."""
    cpu_modelname: str = ""
    cpu_opmode: str = ""
    cpu_flags: str = ""
    isotovideo_interface_version: int = 0
    """The version of os-autoinst's interface; 0 when not known, then it is not sent."""

    @classmethod
    def of_this_machine(cls, isotovideo_interface_version: int = 0) -> "Capabilities":
        """What a stock worker on this machine would say."""
        arch = platform.machine()
        cpu = _cpu(_CPUINFO)
        return cls(
            cpu_arch=arch,
            mem_max=psutil.virtual_memory().total // 2**20,
            cpu_modelname=cpu.get("model name", ""),
            cpu_opmode=_op_mode(arch, cpu.get("flags", "")),
            cpu_flags=cpu.get("flags") or cpu.get("Features", ""),
            isotovideo_interface_version=isotovideo_interface_version,
        )


@dataclass(frozen=True)
class Identity:
    """Who a slot is to the master. Host and instance together are its key: two processes must not share
    them."""

    host: str
    instance: int
    worker_class: str
    """Comma-separated, exactly as the master's scheduler shall match it."""
    capabilities: Capabilities
    parallel_one_host_only: bool = False
    """Ask the master's scheduler to keep a parallel cluster on workers of this host name (known from 2024
    on)."""


@dataclass(frozen=True)
class Registration:
    """What the master answered."""

    worker_id: int
    port_delta: int
    """To be added to an explicit port of the web UI to reach the live handler; 0 behind some reverse
    proxies."""


async def register(
    client: Client, identity: Identity, job_ids: Iterable[int] = (), *, policy: Policy = REGISTER
) -> Registration:
    """Register a slot, or register it again (`POST /api/v1/workers`).

    :param job_ids: every job that this slot still works on. A job that is left out is rescheduled when it was
        only assigned, and otherwise ends incomplete and is duplicated (`API/V1/Worker.pm`,
        `_incomplete_previous_job`).
    :raises IncompatibleMaster: the master wants another version of the protocol.
    :raises OpenQAError: see `pseudoworker.openqa.errors`; `Unauthorized` when the key is not accepted.
    """
    path = "/api/v1/workers"
    try:
        answer = await client.post_form(path, _fields(identity, job_ids), policy=policy)
    except Refused as error:
        if error.status != 426:
            raise
        raise IncompatibleMaster(
            f"{client.url} does not speak version {_WEBSOCKET_API_VERSION} of the worker's protocol:"
            f" {error.text}"
        ) from error
    return _registration(client.url_of(path), answer)


def _fields(identity: Identity, job_ids: Iterable[int]) -> list[tuple[str, str]]:
    capabilities = identity.capabilities
    fields = [
        ("host", identity.host),
        ("instance", str(identity.instance)),
        ("websocket_api_version", str(_WEBSOCKET_API_VERSION)),
        ("cpu_arch", capabilities.cpu_arch),
        ("mem_max", str(capabilities.mem_max)),
        ("worker_class", identity.worker_class),
    ]
    optional = {
        "isotovideo_interface_version": str(capabilities.isotovideo_interface_version or ""),
        "cpu_modelname": capabilities.cpu_modelname,
        "cpu_opmode": capabilities.cpu_opmode,
        "cpu_flags": capabilities.cpu_flags,
        "parallel_one_host_only": "1" if identity.parallel_one_host_only else "",
    }
    fields += [(key, value) for key, value in optional.items() if value]
    fields += [("job_id", str(job_id)) for job_id in job_ids]
    return fields


def _registration(url: str, answer: Json) -> Registration:
    if not isinstance(answer, dict):
        raise Garbage(f"answered with {type(answer).__name__} instead of an object", method="POST", url=url)
    worker_id = positive_int(answer.get("id"))
    if worker_id is None:
        raise Garbage(f"answered with the worker id {answer.get('id')!r}", method="POST", url=url)
    delta = integer(answer.get("service_port_delta"))
    return Registration(worker_id, PORT_DELTA if delta is None else delta)


def _cpu(cpuinfo: Path) -> dict[str, str]:
    """Read the first processor of /proc/cpuinfo, the source of the `lscpu` that a stock worker calls."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}  # not Linux, or no /proc: these capabilities are optional
    first = text.partition("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _op_mode(arch: str, flags: str) -> str:
    """Say it as `lscpu` does on a PC; elsewhere /proc/cpuinfo does not tell, and the capability is
    optional."""
    if arch not in ("x86_64", "i686", "i586"):
        return ""
    return "32-bit, 64-bit" if "lm" in flags.split() else "32-bit"
