"""A small signed client of openQA's REST API, on the standard library alone.

The lab cannot use pseudoworker's own client: it runs before that one's dependencies are installed, and it
is what the project is measured against.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlencode, urlsplit

from examples.lab.layout import Key


class ApiError(Exception):
    """A request was refused or not answered; `status` is 0 when there was no answer."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class OpenqaApi:
    """Requests to one instance, one connection each, answers decoded from JSON.

    `key` None sends unsigned requests, which is enough for reading.
    """

    def __init__(self, url: str, key: Key | None = None, timeout: float = 30.0) -> None:
        self._url = urlsplit(url)
        self._key = key
        self._timeout = timeout

    def get(self, path: str, **query: object) -> Any:
        """GET /api/v1/`path`; raises ApiError unless the answer is a success."""
        return self._request("GET", path, query)

    def post(self, path: str, parameters: Mapping[str, object] | None = None) -> Any:
        """POST /api/v1/`path` with form parameters; raises ApiError unless the answer is a success."""
        return self._request("POST", path, {}, parameters or {})

    def delete(self, path: str, **query: object) -> Any:
        """DELETE /api/v1/`path`; raises ApiError unless the answer is a success."""
        return self._request("DELETE", path, query)

    def _request(
        self, method: str, path: str, query: Mapping[str, object], form: Mapping[str, object] | None = None
    ) -> Any:
        target = f"/api/v1/{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {"Accept": "application/json", **self._signature(target)}
        body = None
        if form is not None:
            body = urlencode(form)
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        where = f"{method} {self._url.geturl()}{target}"
        connection = HTTPConnection(self._url.hostname or "", self._url.port, timeout=self._timeout)
        try:
            connection.request(method, target, body, headers)
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
        except (OSError, HTTPException) as error:
            raise ApiError(f"{where}: {error or type(error).__name__}") from error
        finally:
            connection.close()
        if not 200 <= response.status < 300:
            raise ApiError(f"{where}: {response.status} {text[:500]}", response.status)
        return json.loads(text) if text else None

    def _signature(self, target: str) -> dict[str, str]:
        # OpenQA::UserAgent, _add_auth_headers: the path and query as sent, then the time
        if self._key is None:
            return {}
        now = str(int(time.time()))
        digest = hmac.new(self._key.secret.encode(), (target + now).encode(), hashlib.sha1)
        return {
            "X-API-Key": self._key.key,
            "X-API-Microtime": now,
            "X-API-Hash": digest.hexdigest(),
        }
