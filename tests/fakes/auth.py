"""Who may: the signature of a request, checked as Shared/Controller/Auth.pm does."""

from __future__ import annotations

import hmac
import time
from dataclasses import dataclass

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
        try:
            age = self.now() - float(stamp)
        except ValueError:
            return flavour.mismatch
        if age > self.tolerance or (age < -self.tolerance and not flavour.future_timestamps):
            return flavour.mismatch
        if hashed:
            wanted = hmac.new(self.secret.encode(), (request.raw_path + stamp).encode(), "sha1").hexdigest()
            if not hmac.compare_digest(wanted, request.headers.get("X-API-Hash", "")):
                return "unknown error (wrong secret?)"
        if not self.operator:
            return "Administrator level required"
        return None
