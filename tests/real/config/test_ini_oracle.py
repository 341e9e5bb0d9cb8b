"""Our INI reader against Perl's Config::IniFiles, which is the one openQA uses."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pseudoworker.config.ini import read_ini
from pseudoworker.config.mistakes import Mistakes
from tests.real.config.oracle import Oracle

pytestmark = pytest.mark.real

CASES: dict[str, Sequence[str]] = {
    "plain": ["[global]\nHOST = a\n"],
    "blank around": ["  [ a  b ]  \n\t key\t=  value  \t\n"],
    "comments": ["# one\n[a] \n ; two\nb = c # not a comment\nd = ; nor this\n"],
    "header with comment": ["[a]\n[b] # comment\nx = 1\n"],
    "header that looks like a key": ["[a]\n[b] # c = d\nx = 1\n"],
    "brackets in the name": ["[[::1]:8080]\nkey = a\n[a]]\nb = c\n[]\n"],
    "empty value": ["[a]\nb =\nc=\n"],
    "several equal signs": ["[a]\nb = c = d\nb==\n"],
    "equal sign first": ["[a]\n= b\n"],
    "no equal sign": ["[a]\nb\n"],
    "outside a section": ["a = b\n[c]\nd = e\n"],
    "key twice": ["[a]\nb = 1\nc = 2\nb = 3\n"],
    "section twice": ["[a]\nb = 1\n[c]\n[a]\nb = 2\nd = 3\n"],
    "case": ["[A]\nb = 1\nB = 2\n[a]\nb = 3\n"],
    "here-document": ["[a]\nb = <<EOT\n one \n# two\n[c]\n\nEOT\nd = 1\n"],
    "here-document, empty": ["[a]\nb = <<EOT\nEOT\nb = 1\nc = 2\n"],
    "here-document, no mark": ["[a]\nb = <<\n x\n\nc = 1\n"],
    "here-document, mark with blank": ["[a]\nb = <<EOT \nx\nEOT\nEOT \nc = 1\n"],
    "here-document, twice": ["[a]\nb = <<X\n1\n2\nX\nb = 3\nb = <<Y\n4\nY\n"],
    "here-document without end": ["[a]\nb = <<EOT\nc = 1\n"],
    "backslash at the end": ["[a]\nb = c \\\nd = e\n"],
    "append": ["[a]\nb = c\nb+ = d\nb += e\nb+=f\n"],
    "quotes": ["[a]\nb = \"c\"\nd = 'e'\n"],
    "no line end at the end": ["[a]\nb = c"],
    "one line without end": ["[a]"],
    "one malformed line without end": ["hello"],
    "nothing": [""],
    "only comments": ["# a\n\n; b\n"],
    "only a line end": ["\n"],
    "CRLF": ["[a]\r\nb = c\r\n\r\nd = <<E\r\nx\r\nE\r\n"],
    "CRLF after LF": ["[a]\nb = c\r\nd = e\r\n"],
    "LF after CRLF": ["[a]\r\nb = c\nd = e\r\n"],
    "LF at the end after CRLF": ["[a]\r\nb = c\n"],
    "CR": ["[a]\rb = c\rd = e"],
    "CR, one line": ["[a]\r"],
    "NAK": ["[a]\x15b = c\x15d = e\x15"],
    "two CR": ["[a]\nb = c\r\r\n"],
    "form feed and vertical tab": ["[a]\n\f\vb = c\f\n"],
    "UTF-8": ["[ä]\nö = ü\u00a0€\n\u2003x = y\n"],
    "byte order mark": ["\ufeff[a]\nb = c\n"],
    "byte order mark before a comment": ["\ufeff# a = b\n[a]\nb = c\n"],
    "drop-in replaces": ["[a]\nb = 1\nc = 2\n", "[a]\nb = 3\n[d]\ne = 4\n"],
    "drop-in, key twice": ["[a]\nb = 1\n", "[a]\nb = 2\nb = 3\n"],
    "drop-in deletes a key": ["[a]\nb = 1\nc = 2\n", "[a]\n# b is deleted\n"],
    "drop-in deletes its own key": ["[x]\n", "[a]\nb = 1\n# b is deleted\nb = 2\n"],
    "drop-in deletes a section": [
        "[a]\nb = 1\n[c]\nd = 2\n",
        "[c]\n# [a] is deleted\n# [c] is deleted\ne = 3\n",
    ],
    "drop-in deletes what is not there": [
        "[a]\nb = 1\n",
        "# x is deleted\n[z]\n# x is deleted\n# [y] is deleted\n",
    ],
    "main file deletes nothing": ["[a]\nb = 1\n# b is deleted\n# [a] is deleted\n"],
    "deletion by semicolon": ["[a]\nb = 1\n", "[a]\n; b is deleted\n #  b is deleted\n#b is deleted\n"],
    "deletion, then an unclear key": ["[a]\nb = 1\n", "[a]\n# [a] is deleted\n# b is deleted\n"],
    "first file empty": ["# nothing\n", "[a]\nb = 1\n# b is deleted\n"],
    "second file empty": ["[a]\nb = 1\n", ""],
    "three files": ["[a]\nb = 1\n", "[a]\nb = 2\nc = <<E\nE\n", "[a]\nc = 3\nc = 4\n"],
}


def compare(texts: Sequence[str], directory: Path, oracle: Oracle) -> None:
    """Read `texts` as a main file and its drop-ins with both; compare what they hold and what they refuse.

    One thing is left out: Config::IniFiles drops a drop-in that deletes all there was as "empty". We delete.
    """
    files = []
    for number, text in enumerate(texts):
        files.append(directory / f"{number}.ini")
        files[-1].write_bytes(text.encode())
    expected, errors = oracle.ini(files)
    if any(
        its and "Empty" in its[0] and " is deleted" in text for text, its in zip(texts, errors, strict=True)
    ):
        return
    mistakes = Mistakes()
    ours = read_ini(files, mistakes)
    first_mistakes: dict[str, int | None] = {}
    for mistake in mistakes:
        first_mistakes.setdefault(mistake.file, mistake.line)
    assert first_mistakes == {
        str(path): _line(its[0])
        for path, its in zip(files, errors, strict=True)
        if its and "Empty" not in its[0]
    }
    if not first_mistakes:
        found = {
            name: {key: entry.values for key, entry in entries.items()}
            for name, entries in ours.sections.items()
        }
        assert found == expected
        assert [list(entries) for entries in found.values()] == [
            list(entries) for entries in expected.values()
        ]
        assert list(found) == list(expected)


def _line(error: str) -> int:
    match = re.search(r"\A(\d+): |\ALine (\d+) in file", error)
    assert match, error
    return int(match[1] or match[2])


@pytest.mark.parametrize("texts", CASES.values(), ids=CASES)
def test_a_case_written_by_hand(texts: Sequence[str], tmp_path: Path, oracle: Oracle) -> None:
    compare(texts, tmp_path, oracle)


words = st.text("abAB12é \t+<#;[]:.\\", min_size=1, max_size=6)
names = st.sampled_from(["a", "b", "a+", " A ", "c d"])
well_formed = st.one_of(
    st.sampled_from(
        ["[a]", "[b]", " [a  b] ", "", "# a is deleted", "# [a] is deleted", "# b is deleted", "; x"]
    ),
    st.tuples(names, words).map(" = ".join),
    st.tuples(names, names).map("=".join),
)
wild = st.one_of(
    st.sampled_from(["EOT", "a = <<EOT", "b = <<EOT"]),
    words,
    words.map(lambda name: f"[{name}]"),
    st.tuples(words, words).map("=".join),
    st.text("ab=[]#;<EOT \t\r\n\f\v\x15\x00\x85\u00a0é", max_size=12),
)
blocks = st.one_of(
    well_formed.map(lambda line: [line]),
    st.tuples(names, st.lists(wild.filter(lambda line: line != "EOT"), max_size=3)).map(
        lambda here: [f"{here[0]} = <<EOT", *here[1], "EOT"]
    ),
)
lines = st.one_of(
    st.lists(blocks, max_size=12).map(lambda found: list(itertools.chain.from_iterable(found))),
    st.lists(st.one_of(well_formed, wild), max_size=10),
)
ends = st.sampled_from(["\n", "\n", "\n", "\r\n", "\r", "\x15"])


@st.composite
def texts(draw: st.DrawFn) -> str:
    end = draw(ends)
    ends_here = draw(st.sampled_from([st.just(end), ends]))
    text = "".join(line + draw(ends_here) for line in draw(lines))
    return draw(st.sampled_from(["[a]" + end, "[a]" + end, ""])) + text + draw(st.sampled_from(["", "a = b"]))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents=st.lists(texts(), min_size=1, max_size=3))
def test_any_files(contents: list[str], tmp_path: Path, oracle: Oracle) -> None:
    compare(contents, tmp_path, oracle)
