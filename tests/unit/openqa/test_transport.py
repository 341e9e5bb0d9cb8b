"""The adapter below the client."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from importlib import metadata
from pathlib import Path
from typing import cast

import certifi
import pytest
import urllib3
from urllib3.connectionpool import HTTPConnectionPool

from pseudoworker.openqa import failures
from pseudoworker.openqa.deadlines import Deadlines
from pseudoworker.openqa.transport import Transport, _close_idle, _HTTPConnection, tls_context


def test_one_context_serves_all_until_its_file_changes(tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(Path(certifi.where()).read_bytes())
    os.utime(ca_file, (1, 1))
    first = tls_context(ca_file)
    assert tls_context(str(ca_file)) is first
    assert first.verify_mode is ssl.CERT_REQUIRED
    assert first.check_hostname
    os.utime(ca_file, (2, 2))
    assert tls_context(ca_file) is not first
    assert tls_context(None) is tls_context(None)


def test_a_file_without_certificates(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(OSError, match="NO_CERTIFICATE_OR_CRL_FOUND"):
        tls_context(tmp_path / "ca.pem")


def test_urllib3_before_2_compares_host_names_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda _: "1.26.12")
    transport = Transport(None, 1)
    assert not transport._context.check_hostname
    assert transport._context.verify_mode is ssl.CERT_REQUIRED
    assert tls_context(None).check_hostname
    transport.close()


def test_it_works_without_a_call_to_watch() -> None:
    transport = Transport(None, 1)
    with pytest.raises(urllib3.exceptions.NewConnectionError):
        transport.exchange("GET", "http://127.0.0.1:9/", {}, None, 5)
    assert not transport.close_idle(0)
    transport.close()


def test_a_call_that_was_ended_while_it_connected_leaves_no_socket_behind() -> None:
    transport, deadlines = Transport(None, 1), Deadlines()
    call = deadlines.call(5)
    deadlines.begin(call)
    call.abort()
    with socket.create_server(("127.0.0.1", 0)) as server, deadlines.working_on(call):
        with pytest.raises(failures.FOREIGN):
            transport.exchange("GET", f"http://127.0.0.1:{server.getsockname()[1]}/", {}, None, 5)
        connection, _ = server.accept()
        with connection:
            assert connection.recv(1) == b""
    deadlines.close()
    transport.close()


class Wire:
    """Stands for a connected socket, and keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        self.sent.append(data)

    def settimeout(self, _seconds: float | None) -> None:
        pass


@pytest.mark.parametrize("body", [None, b"abc", [b"ab", b"c"]])
def test_the_head_goes_with_the_first_piece(body: bytes | list[bytes] | None) -> None:
    connection, wire = _HTTPConnection("there"), Wire()
    connection.sock = cast(socket.socket, wire)
    connection.request("POST", "/x", body=body, headers={"Content-Length": "3" if body else "0"})
    head, mark, content = b"".join(wire.sent).partition(b"\r\n\r\n")
    assert head.startswith(b"POST /x HTTP/1.1\r\n")
    assert content == b"".join([body] if isinstance(body, bytes) else body or [])
    assert mark in wire.sent[0]
    assert wire.sent[1:] == ([b"c"] if isinstance(body, list) else [])


def test_without_a_call_to_watch_requests_work_too() -> None:
    transport = Transport(None, 1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        threading.Thread(target=answer_twice, args=(server,)).start()
        for _ in range(2):
            answer = transport.exchange("GET", url, {}, None, 5)
            assert answer.raw.read(10, decode_content=False) == b"ok"
        assert transport.close_idle(60)
        assert not transport.close_idle(0)
    transport.close()


def answer_twice(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        for _ in range(2):
            connection.recv(10_000)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        assert connection.recv(1) == b""


def test_a_pool_that_was_closed_meanwhile_has_nothing_idle() -> None:
    pool = HTTPConnectionPool("127.0.0.1", 9)
    pool.close()
    assert not _close_idle(pool, 0)
