"""Telling the master's live handler how far the upload is, which opens the needle editor of a paused job."""

from __future__ import annotations

from dataclasses import dataclass

from pseudoworker.master.job import MasterJob


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

    def __init__(self, master: MasterJob) -> None:
        self._master = master
        self._last: Progress | None = None

    async def post(self, progress: Progress) -> None:
        """Tell the live handler; a failure is logged, for nothing but the needle editor waits for it."""
        if progress == self._last:
            return
        took = await self._master.upload_progress(
            {
                "upload_up_to": progress.up_to,
                "upload_up_to_current_module": progress.up_to is not None
                and progress.up_to == progress.current,
                "outstanding_images": progress.images,
                "outstanding_files": progress.files,
            }
        )
        if took:
            self._last = progress
