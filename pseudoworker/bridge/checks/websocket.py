"""A websocket server: by the master's slots get their jobs, by the slave's the helper worker of `upload`."""

from __future__ import annotations

from pseudoworker.bridge.checks.lines import Line, error, ok, warning
from pseudoworker.config.model import Site
from pseudoworker.openqa.errors import Busy, OpenQAError, Refused, Unauthorized
from pseudoworker.openqa.websocket import connect

_NOBODY = 2_147_483_647
"""The largest id that the table of workers can have; no master ever had so many."""
_TIMEOUT = 10.0


async def check_websocket(name: str, site: Site) -> Line:
    """Ask for the websocket of a worker that does not exist: 400 means that the whole way is open.

    `name` is `master` or `slave`. Nothing is registered for it (OpenQA::WebSockets::Controller::Worker, ws).
    """
    topic = f"{name} websocket"
    credentials = site.credentials
    if credentials is None:
        return error(topic, f"not asked, as there are no keys for the {name}", "mend the configuration first")
    try:
        connection = await connect(
            site.url, _NOBODY, credentials.key, credentials.secret, site.ca_file, open_timeout=_TIMEOUT
        )
    except Busy as failure:
        return warning(
            topic, failure.text, f"workers of ours look offline until the {name} has room for more"
        )
    except Unauthorized as failure:
        return error(topic, failure.text, failure.advice or f"see the line about the {name}'s key")
    except Refused as failure:
        if failure.status == 400:
            return ok(topic, "the websocket server answers")
        return error(
            topic, f"{failure.url}: {failure.status} {failure.text}", failure.advice or _advice(name, site)
        )
    except OpenQAError as failure:
        return error(topic, f"{failure.url}: {failure.text}", _advice(name, site))
    await connection.close()
    return error(topic, f"{connection.url} takes workers that it cannot know", "check what answers there")


def _advice(name: str, site: Site) -> str:
    return (
        f"openqa-websockets must run on the {name}, and {site.url} must pass upgrades of /api/v1/ws/ on to it"
        " or redirect to it"
    )
