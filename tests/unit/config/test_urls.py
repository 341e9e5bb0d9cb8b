from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pseudoworker.config.schema import Unfit
from pseudoworker.config.urls import client_url, host_and_port, is_local, is_same, worker_url


@pytest.mark.parametrize(
    ("text", "worker", "client"),
    [
        ("openqa.example.com", "http://openqa.example.com", "https://openqa.example.com"),
        ("openqa.example.com:8080", "http://openqa.example.com:8080", "https://openqa.example.com:8080"),
        ("localhost", "http://localhost", "http://localhost"),
        ("localhost:9526", "http://localhost:9526", "http://localhost:9526"),
        ("127.0.0.1:9526", "http://127.0.0.1:9526", "http://127.0.0.1:9526"),
        ("[::1]:9526", "http://[::1]:9526", "http://[::1]:9526"),
        ("https://x/openqa//", "https://x/openqa", "https://x/openqa"),
        (
            "HTTP://OpenQA.Example.com/Path",
            "http://openqa.example.com/Path",
            "http://openqa.example.com/Path",
        ),
        ("http://x:80", "http://x", "http://x"),
        ("https://x:443/", "https://x", "https://x"),
        ("https://x:80", "https://x:80", "https://x:80"),
        ("http://x:", "http://x", "http://x"),
        ("http://x:0080", "http://x", "http://x"),
    ],
)
def test_what_is_understood(text: str, worker: str, client: str) -> None:
    assert (worker_url(text), client_url(text)) == (worker, client)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "'' is no URL"),
        ("a b", "'a b' is no URL"),
        ("http://a\n", r"'http://a\n' is no URL"),
        ("ftp://a", "'ftp://a' does not begin with http:// or https://"),
        ("a/b", "'a/b' does not begin with http:// or https://"),
        ("http://u:secret@a", "the URL contains a user or password"),
        ("http://a?b", "'http://a?b' has a query or fragment"),
        ("http://a#", "'http://a#' has a query or fragment"),
        ("http://", "'http://' has no valid host"),
        ("http://:80", "'http://:80' has no valid host"),
        ("http://ä", "'http://ä' has no valid host"),
        ("a:b", "'a:b' is no URL (Port could not be cast to integer value as 'b')"),
        ("http://a:99999", "'http://a:99999' is no URL (Port out of range 0-65535)"),
        ("http://[", "'http://[' is no URL (Invalid IPv6 URL)"),
    ],
)
def test_what_is_refused(text: str, what: str) -> None:
    with pytest.raises(Unfit) as caught:
        worker_url(text)
    assert caught.value.what == what
    assert "secret" not in caught.value.what + caught.value.remedy


def test_host_and_port() -> None:
    assert host_and_port("http://a") == ("a", 80)
    assert host_and_port("https://a/b") == ("a", 443)
    assert host_and_port("https://[::1]:9526/b") == ("[::1]", 9526)


@pytest.mark.parametrize("text", ["localhost", "127.0.0.1:80", "[::1]", "http://localhost:9526/x"])
def test_local(text: str) -> None:
    assert is_local(text)
    assert not is_local("x." + text.removeprefix("http://"))


def test_same() -> None:
    assert is_same("http://localhost", "http://127.0.0.1")
    assert not is_same("http://localhost", "http://localhost/openqa")
    assert not is_same("http://a", "https://a")


@given(st.text(max_size=20) | st.text(":/[]@?#a1.", max_size=20).map("http://".__add__))
def test_any_text_is_understood_or_refused(text: str) -> None:
    for read in (worker_url, client_url):
        try:
            url = read(text)
        except Unfit:
            continue
        assert read(url) == url
        host_and_port(url)
        assert is_same(url, url)
