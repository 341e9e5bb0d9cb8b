"""Who may: the signature of a request, checked as Shared/Controller/Auth.pm does."""

from __future__ import annotations

import hmac
import time
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, quote_plus

from aiohttp import web

from tests.fakes.flavour import Flavour


@dataclass
class Keys:
    """The one key that an instance knows, and its idea of the time."""

    key: str
    secret: str
    skew: float = 0.0
    """How far the instance's clock is ahead, in seconds."""
    tolerance: float = 300.0
    operator: bool = True
    """Whether the key's owner may do what operators may."""
    prefix: str = ""
    """Path prefix of the reverse proxy before the instance."""
    prefix_hash: Literal["bare", "whole", "base_url"] = "bare"
    """What the instance hashes behind a prefix: the path without it (the proxy strips it), the whole path, or
    the path with the prefix of `base_url` before it, which has no leading slash then (newer releases)."""
    refused: str = ""
    """When set, every signed request is answered with 403 and this text."""

    def now(self) -> float:
        """The instance's time."""
        return time.time() + self.skew

    def objection(self, request: web.Request, flavour: Flavour, *, hashed: bool = True) -> str | None:
        """The text of the 403; None when the request is good."""
        if self.refused:
            return self.refused
        key = request.headers.get("X-API-Key")
        if not key:
            return "no api key"
        if key != self.key:
            return "Not authorized"
        stamp = request.headers.get("X-API-Microtime", "")
        mismatch = flavour.mismatch.format(server=int(self.now()), client=stamp)
        try:
            age = self.now() - float(stamp)
        except ValueError:
            return mismatch
        if age > self.tolerance or (age < -self.tolerance and not flavour.future_timestamps):
            return mismatch
        if hashed:
            message = self._hashed_path(request.raw_path) + stamp
            wanted = hmac.new(self.secret.encode(), message.encode(), "sha1").hexdigest()
            if not hmac.compare_digest(wanted, request.headers.get("X-API-Hash", "")):
                return "unknown error (wrong secret?)"
        if not self.operator:
            return "Administrator level required"
        return None

    def _hashed_path(self, raw_path: str) -> str:
        """The path as it came, and the query as Mojo::Parameters writes it once it was parsed."""
        path, mark, query = raw_path.partition("?")
        if self.prefix_hash != "whole":
            path = path.removeprefix(self.prefix)
        if self.prefix_hash == "base_url":
            path = self.prefix.lstrip("/") + path
        return path + mark + canonical_query(query)


def canonical_query(query: str) -> str:
    """A query's pairs, escaped as Mojolicious does it: a space is `+`, and only `*-._` stay as they are."""
    pairs = parse_qsl(query, keep_blank_values=True)
    return "&".join(
        "=".join(quote_plus(part, safe="*").replace("~", "%7E") for part in pair) for pair in pairs
    )
