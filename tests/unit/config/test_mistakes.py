from __future__ import annotations

import pytest

from pseudoworker.config.mistakes import ConfigurationError, Mistake, Mistakes, Origin
from pseudoworker.errors import PseudoworkerError


def test_where_something_was_written() -> None:
    assert str(Origin("/x.ini", 3, "[a] b")) == "/x.ini:3: [a] b"
    assert str(Origin("/x.ini")) == "/x.ini"
    assert str(Origin("command line", key="--host")) == "command line: --host"


def test_a_mistake_is_one_printable_line() -> None:
    assert (
        str(Mistake("/a\nb", 1, "[\x1b] ä", "is wrong", "mend it")) == r"/a\nb:1: [\x1b] ä: is wrong; mend it"
    )


def test_each_mistake_is_told_once() -> None:
    mistakes = Mistakes()
    mistakes.raise_if_any()
    assert not mistakes
    for _ in range(2):
        mistakes.add(Origin("/a", 1), "one", "mend it")
    mistakes.add(Origin("/a", 2), "two", "mend it")
    with pytest.raises(ConfigurationError) as caught:
        mistakes.raise_if_any()
    assert isinstance(caught.value, PseudoworkerError)
    assert caught.value.mistakes == tuple(mistakes)
    assert str(caught.value) == "/a:1: one; mend it\n/a:2: two; mend it"
