"""The slave's live handler, which releases from 2024 on need for the live screen."""

from __future__ import annotations

from urllib.parse import urlsplit

from pseudoworker.bridge.checks.lines import Line, ok, warning
from pseudoworker.openqa.client import Client
from pseudoworker.openqa.errors import NotFound, OpenQAError, Refused
from pseudoworker.openqa.retry import PROBE

_TOPIC = "live handler"
_PORT_DELTA = 2
_NAME = "openQA Live Handler"
_ADVICE = "start openqa-livehandler there and let a proxy pass /liveviewhandler on; jobs run without it"


async def check_live(slave: Client) -> Line:
    """Whether the live handler answers: at its own port, or behind the reverse proxy."""
    if urlsplit(slave.url).port is not None:
        try:
            answer = await slave.get_json("/", policy=PROBE, port_delta=_PORT_DELTA)
        except OpenQAError:
            answer = None  # it may be behind a proxy all the same
        if isinstance(answer, dict) and answer.get("name") == _NAME:
            return ok(_TOPIC, f"answers at {slave.url_of('/', port_delta=_PORT_DELTA)}")
    # a page that nobody has: the live handler says so in its own words (OpenQA::Setup,
    # setup_plain_exception_handler), the web UI and proxies show a page with a title
    path = "/liveviewhandler/pseudoworker"
    text = f"does not answer at {slave.url_of(path)}"
    try:
        await slave.read(path, policy=PROBE, limit=100_000)
    except NotFound as failure:
        if failure.text == "Not found":
            return ok(_TOPIC, f"answers below {slave.url}/liveviewhandler")
    except Refused as failure:
        return warning(
            _TOPIC, f"{text}: {failure.text}", "let it answer without a login; jobs run without it"
        )
    except OpenQAError as failure:
        return warning(_TOPIC, f"{text}: {failure.text}", _ADVICE)
    else:
        return warning(_TOPIC, f"something else answers at {slave.url_of(path)}", _ADVICE)
    return warning(_TOPIC, f"{text}, so there may be no live screen", _ADVICE)
