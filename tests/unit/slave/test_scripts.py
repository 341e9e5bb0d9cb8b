from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pseudoworker.slave.scripts import LogScripts, complete, rule, script_on_page, scripts_in

# Lines as they stand in autoinst-log.txt: 2023, 2026 with colours, and a release that knew no process id.
LOG = """\
[2023-01-20T10:00:00.100000Z] [info] [pid:77] ::: basetest::runtest: # starting
[2023-01-20T10:00:00.123456Z] [debug] [pid:77] scheduling boot tests/install/boot.pm
\x1b[37m[2026-08-22T10:00:00.123456Z] [debug] [pid:77] scheduling shutdown tests/shutdown.pm\x1b[0m
[2019-01-20T10:00:00.123 CET] [debug] scheduling boot#1 tests/install/boot.pm
[2026-08-22T10:00:00.123456Z] [debug] [pid:77] scheduling My own name tests/x/run.py
[2026-08-22T10:00:00.123456Z] [debug] [pid:77] scheduling moon tests/x/moon.lua
  scheduling indented tests/x/indented.pm
[2026-08-22T10:00:00.123456Z] [debug] [pid:77] scheduling boot tests/other/boot.pm
[2026-08-22T10:00:00.123456Z] [debug] [pid:77] they are scheduling trouble tests/y/trouble.pm
"""
SCRIPTS = {
    "boot": "tests/install/boot.pm",
    "shutdown": "tests/shutdown.pm",
    "boot#1": "tests/install/boot.pm",
    "My own name": "tests/x/run.py",
    "moon": "tests/x/moon.lua",
}


def test_the_first_line_about_each_module_counts() -> None:
    assert scripts_in(LOG) == SCRIPTS


@given(st.lists(st.integers(0, len(LOG)), max_size=8))
def test_it_does_not_matter_where_the_log_is_cut(cuts: list[int]) -> None:
    borders = [0, *sorted(cuts), len(LOG)]
    scripts = LogScripts()
    for start, end in pairwise(borders):
        scripts.feed(LOG[start:end])
    assert scripts.scripts == SCRIPTS


def test_a_line_that_never_ends_is_not_kept() -> None:
    scripts = LogScripts()
    for _ in range(100):
        scripts.feed("x" * 1000)
    scripts.feed("\n[a] scheduling boot tests/boot.pm\n")
    assert scripts.scripts == {"boot": "tests/boot.pm"}


def test_a_line_is_not_believed_before_it_is_complete() -> None:
    scripts = LogScripts()
    scripts.feed("[a] scheduling boot tests/boot.pm")
    assert not scripts.scripts
    scripts.feed("_and_more.pm\n")
    assert scripts.scripts == {"boot": "tests/boot.pm_and_more.pm"}


@pytest.mark.parametrize(
    ("path", "version", "script"),
    [
        ("/var/lib/openqa/share/tests/example/tests/install/boot.pm", "1", "tests/install/boot.pm"),
        ("/var/lib/openqa/share/tests/example-1/tests/install/boot.pm", "1", "tests/install/boot.pm"),
        ("/var/lib/openqa/share/tests/example/tests/example/boot.pm", "", "tests/example/boot.pm"),
        ("/srv/tests/example/tests/a&amp;b/boot.pm", "", "tests/a&b/boot.pm"),
        ("/var/lib/openqa/share/tests/other/tests/install/boot.pm", "1", None),
        ("/var/lib/openqa/share/tests/example/", "1", None),
    ],
)
def test_the_path_on_the_source_page(path: str, version: str, script: str | None) -> None:
    page = f"<html><code>other</code> <a href='x'>\n    <code>{path}</code>\n</a></html>"
    assert script_on_page(page, "example", version) == script


def test_any_page_will_do() -> None:
    assert script_on_page("no page", "example") is None


def test_the_rule() -> None:
    assert rule("boot", "install") == "tests/install/boot.pm"
    assert rule("boot#12", "console/net") == "tests/console/net/boot.pm"
    assert rule("boot", "tests") == "tests/boot.pm"
    assert rule("boot", "example/tests") == "tests/boot.pm"


def test_each_module_gets_the_best_known_script() -> None:
    modules = [("a", "c"), ("b", "c"), ("d", "c")]
    assert complete(modules, {"a": "first.pm"}, {"a": "second.pm", "b": "third.pm"}) == {
        "a": "first.pm",
        "b": "third.pm",
        "d": "tests/c/d.pm",
    }
