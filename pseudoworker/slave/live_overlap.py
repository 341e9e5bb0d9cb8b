"""Reopening a live text stream without repeating or silently losing a line.

openQA's `livelog` and `liveterminal` begin each connection with the last 10 KB of the file, from the start of
a line on, and go on with what is added (Running.pm, streamtext). They carry no event id, so where a new
connection stands in what was read before can only be told from the text itself.
"""

from __future__ import annotations

from dataclasses import dataclass

REPLAY = 10 * 1024
"""Bytes that a stream repeats at most when it is opened (Running.pm, streamtext)."""


@dataclass(frozen=True)
class Piece:
    """Text not seen before."""

    text: str
    gap: bool = False
    """Something before this text was missed, or may have been: nothing of it is known from before."""


class Overlap:
    """What is new in a text stream that is opened again and again.

    Call `opened` at each new connection, `feed` with each text, and `settle` when the stream has been quiet
    for a moment. Text of a reopened stream is held back until it is known where it belongs: at most `REPLAY`
    bytes, until `settle`. The longest overlap wins, so that equal lines are rather counted once than shown
    twice.
    """

    def __init__(self) -> None:
        self._tail = ""
        self._whole = True
        """Whether `_tail` is all that was ever read."""
        self._held: str | None = None

    @property
    def undecided(self) -> bool:
        """Whether text is held back that `settle` may release."""
        return bool(self._held)

    def opened(self) -> None:
        """A new connection was made: what comes first may be known already."""
        self._held = "" if self._tail else None

    def feed(self, text: str) -> Piece:
        """What of `text` is new, and of what was held back before it."""
        if self._held is None:
            return self._pass_on(text)
        self._held += text
        return self._decide() if len(self._held) >= len(self._tail) else Piece("")

    def settle(self) -> Piece:
        """The replay seems to be over: what of the text held back is new.

        Text that is wholly known, and ends before what is known does, stays back: more of the replay must
        follow.
        """
        if not self._held or self._is_inside(self._held):
            return Piece("")
        return self._decide()

    def _decide(self) -> Piece:
        held, self._held = self._held or "", None
        for start in self._line_starts():
            known = self._tail[start:]
            if held.startswith(known):
                return self._pass_on(held[len(known) :])
        return self._pass_on(held, gap=True)

    def _is_inside(self, held: str) -> bool:
        """Whether `held` is known text that ends too early, and nothing that reaches the end of what is
        known."""
        starts = list(self._line_starts())
        return not any(held.startswith(self._tail[start:]) for start in starts) and any(
            self._tail.startswith(held, start) for start in starts
        )

    def _line_starts(self) -> list[int]:
        """Where in the tail a replay can begin, leftmost first."""
        starts = [0] if self._whole else []
        position = self._tail.find("\n")
        while -1 < position < len(self._tail) - 1:
            starts.append(position + 1)
            position = self._tail.find("\n", position + 1)
        return starts

    def _pass_on(self, text: str, *, gap: bool = False) -> Piece:
        known = self._tail + text
        self._whole = self._whole and len(known) <= REPLAY and not gap
        # One byte more than a replay has: it tells whether the first byte of the replay begins a line.
        self._tail = known if self._whole else known[-(REPLAY + 1) :]
        return Piece(text, gap)
