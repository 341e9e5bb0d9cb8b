"""Logs, videos and other files of an ended slave job, streamed to the master one chunk at a time."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from pseudoworker.bridge.scrub import Scrubber
from pseudoworker.master.job import MasterJob
from pseudoworker.openqa.client import Client
from pseudoworker.openqa.retry import DOWNLOAD, OnRetry, retrying
from pseudoworker.slave.files import ResultFile, file_path

CHUNK = 256 * 1024
TIMEOUT = 60.0
"""Seconds that either side may take for the next chunk."""
IN_MEMORY = 4 * 2**20
"""Bytes of a file of unknown length that are kept in memory; more goes to a temporary file."""

WORKER_LOG = "worker-log.txt"


class FileRelay:
    """Moves whole files. `story` is what is added at the end of worker-log.txt, `relayed` is told bytes
    sent."""

    def __init__(
        self,
        *,
        slave: Client,
        master: MasterJob,
        threads: ThreadPoolExecutor,
        scrubber: Callable[[], Scrubber],
        story: Callable[[], bytes],
        relayed: Callable[[int], None],
        on_retry: OnRetry,
    ) -> None:
        self._slave = slave
        self._master = master
        self._threads = threads
        self._scrubber = scrubber
        self._story = story
        self._relayed = relayed
        self._on_retry = on_retry

    async def bring(self, slave_id: int, file: ResultFile) -> None:
        """Move one file. Raises NotFound when the slave does not have it."""
        loop = asyncio.get_running_loop()
        sent = await retrying(
            DOWNLOAD,
            lambda: loop.run_in_executor(self._threads, self._move, slave_id, file),
            on_retry=self._on_retry,
        )
        loop.call_soon(self._relayed, sent)

    def _move(self, slave_id: int, file: ResultFile) -> int:
        """In a transfer thread: download and upload overlap."""
        added = self._story() if file.name == WORKER_LOG and not file.ulog else b""
        with self._slave.open(file_path(slave_id, file.name), timeout=TIMEOUT) as download:
            chunks = self._scrubber().chunks(download.iter(CHUNK))
            if download.length is not None:
                return self._send(file, download.length, chunks, added)
            with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as whole:
                for chunk in chunks:
                    whole.write(chunk)
                length = whole.tell()
                whole.seek(0)
                return self._send(file, length, iter(lambda: whole.read(CHUNK), b""), added)

    def _send(self, file: ResultFile, length: int, chunks: Iterator[bytes], added: bytes) -> int:
        def all_chunks() -> Iterator[bytes]:
            yield from chunks
            if added:
                yield added

        total = length + len(added)
        self._master.upload_file_stream(file.name, total, all_chunks(), ulog=file.ulog, timeout=TIMEOUT)
        return total
