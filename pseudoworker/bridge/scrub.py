"""Secrets of the slave never reach the master: they are replaced in whatever passes through."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


class Scrubber:
    """Replaces secrets by another text of the same length, so that sizes and offsets stay what they are.

    `replacement` takes each secret's place; where its length differs it is repeated or cut to fit.
    """

    def __init__(self, secrets: Iterable[str], replacement: str) -> None:
        fitting = replacement or "x"
        self._replacements = {
            secret.encode(): (fitting * (len(secret) // len(fitting) + 1))[: len(secret)].encode()
            for secret in secrets
            if secret
        }
        self._overlap = max(map(len, self._replacements), default=1) - 1

    def whole(self, content: bytes) -> bytes:
        """The content without the secrets."""
        for secret, replacement in self._replacements.items():
            content = content.replace(secret, replacement)
        return content

    def chunks(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The same for a stream, also where a secret is cut by the border of two chunks."""
        held = b""
        for chunk in chunks:
            held = self.whole(held + chunk)
            ready = len(held) - self._overlap
            if ready > 0:
                yield held[:ready]
                held = held[ready:]
        if held:
            yield held
