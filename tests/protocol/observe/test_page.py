import asyncio
import contextlib
import html
import html.parser
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pseudoworker.observe import http
from pseudoworker.observe.addresses import AddressError
from pseudoworker.observe.metrics import Metrics
from pseudoworker.observe.page import page, serve_status
from pseudoworker.observe.snapshot import ProcessSnapshot, SlotSnapshot, from_json

NOW = 1_700_000_000.0
SLOTS = (
    SlotSnapshot(
        1,
        11,
        "working",
        master_job=42,
        master_url="http://master/tests/42",
        slave_job=17,
        slave_url="https://slave/openqa/tests/17",
        phase="running",
        module="boot",
        module_index=3,
        module_count=17,
        bytes_relayed=5_000_000,
        since=NOW - 65,
    ),
    SlotSnapshot(2, 12, "broken", reason="slave does not answer"),
)
SNAPSHOT = ProcessSnapshot(
    7,
    NOW - 3600,
    "0.1",
    "http://master",
    "https://slave/openqa",
    SLOTS,
    {"jobs_passed": 3, "bytes_relayed": 2e9},
)


def _snapshot() -> ProcessSnapshot:
    return SNAPSHOT


async def _say(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    with contextlib.suppress(ConnectionResetError):
        await writer.drain()
    answer = await asyncio.wait_for(reader.read(), 15)
    writer.close()
    return answer


async def _get(port: int, path: str, host: str = "127.0.0.1", method: str = "GET") -> tuple[str, str]:
    answer = await _say(port, f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    head, _, body = answer.decode().partition("\r\n\r\n")
    return head, body


async def test_every_page_is_served() -> None:
    metrics = Metrics()
    metrics.job_ended("passed", 3)
    async with serve_status("127.0.0.1:0", metrics, _snapshot) as port:
        head, body = await _get(port, "/?x=1")
        assert head.startswith("HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n")
        assert f"Content-Length: {len(body.encode())}" in head
        assert "Content-Security-Policy: default-src 'none'; " in head
        assert "<title>pseudoworker: 1 working, 1 broken</title>" in body
        head, body = await _get(port, "/metrics")
        assert "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n" in head
        assert 'pseudoworker_slots{state="broken"} 1\n' in body
        head, body = await _get(port, "/influxdb")
        tags = "master=http://master,slave=https://slave/openqa,instance=1"
        assert f"pseudoworker_jobs,{tags},result=passed total=1" in body.splitlines()
        head, body = await _get(port, "/status.json")
        assert from_json(json.loads(body)) == SNAPSHOT


async def test_head_is_answered_without_a_body() -> None:
    async with serve_status("127.0.0.1:0", Metrics(), _snapshot) as port:
        head, body = await _get(port, "/metrics", method="HEAD")
        assert head.startswith("HTTP/1.1 200 OK")
        assert body == ""


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9599", "[::1]:9599", "localhost:1"])
async def test_requests_for_this_machine_are_answered(host: str) -> None:
    async with serve_status("127.0.0.1:0", Metrics(), _snapshot) as port:
        assert (await _get(port, "/", host))[0].startswith("HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9599", "192.0.2.1", "localhost.evil.example", ""]
)
async def test_a_name_that_was_made_to_point_here_is_refused(host: str) -> None:
    async with serve_status("127.0.0.1:0", Metrics(), _snapshot) as port:
        head, body = await _get(port, "/", host)
        assert head.startswith("HTTP/1.1 421 ")
        assert "master" not in body


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", 405),
        (b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", 505),
        (b"GET /\r\nHost: localhost\r\n\r\n", 400),
        (b"GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20000 + b"\r\n\r\n", 431),
    ],
)
async def test_what_is_odd_is_refused(request_bytes: bytes, status: int) -> None:
    async with serve_status("127.0.0.1:0", Metrics(), _snapshot) as port:
        answer = await _say(port, request_bytes)
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())
        assert (await _get(port, "/"))[0].startswith("HTTP/1.1 200 ")


async def test_a_client_that_never_finishes_its_request_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_PATIENCE", 0.05)
    async with serve_status("127.0.0.1:0", Metrics(), _snapshot) as port:
        assert await _say(port, b"GET / HTTP/1.1\r\n") == b""


async def test_too_many_at_a_time_are_closed_at_once() -> None:
    async with serve_status("127.0.0.1:0", Metrics(), _snapshot) as port:
        waiting = [await asyncio.open_connection("127.0.0.1", port) for _ in range(http._AT_A_TIME)]
        # the server has taken all of them once it closes one more
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        for _, its in [*waiting, (reader, writer)]:
            its.close()


def test_an_address_that_others_reach_is_refused_at_once() -> None:
    with pytest.raises(AddressError, match="can be reached from other machines"):
        serve_status("0.0.0.0:9599", Metrics(), _snapshot)


class _Reader(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links.extend(value or "" for name, value in attrs if name == "href")

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def _read(snapshot: ProcessSnapshot) -> _Reader:
    reader = _Reader()
    reader.feed(page(snapshot, NOW).body)
    reader.close()
    return reader


def test_the_page_links_both_jobs_and_shows_what_matters() -> None:
    reader = _read(SNAPSHOT)
    assert reader.links == [
        "http://master",
        "https://slave/openqa",
        "http://master/tests/42",
        "https://slave/openqa/tests/17",
    ]
    text = " ".join(reader.texts)
    for part in (
        "boot 3/17",
        "5.0 MB",
        "1m05s",
        "slave does not answer",
        "jobs_passed 3, bytes_relayed 2.0 GB",
    ):
        assert part in text


@given(st.text(), st.text())
def test_no_value_becomes_markup_and_no_odd_url_a_link(text: str, url: str) -> None:
    slot = SlotSnapshot(1, 1, "working", text, 42, f"javascript:{url}", 17, url, text, text, 1, 2, 0, 0, text)
    reader = _read(ProcessSnapshot(1, 0, text, text, url, (slot,), {text: 1}))
    plain = _read(
        ProcessSnapshot(1, 0, "", "", "", (SlotSnapshot(1, 1, "working", master_job=42),), {"x": 1})
    )
    assert [tag for tag in reader.tags if tag != "a"] == [tag for tag in plain.tags if tag != "a"]
    assert all(link.startswith(("http://", "https://")) for link in reader.links)


def test_nothing_is_loaded_from_elsewhere() -> None:
    own = "html head meta title style body h1 p a table thead tbody tr th td span"
    assert set(_read(SNAPSHOT).tags) <= set(own.split())
    assert "url(" not in page(SNAPSHOT, 0).body
