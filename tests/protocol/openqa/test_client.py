"""The REST client against a server whose every byte is chosen: what is sent, what comes of the answers."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import hmac
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pseudoworker.openqa.client import Client
from pseudoworker.openqa.errors import (
    Busy,
    ClockSkew,
    Garbage,
    NotFound,
    OpenQAError,
    Refused,
    ServerFailed,
    Unauthorized,
    Unreachable,
    UnsafeName,
)
from pseudoworker.openqa.json import Json
from tests.protocol.openqa.conftest import ONCE, QUICK, Authority, ClientMaker, Log, http_date
from tests.protocol.openqa.peer import Link, Received, answer, answering, peer, until


def echo(request: Received) -> bytes:
    document = {"method": request.method, "target": request.target, "body": request.body.decode("latin-1")}
    return answer(200, json.dumps(document).encode(), Content_Type="application/json")


def signature(request: Received, path: str, secret: str = "SECRET") -> str:
    message = path + request.headers["x-api-microtime"]
    return hmac.new(secret.encode(), message.encode(), hashlib.sha1).hexdigest()


async def test_get_json(make_client: ClientMaker, log: Log) -> None:
    async with answering(echo) as there:
        client = make_client(there.url + "/")
        document = await client.get_json("/api/v1/jobs", params={"ids": "1,2", "x": "a b"}, policy=ONCE)
    assert document == {"method": "GET", "target": "/api/v1/jobs?ids=1%2C2&x=a+b", "body": ""}
    request = there.received[0]
    assert request.headers["accept"] == "application/json"
    assert request.headers["x-api-key"] == "KEY"
    assert abs(int(request.headers["x-api-microtime"]) - time.time()) < 10
    assert request.headers["x-api-hash"] == signature(request, "/api/v1/jobs?ids=1%2C2&x=a+b")
    assert "cookie" not in request.headers
    assert log.requests == [("GET", "once", 0, len(json.dumps(document)), None)]
    assert client.url == there.url
    assert client.url_of("/a b", port_delta=2) == f"http://127.0.0.1:{there.port + 2}/a%20b"


async def test_posts(make_client: ClientMaker, log: Log) -> None:
    async with answering(echo) as there:
        client = make_client(there.url)
        form = await client.post_form("/api/v1/jobs", [("TEST", "a&b"), ("TEST:x", "ü")], policy=ONCE)
        document = await client.post_json("/api/v1/jobs/1/status", {"status": {"a": None}}, policy=ONCE)
        empty = await client.post_form("/api/v1/jobs/1/cancel", policy=ONCE)
        deleted = await client.delete("/api/v1/workers/1", policy=ONCE)
    assert isinstance(form, dict)
    assert form["body"] == "TEST=a%26b&TEST%3Ax=%C3%BC"
    assert isinstance(document, dict)
    assert document["body"] == '{"status":{"a":null}}'
    assert isinstance(empty, dict)
    assert empty["body"] == ""
    assert deleted == {"method": "DELETE", "target": "/api/v1/workers/1", "body": ""}
    posts = there.received[:3]
    kinds = [request.headers["content-type"].rpartition("/")[2] for request in posts]
    assert kinds == ["x-www-form-urlencoded", "json", "x-www-form-urlencoded"]
    assert [request.headers["content-length"] for request in posts] == ["26", "21", "0"]
    assert [entry[2] for entry in log.requests] == [26, 21, 0, 0]


async def test_upload(make_client: ClientMaker) -> None:
    content = bytes(range(256)) * 1000
    async with answering(lambda _: answer(200, b"OK", Content_Type="text/html;charset=UTF-8")) as there:
        client = make_client(there.url)
        said = await client.upload("/api/v1/jobs/1/artefact", {"ulog": 1}, "a b.txt", content, policy=ONCE)
        with pytest.raises(UnsafeName):
            await client.upload("/api/v1/jobs/1/artefact", {}, "../b.txt", content, policy=ONCE)
    assert said == "OK"
    request = there.received[0]
    assert request.target == "/api/v1/jobs/1/artefact?ulog=1"
    boundary = request.headers["content-type"].partition("boundary=")[2]
    assert request.body.startswith(f"--{boundary}\r\n".encode())
    assert b'name="file"; filename="a b.txt"\r\n' in request.body
    assert b"\r\n\r\n" + content + b"\r\n" in request.body
    assert len(there.received) == 1


async def test_a_document_that_is_none_is_not_sent(make_client: ClientMaker) -> None:
    async with answering(echo) as there:
        client = make_client(there.url)
        with pytest.raises(Garbage, match="document cannot be sent"):
            await client.post_json("/x", float("nan"), policy=ONCE)
    assert there.received == []


async def test_connections_are_kept(make_client: ClientMaker) -> None:
    statuses = {"GET": 200, "POST": 404}
    async with answering(lambda request: answer(statuses[request.method])) as there:
        client = make_client(there.url)
        for _ in range(10):
            await client.get_json("/x", policy=ONCE)
            with pytest.raises(NotFound):
                await client.post_form("/x", {"a": "b"}, policy=ONCE)
    assert len(there.received) == 20
    assert there.connections == 1


async def test_an_idle_connection_is_given_back(make_client: ClientMaker) -> None:
    async with answering(echo) as there:
        client = make_client(there.url)
        await client.get_json("/x", policy=ONCE)
        await until(lambda: there.ended == 1)
        await client.get_json("/x", policy=ONCE)
    assert there.connections == 2


async def test_without_a_key_nothing_is_signed(make_client: ClientMaker) -> None:
    async with answering(echo) as there:
        await make_client(there.url, key="", secret="").get_json("/x", policy=ONCE)
    assert "x-api-key" not in there.received[0].headers
    assert "x-api-hash" not in there.received[0].headers


async def test_the_environment_is_not_looked_at(
    make_client: ClientMaker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    netrc.chmod(0o600)
    for name, value in {
        "NETRC": str(netrc),
        "http_proxy": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "REQUESTS_CA_BUNDLE": "/nowhere",
    }.items():
        monkeypatch.setenv(name, value)
    async with answering(echo) as there:
        await make_client(there.url).get_json("/x", policy=ONCE)
    assert "authorization" not in there.received[0].headers


async def test_cookies_are_not_kept(make_client: ClientMaker) -> None:
    async with answering(lambda _: answer(200, b"{}", Set_Cookie="mojolicious=x; path=/")) as there:
        client = make_client(there.url)
        await client.get_json("/x", policy=ONCE)
        await client.get_json("/x", policy=ONCE)
    assert "cookie" not in there.received[1].headers


async def test_packed_answers_are_unpacked(make_client: ClientMaker, log: Log) -> None:
    document: Json = {"a": ["b" * 100] * 1000}
    packed = gzip.compress(json.dumps(document).encode())
    async with answering(lambda _: answer(200, packed, Content_Encoding="gzip")) as there:
        client = make_client(there.url)
        assert await client.get_json("/x", policy=ONCE) == document
        assert await client.read("/x", policy=ONCE, limit=200_000) == json.dumps(document).encode()
    assert [request.headers["accept-encoding"] for request in there.received] == ["gzip", "gzip"]
    assert log.requests[0][3] == len(packed)


async def test_read(make_client: ClientMaker) -> None:
    content = bytes(range(256)) * 1000
    async with answering(lambda _: answer(200, content)) as there:
        client = make_client(there.url)
        assert await client.read("/tests/1/file/a b.txt", policy=ONCE, limit=len(content)) == content
        with pytest.raises(Garbage, match="larger than 255999 bytes"):
            await client.read("/x", policy=ONCE, limit=len(content) - 1, headers={"X-Own": "1"})
    assert there.received[0].target == "/tests/1/file/a%20b.txt"
    assert there.received[0].headers["accept"] == "application/json, */*"
    assert there.received[1].headers["x-own"] == "1"


async def test_an_empty_answer_to_a_post_is_an_empty_text(make_client: ClientMaker) -> None:
    async with answering(lambda _: answer(200, b"")) as there:
        client = make_client(there.url)
        assert await client.post_form("/x", policy=ONCE) == ""
        with pytest.raises(Garbage, match="answer is no JSON"):
            await client.get_json("/x", policy=ONCE)


@pytest.mark.parametrize(
    ("body", "headers", "text"),
    [
        (b"<html><title>Maintenance</title>", {}, "answer is HTML: Maintenance"),
        (b"  \n<!DOCTYPE html>", {}, "answer is HTML: OK"),
        (b"\xff\xfe", {}, "answer is no JSON: no UTF-8"),
        (b"[" * 100_000, {"Content_Type": "application/json"}, "answer is no JSON: nested too deep"),
        (b"[NaN]", {"Content_Type": "application/json"}, "answer is no JSON: NaN"),
        (b"{", {"Content_Type": "application/json"}, "answer is no JSON"),
        (b"{}", {"Content_Encoding": "br"}, "answer is encoded as 'br'"),
        (b"{}", {"Content_Encoding": "gzip"}, "answer is no gzip"),
    ],
)
async def test_garbage(make_client: ClientMaker, body: bytes, headers: dict[str, str], text: str) -> None:
    async with answering(lambda _: answer(200, body, **headers)) as there:
        client = make_client(there.url)
        with pytest.raises(Garbage) as caught:
            await client.post_form("/x", policy=QUICK)
    assert text in caught.value.text
    assert caught.value.url == there.url + "/x"
    assert len(there.received) == 1


async def test_a_small_packed_answer_cannot_fill_memory(make_client: ClientMaker) -> None:
    bomb = gzip.compress(b"a" * 10_000_000)
    async with answering(lambda _: answer(200, bomb, Content_Encoding="gzip")) as there:
        with pytest.raises(Garbage, match="larger than 1000 bytes"):
            await make_client(there.url).read("/x", policy=ONCE, limit=1000)


async def test_half_a_packed_answer(make_client: ClientMaker) -> None:
    packed = gzip.compress(b"abc" * 1000)[:-9]
    async with answering(lambda _: answer(200, packed, Content_Encoding="gzip")) as there:
        with pytest.raises(Unreachable, match="ended within its compressed form"):
            await make_client(there.url).read("/x", policy=ONCE, limit=10_000)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Refused),
        (403, Unauthorized),
        (404, NotFound),
        (490, ServerFailed),
        (500, ServerFailed),
        (503, Busy),
    ],
)
async def test_refusals(make_client: ClientMaker, log: Log, status: int, kind: type[OpenQAError]) -> None:
    async with answering(lambda _: answer(status, b'{"error":"so it is"}')) as there:
        with pytest.raises(kind) as caught:
            await make_client(there.url).post_form("/api/v1/jobs/1/set_done", policy=ONCE)
    assert str(caught.value).startswith(f"POST {there.url}/api/v1/jobs/1/set_done: {status} so it is")
    assert log.requests[0][4] == kind.__name__


async def test_a_huge_error_page_is_told_by_its_status(make_client: ClientMaker) -> None:
    async with answering(lambda _: answer(502, b"x" * 1_000_000)) as there:
        with pytest.raises(Busy, match="502 Bad Gateway"):
            await make_client(there.url).get_json("/x", policy=ONCE)


async def test_retries_by_policy(make_client: ClientMaker, log: Log) -> None:
    statuses = iter([503, 500, 429, 200])
    async with answering(lambda _: answer(next(statuses), b"{}", Retry_After="0")) as there:
        assert await make_client(there.url).get_json("/x", policy=QUICK) == {}
    assert [retry.attempt for retry in log.retries] == [1, 2, 3]
    assert [type(retry.error) for retry in log.retries] == [Busy, ServerFailed, Busy]
    assert len(there.received) == 4


async def test_each_attempt_is_signed_anew(make_client: ClientMaker) -> None:
    now = iter(range(1_700_000_000, 1_700_001_000, 100))
    statuses = iter([503, 200])
    async with answering(lambda _: answer(next(statuses))) as there:
        await make_client(there.url, clock=lambda: float(next(now))).get_json("/x", policy=QUICK)
    times = [request.headers["x-api-microtime"] for request in there.received]
    assert times[0] != times[1]
    assert all(request.headers["x-api-hash"] == signature(request, "/x") for request in there.received)


async def test_clock_skew_is_measured(make_client: ClientMaker) -> None:
    body = b'{"error":"timestamp mismatch"}'
    async with answering(lambda _: answer(403, body, Date=http_date(time.time() - 400))) as there:
        client = make_client(there.url)
        assert client.skew is None
        with pytest.raises(ClockSkew) as caught:
            await client.get_json("/x", policy=ONCE)
    assert caught.value.skew is not None
    assert -403 < caught.value.skew < -397
    assert client.skew == caught.value.skew
    assert "synchronise the clocks" in str(caught.value)


async def test_skew_is_not_measured_with_each_answer_nor_from_nonsense(make_client: ClientMaker) -> None:
    dates = iter(["nonsense", http_date(time.time() + 60), http_date(time.time() + 120)])
    async with answering(lambda _: answer(200, b"{}", Date=next(dates))) as there:
        client = make_client(there.url)
        await client.get_json("/x", policy=ONCE)
        assert client.skew is None
        await client.get_json("/x", policy=ONCE)
        await client.get_json("/x", policy=ONCE)
    assert client.skew is not None
    assert 55 < client.skew < 65


async def test_a_port_delta(make_client: ClientMaker) -> None:
    async with answering(echo) as there:
        client = make_client(f"http://127.0.0.1:{there.port - 2}")
        await client.post_json("/liveviewhandler/x", {}, policy=ONCE, port_delta=2)
        await client.post_form("/liveviewhandler/x", {}, policy=ONCE, port_delta=2)
        await client.get_json("/liveviewhandler/x", policy=ONCE, port_delta=2)
        await client.read("/liveviewhandler/x", policy=ONCE, limit=1000, port_delta=2)
    assert len(there.received) == 4


PREFIXED = "/openqa/api/v1/jobs?a=b"


@pytest.mark.parametrize("hashed", [PREFIXED, "/api/v1/jobs?a=b", "openqa/api/v1/jobs?a=b"])
async def test_a_path_prefix_is_hashed_as_the_server_hashes_it(make_client: ClientMaker, hashed: str) -> None:
    def respond(request: Received) -> bytes:
        if request.headers["x-api-hash"] == signature(request, hashed):
            return answer(200, b"{}")
        return answer(403, b'{"error":"unknown error (wrong secret?)"}')

    async with answering(respond) as there:
        client = make_client(there.url + "/openqa")
        await client.get_json("/api/v1/jobs", params={"a": "b"}, policy=ONCE)
        first = len(there.received)
        await client.get_json("/api/v1/jobs", params={"a": "b"}, policy=ONCE)
    assert {request.target for request in there.received} == {PREFIXED}
    assert first <= 3
    assert len(there.received) == first + 1, "what was right once is tried first"


async def test_a_wrong_secret_behind_a_prefix_is_told(make_client: ClientMaker) -> None:
    async with answering(lambda _: answer(403, b'{"error":"unknown error (wrong secret?)"}')) as there:
        with pytest.raises(Unauthorized, match="wrong secret"):
            await make_client(there.url + "/openqa").post_form("/x", {"a": "b"}, policy=ONCE)
    assert len(there.received) == 3


async def test_another_refusal_behind_a_prefix_is_final(make_client: ClientMaker) -> None:
    async with answering(lambda _: answer(403, b'{"error":"api key expired"}')) as there:
        with pytest.raises(Unauthorized, match="api key expired"):
            await make_client(there.url + "/openqa").post_form("/x", policy=ONCE)
    assert len(there.received) == 1


async def test_tls_with_a_private_authority(make_client: ClientMaker, authority: Authority) -> None:
    async with answering(echo, tls=authority.server) as secure:
        client = make_client(secure.url, ca_file=authority.ca_file)
        await client.get_json("/x", policy=ONCE)
        await client.get_json("/x", policy=ONCE)
        assert secure.connections == 1
        with pytest.raises(Unreachable, match="TLS certificate is not trusted"):
            await make_client(secure.url).get_json("/x", policy=ONCE)
        with pytest.raises(Unreachable, match=r"TLS failed|connection broke"):
            await make_client(secure.url.replace("https", "http")).get_json("/x", policy=ONCE)

    async def plain_text(link: Link) -> None:
        await link.answer(400)

    async with peer(plain_text) as plain:
        with pytest.raises(Unreachable, match="TLS failed"):
            await make_client(plain.url.replace("http", "https")).get_json("/x", policy=ONCE)


async def test_a_certificate_of_another_host(make_client: ClientMaker, authority: Authority) -> None:
    async with answering(echo, tls=authority.stranger) as there:
        for url in (there.url, there.url.replace("127.0.0.1", "localhost")):
            with pytest.raises(Unreachable, match=r"(?i)(hostname|IP address) mismatch|doesn't match"):
                await make_client(url, ca_file=authority.ca_file).get_json("/x", policy=ONCE)
    assert there.received == []


async def test_a_connection_is_closed_when_it_is_not_used(make_client: ClientMaker) -> None:
    async with answering(echo) as there:
        client = make_client(there.url)
        await client.get_json("/x", policy=ONCE)
        await client.get_json("/x", policy=ONCE)
        assert there.ended == 0
        await until(lambda: there.ended == 1)
        await client.get_json("/x", policy=ONCE)
        assert there.connections == 2


async def test_a_connection_that_is_used_again_and_again_is_kept(make_client: ClientMaker) -> None:
    async with answering(echo) as there:
        client = make_client(there.url)
        for _ in range(6):
            await client.get_json("/x", policy=ONCE)
            await asyncio.sleep(0.15)
        assert there.connections <= 2  # one, unless this machine paused for half a second
        await until(lambda: there.ended == there.connections)


async def test_connections_in_use_are_not_closed(make_client: ClientMaker) -> None:
    async def slow(link: Link) -> None:
        while (request := await link.request()) is not None:
            await asyncio.sleep(1.5 if request.target == "/slow" else 0)
            await link.answer()

    async with peer(slow) as there:
        client = make_client(there.url)
        long = asyncio.ensure_future(client.get_json("/slow", policy=ONCE))
        await client.get_json("/x", policy=ONCE)
        await until(lambda: there.ended == 1)
        assert await long == {}


def test_a_missing_authority_is_an_error_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as executor, pytest.raises(OSError, match="nowhere"):
        Client("https://h", "", "", ca_file=tmp_path / "nowhere", executor=executor, in_flight=1)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://127.0.0.1:9", "connection refused"),
        ("http://no-such-host.invalid", "cannot be resolved"),
        ("http://" + "x" * 64 + ".invalid", "cannot be resolved"),
    ],
)
async def test_nobody_there(make_client: ClientMaker, url: str, text: str) -> None:
    with pytest.raises(Unreachable, match=text):
        await make_client(url).get_json("/x", policy=ONCE)


async def test_without_an_observer(make_client: ClientMaker) -> None:
    async with answering(echo) as there:
        assert await make_client(there.url, observer=None).get_json("/x", policy=ONCE)
