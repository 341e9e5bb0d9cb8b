"""How openQA knows who asks: OpenQA::UserAgent add_auth_headers, OpenQA::Shared::Controller::Auth."""

from __future__ import annotations

import hmac


def signed_headers(path_and_query: str, key: str, secret: str, now: float) -> dict[str, str]:
    """The headers that sign one request; none at all but the time when there is no key or no secret.

    `path_and_query` is what goes over the wire, path prefix of a proxy included. `now` is seconds since the
    epoch. The server hashes the query after its own parsing, where a space is `+`, so `%20` in the query is
    hashed as `+`. A signature holds for its time (the server allows 300 s) and its path: sign each attempt
    and each redirect anew.
    """
    microtime = str(int(now))
    headers = {"X-API-Microtime": microtime}
    if key and secret:
        path, mark, query = path_and_query.partition("?")
        message = path + mark + query.replace("%20", "+") + microtime
        headers["X-API-Key"] = key
        headers["X-API-Hash"] = hmac.digest(secret.encode(), message.encode(), "sha1").hex()
    return headers


def hashed_paths(prefix: str, path_and_query: str) -> tuple[str, ...]:
    """What a server behind a proxy may hash when `prefix` (`/openqa`) stands before `path_and_query` in our
    URL.

    OpenQA::UserAgent hashes the whole path as sent. A proxy that strips the prefix leaves openQA of 2023
    with the bare path; newer releases put the path of `[global] base_url` before it, without its leading
    slash (Auth.pm, _valid_hmac). The caller tries them in this order.
    """
    if not prefix:
        return (path_and_query,)
    return (prefix + path_and_query, path_and_query, prefix.lstrip("/") + path_and_query)
