"""Assets that arrive in chunks (Schema/Result/Jobs.pm create_asset, OpenQA/File.pm)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiohttp import web

from tests.fakes.exchange import Exchange, answer, error, text
from tests.fakes.model import Job
from tests.fakes.storable import NotStorable, thaw

if TYPE_CHECKING:
    from tests.fakes.server import FakeOpenQA

_WEAK_CHECK_FROM: Final = 250_000_000
_DISKS: Final = (".qcow2", ".raw", ".vhd", ".vhdx")


class Chunks:
    """Partial files, by job and name, until the last chunk."""

    def __init__(self, server: FakeOpenQA) -> None:
        self.server = server
        self.partial: dict[tuple[int, str, str], bytearray] = {}
        """By job, scope and final name."""
        self.discarded: list[str] = []
        """Names of uploads that the worker gave up."""

    async def take(
        self, job: Job, scope: str, upload: tuple[str, bytes] | None, local: str | None
    ) -> web.StreamResponse:
        """One chunk, or a file on this host."""
        name = upload[0] if upload else Path(local or "").name
        kind = upload_type(name)
        final = name if scope == "public" else f"{job.id:08d}-{name}"
        if local:
            self._finish(job, kind, final, await asyncio.to_thread(Path(local).read_bytes))
            job.report.uploads[f"{kind}/{name}#local"] += 1
            return answer({"status": "ok"})
        assert upload is not None
        try:
            chunk = thaw(upload[1])
            last = await self._write(job, scope, kind, final, chunk)
        except (NotStorable, KeyError, ValueError) as problem:
            job.report.refused["chunk"] += 1
            return error(f"Failed receiving asset: {problem!r}", 500)
        job.report.uploads[f"{kind}/{name}#{int(chunk['index'])}"] += 1
        return await self._repeated() if last == "repeated" else answer({"status": "ok"})

    async def _write(self, job: Job, scope: str, kind: str, final: str, chunk: dict[str, bytes]) -> str:
        content = bytes.fromhex(chunk["content"].decode())
        start, end, index, total = (int(chunk[name]) for name in ("start", "end", "index", "total"))
        partial = self.partial.setdefault((job.id, scope, final), bytearray())
        if len(partial) < start:
            partial.extend(bytes(start - len(partial)))
        partial[start : start + len(content)] = content
        last = index == total
        if (
            unpadded(hashlib.sha1(partial[start:end], usedforsecurity=False).digest())
            != chunk["cksum"].decode()
        ):
            if last:
                del self.partial[job.id, scope, final]
            raise ValueError("Can't verify written data from chunk")
        if not last:
            return ""
        wanted: int | str = end if end > _WEAK_CHECK_FROM else chunk["total_cksum"].decode()
        real: int | str = (
            len(partial) if end > _WEAK_CHECK_FROM else unpadded(hashlib.sha256(partial).digest())
        )
        del self.partial[job.id, scope, final]
        if wanted != real:
            raise ValueError(f"Checksum mismatch expected {wanted} got: {real} ( weak check on last bytes )")
        known = self.server.db.assets.get((kind, final))
        self._finish(job, kind, final, bytes(partial))
        return "repeated" if known is not None and known.created_by == job.id else "last"

    def _finish(self, job: Job, kind: str, final: str, content: bytes) -> None:
        self.server.db.register(kind, final, content, job.id)
        if (kind, final) not in job.assets:
            job.assets.append((kind, final))
        job.touch()

    async def _repeated(self) -> web.StreamResponse:
        how = self.server.flavour.repeated_asset
        if how == "hang":
            await asyncio.sleep(3600)
        return web.Response(status=500) if how == "fail" else answer({"status": "ok"})

    async def upload_state(self, exchange: Exchange) -> web.StreamResponse:
        """`POST jobs/<id>/upload_state`: the worker gave up an upload."""
        missing = [name for name in ("filename", "state", "scope") if not exchange.get(name)]
        if missing:
            # This route forgets to ask for JSON.
            return text(
                f"Erroneous parameters ({', '.join(f'{name} missing' for name in sorted(missing))})", 400
            )
        job_id, name, scope = (
            int(exchange.path["job"]),
            exchange.get("filename") or "",
            exchange.get("scope") or "",
        )
        final = name if scope == "public" else f"{job_id:08d}-{name}"
        if exchange.get("state") == "fail":
            self.partial.pop((job_id, scope, final), None)
            self.discarded.append(final)
        return text("OK")


def upload_type(name: str) -> str:
    """The kind of asset that an uploaded file's name makes it."""
    if name.endswith(".iso"):
        return "iso"
    return "hdd" if name.endswith(_DISKS) else "other"


def unpadded(digest: bytes) -> str:
    """Base64 without padding, as Digest::SHA writes it."""
    return base64.b64encode(digest).decode().rstrip("=")
