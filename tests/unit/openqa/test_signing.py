"""Signatures."""

from __future__ import annotations

import hashlib
import hmac

from pseudoworker.openqa.signing import hashed_paths, signed_headers


def test_a_signature() -> None:
    assert signed_headers("/api/v1/jobs?a=b", "KEY", "SECRET", 1700000000.9) == {
        "X-API-Microtime": "1700000000",
        "X-API-Key": "KEY",
        # perl -MMojo::Util=hmac_sha1_sum -E 'say hmac_sha1_sum("/api/v1/jobs?a=b1700000000", "SECRET")'
        "X-API-Hash": "ad5b1545f7859d0e1b5554a9b3dbebffc19b5c50",
    }


def test_spaces_of_the_query_are_hashed_as_plus_and_those_of_the_path_are_not() -> None:
    headers = signed_headers("/a%20b?c=d%20e", "KEY", "SECRET", 1)
    assert headers["X-API-Hash"] == hmac.new(b"SECRET", b"/a%20b?c=d+e1", hashlib.sha1).hexdigest()


def test_without_key_or_secret_nothing_is_signed() -> None:
    assert signed_headers("/", "", "SECRET", 5) == {"X-API-Microtime": "5"}
    assert signed_headers("/", "KEY", "", 5) == {"X-API-Microtime": "5"}


def test_behind_a_path_prefix_a_server_may_hash_three_paths() -> None:
    assert hashed_paths("", "/api") == ("/api",)
    assert hashed_paths("/openqa", "/api") == ("/openqa/api", "/api", "openqa/api")
