"""The program that runs pairs of releases: what it writes, and that its document is whole."""

from __future__ import annotations

import re

import pytest

from tests.real.matrix import BRIEF, DOCUMENT, PAIRS, ROOT, SCENARIOS, Outcome, Pair, _parser, updated


def test_a_pair_is_named_by_both_releases() -> None:
    assert Pair.named("bookworm/sid") == Pair("bookworm", "sid")
    for wrong in ("bookworm", "bookworm/potato", "a/b/c", "/"):
        with pytest.raises(ValueError, match="MASTER/SLAVE"):
            Pair.named(wrong)


def test_the_command_line_knows_pairs_and_what_to_run() -> None:
    options = _parser().parse_args(["sid/bookworm", "--brief", "--scenario", "relay", "live"])
    assert (options.pairs, options.scenario) == ([Pair("sid", "bookworm")], ["relay", "live"])
    assert options.brief
    assert not options.write
    options = _parser().parse_args([])
    assert (options.pairs, options.scenario, options.brief) == (PAIRS, list(SCENARIOS), False)


def test_each_pair_has_a_lab_of_its_own() -> None:
    places = {pair.environment["LAB_DIR"] for pair in PAIRS}
    assert len(places) == len(PAIRS)
    assert all(len(place) <= 80 for place in places)


def test_only_tests_that_ran_and_passed_are_good() -> None:
    assert Outcome(3, (), 61.4).good
    assert str(Outcome(3, (), 61.4)) == "passed, 3 of 3, 61 s"
    assert not Outcome(2, ["test_it"], 5).good
    assert str(Outcome(2, ["test_it"], 5)) == "**1 failed**, 2 of 3, 5 s"
    assert not Outcome(0, (), 1).good
    assert str(Outcome(0, (), 1)) == "**no test ran**, 1 s"


def test_the_table_keeps_the_rows_of_other_pairs() -> None:
    document = "| sid | | |\n\n| bookworm | sid | old |\n| sid | sid | old |\n"
    new = updated(document, {Pair("sid", "sid"): "| sid | sid | new |"}, {"sid": "openqa 5"})
    assert new == (
        "| sid | Debian's unstable, 2026 | openqa 5 |\n\n| bookworm | sid | old |\n| sid | sid | new |\n"
    )


def test_the_document_has_one_row_for_each_pair_and_each_file_it_names_exists() -> None:
    lines = DOCUMENT.read_text().splitlines()
    for pair in PAIRS:
        rows = [line for line in lines if line.startswith(f"| {pair.master} | {pair.slave} |")]
        assert len(rows) == 1, pair
        assert rows[0].count("|") == len(SCENARIOS) + 4
    table = DOCUMENT.read_text().partition("## What differs")[2]
    named = set(re.findall(r"`([a-z_/]+\.py)`", table))
    assert len(named) > 10
    assert [name for name in sorted(named) if not (ROOT / "pseudoworker" / name).is_file()] == []
    assert SCENARIOS.keys() == BRIEF.keys()
    for arguments in (*SCENARIOS.values(), *BRIEF.values()):
        assert (ROOT / arguments[0]).is_file()
