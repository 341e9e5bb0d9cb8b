"""Whether a key may do what a worker and a client of jobs do, asked without changing anything."""

from __future__ import annotations

from pseudoworker.openqa.client import Client
from pseudoworker.openqa.errors import Garbage, Refused
from pseudoworker.openqa.retry import PROBE, Policy


async def ask_for_operator(client: Client, *, policy: Policy = PROBE) -> None:
    """Return if the client's key is accepted and has operator rights.

    A registration without any field is posted: openQA looks at the key and its rights first, and only then
    at the fields, which it misses (OpenQA::WebAPI::Controller::API::V1::Worker, create; the same in all
    releases since 2023). Raises Unauthorized or ClockSkew when the key is refused, Garbage when whatever
    answers is no openQA, and the other OpenQAErrors for outages."""
    try:
        await client.post_form("/api/v1/workers", (), policy=policy)
    except Refused as refusal:
        if refusal.status == 400:
            return
        raise
    raise Garbage(
        "took a registration without a name",
        method="POST",
        url=client.url_of("/api/v1/workers"),
        advice="check what answers at this URL",
    )
