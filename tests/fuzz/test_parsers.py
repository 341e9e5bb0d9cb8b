"""Every parser of bytes from outside, fed with what openQA really said after it was spoiled: only documented
errors escape, and never for long."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pseudoworker.bridge.assets.errors import AssetFailure
from pseudoworker.bridge.assets.rpm_metadata import parse_index, parse_packages
from pseudoworker.bridge.reported import Reported
from pseudoworker.bridge.scrub import Scrubber
from pseudoworker.config import Overrides, load
from pseudoworker.config.mistakes import ConfigurationError
from pseudoworker.errors import PseudoworkerError
from pseudoworker.master.job import _status_answer
from pseudoworker.master.registration import _registration
from pseudoworker.observe.snapshot import SnapshotError, from_json
from pseudoworker.openqa import failures, messages, values, views
from pseudoworker.openqa.errors import Garbage, OpenQAError, UnsafeName
from pseudoworker.openqa.events import EventParser
from pseudoworker.openqa.json import NotJson, decode, encode
from pseudoworker.openqa.names import safe_name
from pseudoworker.openqa.urls import Base
from pseudoworker.slave import files, results, scripts, steps
from pseudoworker.slave.live_overlap import Overlap
from tests.fuzz.spoiling import RECORDINGS, documents, spoiled_bytes, spoiled_documents

GRABBED = {"type": "grab_job", "job": {"id": 7, "settings": {"TEST": "x", "JOBTOKEN": "abc"}}}
QUEUE = {
    "type": "grab_jobs",
    "job_info": {
        "ids": ["7", "8"],
        "data": {"7": {"id": 7, "settings": {}}, "8": {"id": 8, "settings": {}}},
        "sequence": [7, [8]],
        "assigned_worker_id": 3,
    },
}
COMMANDS = tuple({"type": kind, "jobid": 7} for kind in ("cancel", "quit", "livelog_start", "info"))


def _texts(*endings: str) -> list[bytes]:
    found = [path.read_bytes() for ending in endings for path in sorted(RECORDINGS.rglob(f"*{ending}"))]
    assert found
    return found


@contextlib.contextmanager
def allowing(*errors: type[Exception]) -> Iterator[None]:
    with contextlib.suppress(*errors):
        yield


Reader = Callable[[Any], object]

READERS: dict[str, tuple[Reader, tuple[type[Exception], ...]]] = {
    "a job": (views.parse_job, (Garbage,)),
    "jobs": (views.parse_jobs, (Garbage,)),
    "jobs, one by one": (lambda document: views.parse_jobs(document, broken=lambda *_: None), (Garbage,)),
    "workers": (views.parse_workers, (Garbage,)),
    "modules": (views.parse_modules, (Garbage,)),
    "details": (results.parse_details, (Garbage,)),
    "a module's document": (lambda document: steps.report(document, {}), (Garbage,)),
    "settings": (values.flat_settings, ()),
    "an id": (values.positive_int, ()),
    "a text": (values.text, ()),
    "a registration": (lambda document: _registration("", document), (Garbage,)),
    "the answer to a status": (lambda document: _status_answer("", document), (Garbage,)),
    "a snapshot": (from_json, (SnapshotError,)),
}


@pytest.mark.parametrize("name", READERS)
@given(document=spoiled_documents())
def test_documents(name: str, document: Any) -> None:
    """As they come out of the decoder, which refuses what no reader is to see."""
    read, errors = READERS[name]
    with allowing(NotJson):
        whole = decode(json.dumps(document))
        parts = [whole]
        if isinstance(whole, dict):
            parts += [part for key in ("job", "jobs", "modules") if (part := whole.get(key)) is not None]
        for part in parts:
            with allowing(*errors):
                read(part)


@given(content=spoiled_bytes(*(json.dumps(one).encode() for one in documents())))
def test_json(content: bytes) -> None:
    with allowing(NotJson):
        document = decode(content)
        encode(document)


@given(document=spoiled_documents(GRABBED, QUEUE, *COMMANDS))
def test_messages_of_the_master(document: Any) -> None:
    messages.parse(json.dumps(document))


@given(content=spoiled_bytes(*(json.dumps(one).encode() for one in (GRABBED, QUEUE, *COMMANDS))))
def test_torn_messages_of_the_master(content: bytes) -> None:
    messages.parse(content)
    messages.parse(content.decode("utf-8", "replace"))


@given(
    content=spoiled_bytes(b"\xef\xbb\xbfevent: status\r\ndata: {}\r\rdata:a\ndata: b\n\n: note\nid: 7\n\n"),
    size=st.integers(1, 40),
)
def test_event_streams(content: bytes, size: int) -> None:
    parser = EventParser(1000)
    with allowing(Garbage):
        for start in range(0, len(content), size):
            parser.feed(content[start : start + size])


@given(status=st.integers(100, 999), content=spoiled_bytes(b'{"error": ["a", {"b": 1}]}', b"<html>x</html>"))
def test_errors_of_a_server(status: int, content: bytes) -> None:
    text = content.decode("utf-8", "replace")
    failures.said(status, content)
    failures.looks_like_html(content)
    failures.retry_after(text)
    failures.http_date(text)
    failures.shown_url(text)


@given(content=spoiled_bytes(b"http://h:1/p", b"https://[::1]:65536/", b"http://[v1.a]/", b"http://a:b@c/"))
def test_urls(content: bytes) -> None:
    with allowing(ValueError):  # which is what it says of a bad one
        Base.parse(content.decode("utf-8", "replace")).join("/x", port_delta=2)


@given(content=spoiled_bytes(*_texts("source.html", "autoinst-log.txt")), size=st.integers(1, 4000))
def test_pages_and_logs(content: bytes, size: int) -> None:
    text = content.decode("utf-8", "replace")
    scripts.script_on_page(text, "fake", "1")
    scripts.scripts_in(text)
    collected, overlap = scripts.LogScripts(), Overlap()
    for start in range(0, len(text), size):
        collected.feed(text[start : start + size])
        overlap.opened()
        overlap.feed(text[start : start + size])
    overlap.settle()
    Scrubber({"abcdefgh"}, "12345678").whole(content)
    Reported.parse(text)


@given(content=spoiled_bytes(b"autoinst-log.txt", b"a/b", "ä.txt".encode(), b".."))
def test_names(content: bytes) -> None:
    name = content.decode("utf-8", "surrogateescape")
    with allowing(UnsafeName):
        safe_name(name)
    files.result_files([name, name + "x"], [name])
    files.seems_whole(content)


INDEX = b"""<?xml version="1.0"?><repomd xmlns="http://linux.duke.edu/metadata/repo"><data type="primary">
<checksum type="sha256">0a</checksum><location href="repodata/primary.xml.gz"/><size>17</size>
</data></repomd>"""
PACKAGES = b"""<?xml version="1.0"?><metadata xmlns="http://linux.duke.edu/metadata/common" packages="1">
<package type="rpm"><checksum type="sha256">0a</checksum><size package="17"/>
<location href="a.rpm"/></package></metadata>"""


@pytest.mark.parametrize("packed", ["p.xml", "p.xml.gz", "p.xml.xz", "p.xml.bz2", "p.zst"])
@given(content=spoiled_bytes(INDEX, PACKAGES), size=st.integers(1, 300))
def test_metadata_of_repositories(packed: str, content: bytes, size: int) -> None:
    with allowing(AssetFailure):
        parse_index(content)
    blocks = [content[start : start + size] for start in range(0, len(content), size)]
    with allowing(AssetFailure):
        for _ in parse_packages(blocks, packed):
            pass


WORKERS = (
    b"[global]\nHOST = http://m\nWORKER_CLASS = :lab:a\n[1-2]\nWORKER_CLASS+ = :lab:b\n"
    b"[class::lab:a]\nX=<<E\na\nE\n"
)
CLIENT = b"[m]\nkey = 1234567890ABCDEF\nsecret = 1234567890ABCDEF\n[s]\nkey=1\nsecret=2\n"
TOML = (
    b'on_stop = "detach"\n[slave]\nurl = "http://s"\nlocation = "lab"\n[limits]\nqueue_allowance = 1\n'
    b'[classes]\n":lab:b" = "b"\n'
)


@given(
    workers=st.just(WORKERS) | spoiled_bytes(WORKERS),
    client=st.just(CLIENT) | spoiled_bytes(CLIENT),
    toml=st.just(TOML) | spoiled_bytes(TOML),
)
def test_the_administrators_files(workers: bytes, client: bytes, toml: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory, allowing(ConfigurationError):
        path = Path(directory)
        (path / "workers.ini").write_bytes(workers)
        (path / "client.conf").write_bytes(client)
        (path / "pseudoworker.toml").write_bytes(toml)
        load(Overrides(instances="1-2", config_dir=path), {})


def test_what_is_allowed_is_documented() -> None:
    assert issubclass(OpenQAError, PseudoworkerError)
    assert all(issubclass(error, PseudoworkerError) for _, errors in READERS.values() for error in errors)
