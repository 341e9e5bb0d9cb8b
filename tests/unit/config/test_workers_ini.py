from __future__ import annotations

from pathlib import Path

import pytest

from pseudoworker.config.ini import Ini, parse_ini
from pseudoworker.config.mistakes import Mistakes, Origin
from pseudoworker.config.workers_ini import settings_for_host, settings_of

EXAMPLE = """\
[global]
HOST = http://master
worker_hostname =  10.0.0.1
WORKER_CLASS = base
[1]
WORKER_CLASS = one,special
[2]
FOO = of the slot
WORKER_CLASS = special,aarch64
[3]
WORKER_CLASS = three
[1,2]
LIST = yes
[2 - 4]
RANGE = yes
WORKER_CLASS += by-range
[3-6,1]
BOTH = yes
[http://master]
FOO = of the host
[class:special]
FOO = of the class
[class:aarch64]
BAR = of the class
WORKER_CLASS+ = never
"""


def ini(text: str) -> Ini:
    mistakes = Mistakes()
    parsed = parse_ini(text, Path("/workers.ini"), Ini(), mistakes)
    assert not mistakes
    return parsed


def settings(text: str, instance: int | None) -> dict[str, str]:
    return {key: setting.value for key, setting in settings_of(ini(text), instance).items()}


COMMON = {"HOST": "http://master", "WORKER_HOSTNAME": "10.0.0.1"}


@pytest.mark.parametrize(
    ("instance", "expected"),
    [
        (None, {"WORKER_CLASS": "base"}),
        (1, {"WORKER_CLASS": "one,special", "LIST": "yes", "BOTH": "yes", "FOO": "of the class"}),
        (
            2,
            {
                "WORKER_CLASS": "special,aarch64,by-range",
                "FOO": "of the slot",
                "BAR": "of the class",
                "LIST": "yes",
                "RANGE": "yes",
            },
        ),
        (3, {"WORKER_CLASS": "three,by-range", "RANGE": "yes", "BOTH": "yes"}),
        (4, {"WORKER_CLASS": "base,by-range", "RANGE": "yes", "BOTH": "yes"}),
        (6, {"WORKER_CLASS": "base", "BOTH": "yes"}),
        (7, {"WORKER_CLASS": "base"}),
    ],
)
def test_instances(instance: int | None, expected: dict[str, str]) -> None:
    assert settings(EXAMPLE, instance) == {**COMMON, **expected}


def test_where_a_setting_comes_from() -> None:
    assert settings_of(ini(EXAMPLE), 4)["WORKER_CLASS"].origin == Origin(
        "/workers.ini", 16, "[2 - 4] WORKER_CLASS +"
    )


def test_host_sections() -> None:
    assert {key: each.value for key, each in settings_for_host(ini(EXAMPLE), "http://master").items()} == {
        "FOO": "of the host"
    }
    assert settings_for_host(ini(EXAMPLE), "http://other") == {}


def test_appending_to_nothing_and_an_empty_here_document() -> None:
    assert settings("[global]\nA+ = 1\nB = 2\nC = 3\n[1]\nB = <<E\nE\nC+ = <<E\nE\n", 1) == {
        "A": "1",
        "C": "3,",
    }


def test_of_a_key_given_twice_the_first_counts_and_that_is_told() -> None:
    found = settings_of(ini("[global]\nA = 1\nA = 2\n[1]\nA+ = 3\nB = 4\n"), 1)
    assert {key: each.value for key, each in found.items()} == {"A": "1,3", "B": "4"}
    mistakes = Mistakes()
    found["A"].check(mistakes)
    found["B"].check(mistakes)
    assert [str(mistake) for mistake in mistakes] == [
        "/workers.ini:5: [1] A+: given more than once in its section; openQA takes the first; "
        "give it once, its values separated as the key wants them"
    ]


def test_a_range_of_unreasonable_length_is_none() -> None:
    assert settings(f"[{'9' * 5000}]\nA = 1\n[1-{'9' * 50}]\nB = 2\n", 1) == {"B": "2"}
