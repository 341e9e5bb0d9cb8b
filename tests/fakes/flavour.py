"""What differs between the releases of openQA on the wire, as far as a worker or an API client sees it.

BW is Debian 12's package of January 2023, TX Debian 13's (November 2024), SID Debian unstable's of 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

CLOCK_HINT: Final = (
    "timestamp mismatch - check whether clocks on the local host and the web UI host are in sync"
)


@dataclass(frozen=True)
class Flavour:
    """One release, as the set of switches that the fakes look at."""

    name: str
    port_delta: int | str | None
    """`service_port_delta` in the answer to a registration: a number, or a string where it was configured."""
    info: Mapping[str, Any]
    """The answer to each `worker_status`."""
    future_timestamps: bool
    """Whether a time stamp that lies in the future passes however far off it is."""
    mismatch: str
    """Text of the 403 for a clock that is wrong, with `{server}` and `{client}` for both times."""
    cancelled_status: bool
    """Whether a status post for a cancelled job is taken like any other (else `{"result":0}` and no more)."""
    refused_uploading: str | bool
    """`result` in the answer to `{"uploading":1}` for a job that is not being executed."""
    repeated_asset: Literal["hang", "fail", "ok"]
    """What becomes of the last chunk of an asset that the job has already."""
    lenient_status: bool
    """Whether wrong entries of `test_order` and a wrong `screen` are skipped instead of refused."""
    always_run: bool
    """Whether the flag `always_run` of a module is kept and shown."""
    redacts: bool
    """Whether `_SECRET_*` and `*_PASSWORD*` are hidden in job JSON."""
    setting_value: bool
    """Whether `job_settings/jobs` knows `value`."""
    list_limit: tuple[int, int]
    """Default and largest `limit` of the job list."""
    live_handler: bool
    """Whether pictures come from the live handler instead of the web UI."""
    websocket_hash: bool
    """Whether the signature of a websocket upgrade is looked at."""
    missing_job_error: bool
    """Whether a missing job's 404 has an `error` text."""
    late_clone: bool
    """Whether an incomplete job whose reason asks for it is cloned after `set_done` was answered."""
    skips_restarted: bool
    """Whether siblings that had not started get `skipped` on a restart instead of `parallel_restarted`."""
    parents_not_ok: int | str
    """`parents_ok` of a job whose parents are not."""
    plain_live_error: bool
    """Whether the live log of a job without a worker is refused in plain text instead of a page."""
    accepted_uploading: int | bool
    """`result` in the answer to `{"uploading":1}`."""
    every_category: bool
    """Whether the details name the category of each module, not only where it changes."""
    explains_waiting: bool
    """Whether a scheduled job has a reason: what it waits for."""
    guards_downloads: bool
    """Whether downloads are attachments and texts are not to be sniffed."""


BW: Final = Flavour(
    name="bw",
    port_delta=None,
    info={"type": "info", "population": 1},
    future_timestamps=True,
    mismatch="timestamp mismatch",
    cancelled_status=False,
    refused_uploading="",
    repeated_asset="hang",
    lenient_status=False,
    always_run=False,
    redacts=False,
    setting_value=False,
    list_limit=(10_000, 100_000),
    live_handler=False,
    websocket_hash=False,
    missing_job_error=False,
    late_clone=False,
    skips_restarted=False,
    parents_not_ok="",
    plain_live_error=False,
    accepted_uploading=1,
    every_category=False,
    explains_waiting=False,
    guards_downloads=False,
)
TX: Final = Flavour(
    name="tx",
    port_delta=2,
    info={"type": "info", "seen": 1},
    future_timestamps=False,
    mismatch=CLOCK_HINT,
    cancelled_status=True,
    refused_uploading="",
    repeated_asset="fail",
    lenient_status=False,
    always_run=False,
    redacts=False,
    setting_value=False,
    list_limit=(10_000, 100_000),
    live_handler=True,
    websocket_hash=False,
    missing_job_error=False,
    late_clone=True,
    skips_restarted=True,
    parents_not_ok=0,
    plain_live_error=True,
    accepted_uploading=1,
    every_category=False,
    explains_waiting=False,
    guards_downloads=False,
)
SID: Final = Flavour(
    name="sid",
    port_delta=2,
    info={"type": "info", "seen": 1},
    future_timestamps=False,
    mismatch=CLOCK_HINT
    + " (local host IP: 127.0.0.1, server time: {server}, client time: {client}, tolerance: 300s)",
    cancelled_status=True,
    refused_uploading=False,
    repeated_asset="ok",
    lenient_status=True,
    always_run=True,
    redacts=True,
    setting_value=True,
    list_limit=(1_000, 10_000),
    live_handler=True,
    websocket_hash=True,
    missing_job_error=True,
    late_clone=True,
    skips_restarted=True,
    parents_not_ok=0,
    plain_live_error=True,
    accepted_uploading=True,
    every_category=True,
    explains_waiting=True,
    guards_downloads=True,
)
FLAVOURS: Final[Mapping[str, Flavour]] = {flavour.name: flavour for flavour in (BW, TX, SID)}
