"""Telling the master's live handler how far the upload is, which opens the needle editor of a paused job."""

from __future__ import annotations

from dataclasses import dataclass

from pseudoworker.openqa.client import Client
from pseudoworker.openqa.errors import OpenQAError
from pseudoworker.openqa.json import Json
from pseudoworker.openqa.retry import PROBE


@dataclass(frozen=True)
class Progress:
    """What is still to come (Worker/Job.pm, post_upload_progress_to_liveviewhandler)."""

    up_to: str | None
    """The module up to which results are being uploaded."""
    current: str | None
    """The running module; the needle editor opens when it is the one above and nothing is outstanding."""
    images: int
    files: int


class UploadProgress:
    """Posts the progress of one job whenever it has changed."""

    def __init__(self, client: Client, job_id: int, port_delta: int) -> None:
        self._client = client
        self._path = f"/liveviewhandler/api/v1/jobs/{job_id}/upload_progress"
        self._port_delta = port_delta
        self._last: Progress | None = None

    async def post(self, progress: Progress) -> OpenQAError | None:
        """Tell the live handler; what went wrong, if anything did: nothing but the needle editor waits for
        it."""
        if progress == self._last:
            return None
        document: Json = {
            "upload_up_to": progress.up_to,
            "upload_up_to_current_module": progress.up_to is not None and progress.up_to == progress.current,
            "outstanding_images": progress.images,
            "outstanding_files": progress.files,
        }
        try:
            await self._client.post_json(self._path, document, policy=PROBE, port_delta=self._port_delta)
        except OpenQAError as error:
            return error
        self._last = progress
        return None
