"""Uploading an asset to an instance as the product of a job, in chunks, as openQA's worker does
(`OpenQA::Client::Upload` asset, `OpenQA::Schema::Result::Jobs` create_asset)."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from pseudoworker.master.job import LeaseLost
from pseudoworker.openqa.chunks import pack, unpadded
from pseudoworker.openqa.client import Client
from pseudoworker.openqa.errors import (
    Busy,
    ClockSkew,
    Garbage,
    NotFound,
    OpenQAError,
    ServerFailed,
    Unreachable,
)
from pseudoworker.openqa.retry import CHUNK, PROBE, READ, Policy, retrying
from pseudoworker.openqa.served import Served, look
from pseudoworker.openqa.threads import in_thread
from pseudoworker.openqa.views import parse_job

UNCHECKED_FROM = 250_000_000
"""Bytes above which openQA compares the size only, not the checksum of the whole (create_asset)."""

log = logging.getLogger(__name__)

_MOST_RESTARTS = 3
_SETTLING_PAUSE = 5.0
_SETTLED = 3
"""Times in a row that the partial file must be seen before the last chunk counts as not taken."""

# A chunk is sent again after an outage for as long as any upload; after a 500, which the server means, for
# less.
_OUTAGE = replace(CHUNK, retried=(Unreachable, Busy, ClockSkew))
_FAILING = replace(CHUNK, retried=(ServerFailed,), limit=120)
# After the last chunk the server works on the whole file before it answers. When no answer comes, sending it
# again is no way out: the release of 2023 does not answer at all for an asset that it has (the job's row
# exists already).
_LAST = replace(CHUNK, retried=(ClockSkew,))


class UploadFailure(OpenQAError):
    """An instance does not take an asset, whatever we try. The partial file was discarded."""


class Digest(Protocol):
    """A checksum that is being computed (hashlib)."""

    def update(self, data: bytes, /) -> None:
        """Take in more."""
        ...

    def digest(self) -> bytes:
        """The checksum so far."""
        ...


class Bytes(Protocol):
    """Where the content of an upload comes from."""

    async def read(self, count: int) -> bytes:
        """The next `count` bytes, fewer only at the end."""
        ...

    async def close(self) -> None:
        """No more is wanted."""
        ...


@dataclass(frozen=True)
class Upload:
    """What to upload, and as what."""

    job_id: int
    name: str
    """Plain file name, already checked; the instance puts the job's id before it unless the scope is
    `public`."""
    scope: str
    """`public` or `private`."""
    size: int
    chunk_size: int

    @property
    def chunks(self) -> int:
        """Number of chunks; an empty file is one empty chunk."""
        return max(1, -(-self.size // self.chunk_size))

    @property
    def stored_name(self) -> str:
        """What the instance calls it."""
        return self.name if self.scope == "public" else f"{self.job_id:08d}-{self.name}"

    @property
    def final_path(self) -> str:
        """Where the instance serves it in the end."""
        return f"/assets/{stored_type(self.name)}/{self.stored_name}"

    @property
    def partial_path(self) -> str:
        """Where the instance serves the partial file while chunks come in (WebAPI/Controller/File.pm,
        download_asset: anything below the factory directory)."""
        name = self.stored_name
        return f"/assets/tmp/{self.scope}/{self.job_id:08d}/{name}.CHUNKS/{name}"


def stored_type(name: str) -> str:
    """The type that openQA gives an uploaded file by its name (create_asset)."""
    if name.endswith(".iso"):
        return "iso"
    return "hdd" if name.endswith((".qcow2", ".raw", ".vhd", ".vhdx")) else "other"


class Uploader:
    """Uploads assets to one instance. `executor` is for its blocking requests and checksums."""

    def __init__(self, client: Client, executor: Executor) -> None:
        self._client = client
        self._executor = executor

    async def kept(self, upload: Upload) -> int:
        """How many whole chunks from the start on the instance still has of an interrupted upload.

        0 as well where a proxy does not show the partial file: then all is sent again.
        """
        partial_file = await self._partial(upload)
        kept = min(partial_file.size, upload.size) // upload.chunk_size if partial_file else 0
        return min(kept, upload.chunks - 1)

    async def arrived(self, upload: Upload) -> bool:
        """Whether the instance has the whole asset already and counts it among the job's."""
        if await self._partial(upload) is not None:
            return False
        job = parse_job(await self._client.get_json(f"/api/v1/jobs/{upload.job_id}", policy=READ))
        if not any(upload.stored_name in names for names in job.assets.values()):
            return False
        final = await look(self._client, self._executor, upload.final_path)
        return final is not None and final.size == upload.size

    async def send(self, upload: Upload, source: Callable[[int], Bytes], *, kept: int = 0) -> int:
        """Upload it, from after the first `kept` chunks on; the number of bytes sent.

        `source` opens the content at an offset. While one chunk is sent, the next one is read; no more is
        held.
        Raises LeaseLost when the job is not ours any more, UploadFailure, and OpenQAError for an outage that
        was too long to wait for, after which `kept` says where to go on.
        """
        for _ in range(_MOST_RESTARTS):
            try:
                return await self._send_from(upload, source, kept)
            except _PartialLost:
                kept = 0  # what was sent is gone on the other side
            except NotFound as error:
                raise LeaseLost(upload.job_id, error.text) from error
            except (ServerFailed, Garbage) as error:
                await self.discard(upload)
                raise UploadFailure(f"{upload.stored_name}: {error}") from error
        await self.discard(upload)
        raise UploadFailure(
            f"{upload.stored_name}: {self._client.url} lost the partial file {_MOST_RESTARTS} times"
        )

    async def discard(self, upload: Upload) -> None:
        """Have the instance forget what was sent of it; a failure to do so is only logged."""
        fields = {"filename": upload.name, "state": "fail", "scope": upload.scope}
        try:
            await self._client.post_form(f"/api/v1/jobs/{upload.job_id}/upload_state", fields, policy=PROBE)
        except OpenQAError as error:
            log.warning("%s keeps a partial file of %s: %s", self._client.url, upload.stored_name, error)

    async def copy_local(self, upload: Upload, path: str) -> bool:
        """Have an instance on this very host copy the file at `path`; False when it does not come to be
        there.

        As `local` of OpenQA::Client::Upload: the web UI's own process reads the path.
        """
        fields = [("asset", upload.scope), ("local", path)]
        try:
            await self._client.upload(
                f"/api/v1/jobs/{upload.job_id}/artefact", fields, upload.name, b"", policy=_LAST
            )
        except NotFound as error:
            raise LeaseLost(upload.job_id, error.text) from error
        except (ServerFailed, Garbage):
            return False  # it can not read the path; chunks will do
        return await self.arrived(upload)

    async def _send_from(self, upload: Upload, source: Callable[[int], Bytes], kept: int) -> int:
        digest = hashlib.sha256() if upload.size <= UNCHECKED_FROM else None
        first = 1 if digest else kept + 1  # the checksum needs what was sent before as well
        content = source((first - 1) * upload.chunk_size)
        coming = asyncio.ensure_future(content.read(upload.chunk_size))
        visible = kept > 0
        sent = 0
        try:
            for index in range(first, upload.chunks + 1):
                piece = await coming
                if index < upload.chunks:
                    coming = asyncio.ensure_future(content.read(upload.chunk_size))
                chunk = _Chunk(upload, index, piece)
                body = await in_thread(self._executor, partial(chunk.packed, digest, index > kept))
                if index <= kept:
                    continue
                if index < upload.chunks:
                    await self._post(upload, body)
                else:
                    await self._post_last(upload, body, visible)
                if sent == 0 and index < upload.chunks:
                    visible = await self._partial(upload) is not None
                sent += len(piece)
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
            await content.close()
        return sent

    async def _post(self, upload: Upload, body: bytes) -> None:
        await retrying(_FAILING, lambda: self._post_once(upload, body, _OUTAGE))

    async def _post_once(self, upload: Upload, body: bytes, policy: Policy) -> None:
        path = f"/api/v1/jobs/{upload.job_id}/artefact"
        answer = await self._client.upload(path, [("asset", upload.scope)], upload.name, body, policy=policy)
        if not (isinstance(answer, dict) and answer.get("status") == "ok"):
            raise Garbage("did not confirm the chunk", method="POST", url=self._client.url + path)

    async def _post_last(self, upload: Upload, body: bytes, visible: bool) -> None:
        """Send the last chunk. `visible` says whether the instance shows the partial file."""
        failures = 0
        while True:
            # Not after a 500 either without a look: a failed check discards the partial file, and a large one
            # that begins anew with its last chunk would pass for whole, zeros before it (File.pm,
            # _write_content).
            if visible and await self._lost_chunks(upload):
                raise _PartialLost
            try:
                return await self._post_once(upload, body, _LAST)
            except (Unreachable, Busy) as error:
                if await self._settled(upload, error):
                    return None
            except ServerFailed:
                failures += 1
                if failures > _MOST_RESTARTS:
                    raise
                await asyncio.sleep(_SETTLING_PAUSE)
                if await self._partial(upload) is None:
                    raise _PartialLost from None

    async def _settled(self, upload: Upload, error: OpenQAError) -> bool:
        """Whether a last chunk of unknown outcome was taken; False when it was not and can be sent again.

        Raises _PartialLost when the partial file is gone, and OpenQAError when the instance can not be asked.
        """
        seen = missing = 0
        while max(seen, missing) < _SETTLED:
            await asyncio.sleep(_SETTLING_PAUSE)
            if await self._partial(upload) is not None:
                seen, missing = seen + 1, 0  # the server may still be at work on it
            elif await self.arrived(upload):
                return True
            else:
                seen, missing = 0, missing + 1
        if missing:
            raise _PartialLost from error
        return False

    async def _lost_chunks(self, upload: Upload) -> bool:
        """Whether the partial file does not hold all chunks but the last."""
        partial_file = await self._partial(upload)
        return partial_file is None or partial_file.size < (upload.chunks - 1) * upload.chunk_size

    async def _partial(self, upload: Upload) -> Served | None:
        return await look(self._client, self._executor, upload.partial_path)


class _PartialLost(Exception):
    """What was sent so far is gone on the other side."""


@dataclass(frozen=True)
class _Chunk:
    upload: Upload
    index: int
    content: bytes

    def packed(self, digest: Digest | None, wanted: bool) -> bytes:
        """The body to send, empty when it is not wanted; takes the content into the checksum of the whole."""
        if digest is not None:
            digest.update(self.content)
        if not wanted:
            return b""
        start = (self.index - 1) * self.upload.chunk_size
        return pack(
            self.content,
            name=self.upload.name,
            index=self.index,
            total=self.upload.chunks,
            start=start,
            total_cksum=unpadded(digest.digest()) if digest and self.index == self.upload.chunks else "",
        )
