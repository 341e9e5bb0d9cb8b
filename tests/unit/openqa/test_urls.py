"""URLs as openQA's servers hash them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pseudoworker.openqa.urls import Base, encoded, path_and_query, same_origin


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://h", Base("http", "h", None, "", "http://h")),
        ("https://h:8443/", Base("https", "h", 8443, "", "https://h:8443")),
        ("http://H/openqa/", Base("http", "h", None, "/openqa", "http://h/openqa")),
        ("http://[::1]:80/a/b", Base("http", "::1", 80, "/a/b", "http://[::1]:80/a/b")),
    ],
)
def test_base(url: str, base: Base) -> None:
    assert Base.parse(url) == base


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h",
        "h:80",
        "ftp://h",
        "http://",
        "http://u:p@h",
        "http://h?a",
        "http://h#a",
        "http://h:x",
        "http://[",
    ],
)
def test_no_base(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Base.parse(url)


def test_join() -> None:
    base = Base.parse("http://h:9526/openqa")
    assert base.join("/api/v1/jobs") == "http://h:9526/openqa/api/v1/jobs"
    assert base.join("/a b/100%/ü?#+:@") == "http://h:9526/openqa/a%20b/100%25/%C3%BC%3F%23+:@"
    assert base.join("/x", {"a": 1, "b": "c d~*&="}) == "http://h:9526/openqa/x?a=1&b=c+d%7E*%26%3D"
    assert base.join("/x", [("ids", 1), ("ids", 2)]) == "http://h:9526/openqa/x?ids=1&ids=2"
    with pytest.raises(ValueError, match="begin with a slash"):
        base.join("api")


def test_a_port_delta_moves_an_explicit_port_only() -> None:
    assert Base.parse("http://h:80").join("/x", port_delta=2) == "http://h:82/x"
    assert Base.parse("http://[::1]:80").join("/x", port_delta=2) == "http://[::1]:82/x"
    assert Base.parse("https://h").join("/x", port_delta=2) == "https://h/x"


def test_path_and_query() -> None:
    assert path_and_query("http://h/a?b=c") == "/a?b=c"
    assert path_and_query("http://h") == "/"


def test_origins() -> None:
    assert same_origin("http://h/a", "http://H:80/b")
    assert same_origin("https://h", "https://h:443/")
    assert not same_origin("http://h", "https://h")
    assert not same_origin("http://h", "http://h:81")
    assert not same_origin("http://h", "http://i")


@given(st.text(), st.text())
def test_parameters_are_plain_ascii(name: str, value: str) -> None:
    text = encoded({name: value})
    assert text.isascii()
    assert not set(text) & set(" \r\n#?/~")
