"""Why developer mode goes to the slave worker's command server: what the slave's own live handler takes."""

from __future__ import annotations

import http.cookiejar
import time
import urllib.request
from collections.abc import Iterator

import pytest
from websockets.exceptions import InvalidMessage, InvalidStatus
from websockets.sync.client import connect

from examples.lab.api import OpenqaApi
from examples.lab.layout import Instance, current_lab
from pseudoworker.openqa.signing import signed_headers

pytestmark = pytest.mark.real


@pytest.fixture
def slave() -> Instance:
    return current_lab().slave


@pytest.fixture
def job(slave: Instance) -> Iterator[int]:
    """Any job: who may enter is looked at before what there is."""
    api = OpenqaApi(slave.url, slave.operator)
    posted = int(api.post("jobs", {"TEST": "nothing", "WORKER_CLASS": "nobody has this class"})["id"])
    yield posted
    api.post(f"jobs/{posted}/cancel")


def open_session(slave: Instance, job: int, headers: dict[str, str]) -> str:
    """Try to open a developer session; the first message, or the refusal."""
    path = f"/liveviewhandler/tests/{job}/developer/ws-proxy"
    url = f"ws://127.0.0.1:{slave.base_port + 2}{path}"
    try:
        with connect(url, additional_headers=headers, proxy=None) as session:
            return str(session.recv(10))
    except InvalidStatus as refusal:
        return f"refused with {refusal.response.status_code}"
    except InvalidMessage as refusal:
        return f"refused: {refusal}"


def test_a_key_of_an_administrator_opens_no_developer_session(slave: Instance, job: int) -> None:
    path = f"/liveviewhandler/tests/{job}/developer/ws-proxy"
    key = slave.admin
    headers = signed_headers(path, key.key, key.secret, time.time())
    refusal = open_session(slave, job, headers)
    assert refusal.startswith("refused with")  # 404 in 2023
    assert refusal == open_session(slave, job, {})


def test_a_browser_session_of_an_operator_does(slave: Instance, job: int) -> None:
    cookies = http.cookiejar.CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies))
    browser.open(f"{slave.url}/login").close()
    cookie = "; ".join(f"{found.name}={found.value}" for found in cookies)
    # The job does not run, so nothing more can be had; but the door was open.
    assert "unable to create (further) development session" in open_session(slave, job, {"Cookie": cookie})
