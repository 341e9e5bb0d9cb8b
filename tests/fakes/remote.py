"""Fakes in processes of their own, and how a test talks to them."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp

from tests.fakes.ports import free_ports

_ROOT: Final = Path(__file__).parents[2]


class Remote:
    """The control interface of a fake that runs elsewhere (see `tests.fakes.control`)."""

    def __init__(self, url: str, pid: int, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.pid = pid
        self._session = session

    async def ask(self, path: str, method: str = "GET", document: Any = None) -> Any:
        """One request below `/fake`; raises `RuntimeError` with the answer's text when it is refused."""
        async with self._session.request(method, f"{self.url}/fake{path}", json=document) as response:
            if response.status >= 400:
                raise RuntimeError(f"{method} {path}: {response.status} {await response.text()}")
            return json.loads(await response.read())

    async def post(self, settings: Mapping[str, str], count: int = 1) -> list[int]:
        """Create jobs; their ids."""
        created = await self.ask("/jobs", "POST", {"settings": dict(settings), "count": count})
        return [entry["id"] for entry in created]

    async def state(self) -> dict[str, Any]:
        """Counts of jobs by `state/result`, workers, CPU seconds."""
        answer: dict[str, Any] = await self.ask("/state")
        return answer

    async def job(self, job_id: int) -> dict[str, Any]:
        """Everything about one job."""
        answer: dict[str, Any] = await self.ask(f"/jobs/{job_id}")
        return answer

    async def order(self, job_id: int, command: str, **options: str) -> None:
        """`cancel`, `restart`, `watch`, `open`, …"""
        query = "&".join(f"{key}={value}" for key, value in options.items())
        await self.ask(f"/jobs/{job_id}/{command}?{query}", "POST")

    async def fault(self, kind: str, action: str, **values: Any) -> None:
        """Let something go wrong (see `tests.fakes.faults.Fault`)."""
        await self.ask("/faults", "POST", {"kind": kind, "action": action, **values})

    async def clear_faults(self) -> None:
        """Let everything go right."""
        await self.ask("/faults", "DELETE")

    async def violations(self) -> list[str]:
        """What must never happen, and did."""
        answer: list[str] = await self.ask("/violations")
        return answer

    async def traffic(self, *, reset: bool = False) -> dict[str, Any]:
        """Requests and bytes by kind."""
        answer: dict[str, Any] = await self.ask("/traffic")
        if reset:
            await self.ask("/traffic", "DELETE")
        return answer

    async def set(self, **switches: Any) -> None:
        """Change `skew`, `paused`, `worker_timeout`, `refused`, `limit`."""
        await self.ask("/set", "POST", switches)


@asynccontextmanager
async def running(module: str, *arguments: str, port: int = 0) -> AsyncIterator[Remote]:
    """Run `tests.fakes.master` or `tests.fakes.slave` as a process; it is ended by its pid."""
    port = port or free_ports(3)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        "--port",
        str(port),
        *arguments,
        cwd=_ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        url = (await asyncio.wait_for(process.stdout.readline(), 20)).decode().strip()
        if not url:
            raise RuntimeError(f"{module} did not start: exit status {await process.wait()}")
        async with aiohttp.ClientSession() as session:
            yield Remote(url, process.pid, session)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
