"""What tests over real sockets share."""

from __future__ import annotations

import datetime
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pseudoworker.openqa.client import Client
from pseudoworker.openqa.errors import Busy, ServerFailed, Unreachable
from pseudoworker.openqa.retry import Policy, Retry
from pseudoworker.openqa.websocket import Connection, connect

ONCE = Policy("once", (), limit=5, first=0, longest=0, timeout=5)
"""No repetition."""
QUICK = Policy("quick", (Unreachable, Busy, ServerFailed), limit=20, first=0.01, longest=0.02, timeout=5)
"""Repetitions that do not make tests slow."""


def impatient(timeout: float) -> Policy:
    """No repetition and little time."""
    return Policy("impatient", (), limit=5, first=0, longest=0, timeout=timeout)


@dataclass
class Log:
    """An observer that remembers."""

    requests: list[tuple[str, str, int, int, str | None]] = field(default_factory=list)
    retries: list[Retry] = field(default_factory=list)

    def request(
        self, method: str, kind: str, seconds: float, sent: int, received: int, error: str | None
    ) -> None:
        assert seconds >= 0
        self.requests.append((method, kind, sent, received, error))


ClientMaker = Callable[..., Client]


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def make_client(log: Log) -> Iterator[ClientMaker]:
    """Makes clients that are closed after the test."""
    clients: list[Client] = []
    with ThreadPoolExecutor(8) as executor:

        def make(url: str, **options: Any) -> Client:
            chosen: dict[str, Any] = {
                "key": "KEY",
                "secret": "SECRET",
                "executor": executor,
                "in_flight": 4,
                "observer": log,
                "on_retry": log.retries.append,
            }
            client = Client(url, **(chosen | options))
            clients.append(client)
            return client

        try:
            yield make
        finally:
            for client in clients:
                client.close()


@dataclass(frozen=True)
class Authority:
    """A private certificate authority and two servers with certificates that it signed."""

    ca_file: Path
    server: ssl.SSLContext
    """For 127.0.0.1 and localhost."""
    stranger: ssl.SSLContext
    """For another host."""


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    directory = tmp_path_factory.mktemp("tls")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True, timeout=60)

    def server(name: str, hosts: str) -> ssl.SSLContext:
        files = [f"{name}.{kind}" for kind in ("key", "csr", "ext", "pem")]
        (directory / files[2]).write_text(f"subjectAltName={hosts}\n")
        openssl("req", *key, "-subj", f"/CN={name}", "-keyout", files[0], "-out", files[1])
        signer = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial")
        dated = ("-days", "2", "-extfile", files[2])
        openssl("x509", "-req", *signer, *dated, "-in", files[1], "-out", files[3])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(directory / files[3], directory / files[0])
        return context

    openssl("req", "-x509", *key, "-days", "2", "-subj", "/CN=CA", "-keyout", "ca.key", "-out", "ca.pem")
    return Authority(
        directory / "ca.pem",
        server("server", "IP:127.0.0.1,DNS:localhost"),
        server("stranger", "DNS:elsewhere.example.com"),
    )


def http_date(seconds: float) -> str:
    """An HTTP date."""
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.strftime("%a, %d %b %Y %H:%M:%S GMT")


@asynccontextmanager
async def connected(url: str, **options: Any) -> AsyncIterator[Connection]:
    """A websocket of worker 7 that is closed after use."""
    connection = await connect(url, 7, "KEY", "SECRET", **options)
    try:
        yield connection
    finally:
        await connection.close()
