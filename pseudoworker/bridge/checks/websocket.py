"""The master's websocket server, by which slots get their jobs."""

from __future__ import annotations

from pseudoworker.bridge.checks.lines import Line, error, ok, warning
from pseudoworker.config.model import Site
from pseudoworker.openqa.errors import Busy, OpenQAError, Refused, Unauthorized
from pseudoworker.openqa.websocket import connect

_TOPIC = "master websocket"
_NOBODY = 2_147_483_647
"""The largest id that the table of workers can have; no master ever had so many."""
_TIMEOUT = 10.0


async def check_websocket(site: Site) -> Line:
    """Ask for the websocket of a worker that does not exist: 400 means that the whole way is open.

    Nothing is registered for it (OpenQA::WebSockets::Controller::Worker, ws).
    """
    credentials = site.credentials
    if credentials is None:
        return error(_TOPIC, "not asked, as there are no keys for the master", "mend the configuration first")
    try:
        connection = await connect(
            site.url, _NOBODY, credentials.key, credentials.secret, site.ca_file, open_timeout=_TIMEOUT
        )
    except Busy as failure:
        return warning(_TOPIC, failure.text, "slots look offline until the master has room for more workers")
    except Unauthorized as failure:
        return error(_TOPIC, failure.text, failure.advice or "see the line about the master's key")
    except Refused as failure:
        if failure.status == 400:
            return ok(_TOPIC, "the websocket server answers")
        return error(
            _TOPIC, f"{failure.url}: {failure.status} {failure.text}", failure.advice or _advice(site)
        )
    except OpenQAError as failure:
        return error(_TOPIC, f"{failure.url}: {failure.text}", _advice(site))
    await connection.close()
    return error(_TOPIC, f"{connection.url} takes workers that it cannot know", "check what answers there")


def _advice(site: Site) -> str:
    return (
        f"openqa-websockets must run on the master, and {site.url} must pass upgrades of /api/v1/ws/ on to it"
        " or redirect to it"
    )
