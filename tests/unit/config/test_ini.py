"""Lines and messages; what is read is compared with Perl's Config::IniFiles in tests/real/config."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pseudoworker.config.ini import Ini, parse_ini, read_ini
from pseudoworker.config.mistakes import Mistakes, Origin

PATH = Path("/x.ini")


def parse(*texts: str) -> tuple[Ini, list[str]]:
    ini, mistakes = Ini(), Mistakes()
    for text in texts:
        ini = parse_ini(text, PATH, ini, mistakes)
    return ini, [str(mistake) for mistake in mistakes]


def values(*texts: str) -> dict[str, dict[str, tuple[str, ...]]]:
    ini, mistakes = parse(*texts)
    assert not mistakes
    return {
        section: {key: entry.values for key, entry in entries.items()}
        for section, entries in ini.sections.items()
    }


def test_sections_keys_and_comments() -> None:
    assert values("# one\n [ a b ] \n key\t= some value \n ; two\nempty=\n[c]\nurl = a=b#c\n") == {
        "a b": {"key": ("some value ",), "empty": ("",)},
        "c": {"url": ("a=b#c",)},
    }


def test_a_key_given_twice_and_a_section_given_twice() -> None:
    assert values("[a]\nb = 1\n[c]\n[a]\nb = 2\n") == {"a": {"b": ("1", "2")}, "c": {}}


def test_here_documents() -> None:
    assert values(
        "[a]\nb = <<EOT\n x\n[no]\nEOT\nc = <<E\nE\nc = dropped, as Perl's undef takes no push\n"
    ) == {"a": {"b": (" x", "[no]"), "c": ()}}


def test_the_lines_of_values() -> None:
    ini, _ = parse("[a]\n\nb = 1\nc = <<E\nx\nE\nd = 2\nb = 3\n")
    assert {key: entry.origin for key, entry in ini.sections["a"].items()} == {
        "b": Origin("/x.ini", 8, "[a] b"),
        "c": Origin("/x.ini", 4, "[a] c"),
        "d": Origin("/x.ini", 7, "[a] d"),
    }


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\x15"])
def test_line_ends(end: str) -> None:
    assert values(end.join(["[a]", "b = 1", "", "c = 2"])) == {"a": {"b": ("1",), "c": ("2",)}}


def test_a_file_without_any_line_end_is_empty() -> None:
    assert values("[a]") == {}


def test_drop_ins_replace_and_delete() -> None:
    main = "[a]\nb = 1\nc = 2\n[d]\ne = 3\n# b is deleted\n"
    assert values(main, "[a]\nb = 4\nb = 5\n# c is deleted\n# [d] is deleted\n# nothing is deleted\n") == {
        "a": {"b": ("4", "5")}
    }
    assert values(main, "# b is deleted\n[d]\n# [d] is deleted\n# e is deleted\nf = 6\n") == {
        "a": {"b": ("1",), "c": ("2",)},
        "d": {"f": ("6",)},
    }


def test_mistakes() -> None:
    ini, mistakes = parse("a = 1\n[b]\nno value\n= 2\nc = <<EOT\nd = 3\n")
    assert mistakes == [
        "/x.ini:1: a: a key outside of a section; write a line such as [global] above it",
        "/x.ini:3: neither section nor key with value nor comment; write [section], key = value or # comment",
        "/x.ini:4: neither section nor key with value nor comment; write [section], key = value or # comment",
        "/x.ini:5: [b] c: the here-document has no end; "
        "write what stands behind << on a line of its own below",
    ]
    assert ini.sections == {"b": {}}
    assert parse("\ufeff[a]\nb = 1\n")[1] == [
        "/x.ini:1: begins with a byte order mark; save the file as UTF-8 without one"
    ]


def test_a_file_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.ini", tmp_path / "bad.ini"
    good.write_text("[a]\nb = 1\n")
    mistakes = Mistakes()
    ini = read_ini([good, bad], mistakes)
    assert ini.files == (good,)
    assert [str(mistake) for mistake in mistakes] == [
        f"{bad}: cannot be read (No such file or directory); let the service's user read it or remove it"
    ]


@given(st.lists(st.text("[]=<#;a \n\r\x15is deleted\ufeff", max_size=80), max_size=3))
def test_any_text_is_read_or_refused(texts: list[str]) -> None:
    ini, mistakes = parse(*texts)
    for entries in ini.sections.values():
        for entry in entries.values():
            assert entry.origin.line is not None
    assert all("/x.ini:" in mistake for mistake in mistakes)
