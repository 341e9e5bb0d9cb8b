"""Values as Perl writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pseudoworker.openqa.json import Json
from pseudoworker.openqa.values import flag, flat_settings, integer, positive_int, text
from tests.unit.openqa.test_json import DOCUMENTS


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (7, 7),
        ("7", 7),
        ("-7", -7),
        (7.0, 7),
        (2**63 - 1, 2**63 - 1),
        (2**63, None),
        ("9" * 19, None),
        ("9" * 5000, None),
        (1e300, None),
        (7.5, None),
        (True, None),
        (None, None),
        ("", None),
        ("-", None),
        ("1_0", None),
        (" 7", None),
        ("٣", None),
        ("7.0", None),
        ([7], None),
        ({}, None),
    ],
)
def test_integer(value: Json, number: int | None) -> None:
    assert integer(value) == number


@pytest.mark.parametrize(("value", "number"), [(1, 1), ("42", 42), (0, None), (-1, None), ("0", None)])
def test_ids_begin_at_one(value: Json, number: int | None) -> None:
    assert positive_int(value) == number


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("a", "a"),
        (None, ""),
        (True, "1"),
        (False, "0"),
        (5, "5"),
        (5.0, "5"),
        (0.5, "0.5"),
        (1e300, "1e+300"),
        ([], None),
        ({}, None),
    ],
)
def test_text(value: Json, words: str | None) -> None:
    assert text(value) == words


@pytest.mark.parametrize("value", [None, False, 0, "", "0", 0.0])
def test_false_in_perl(value: Json) -> None:
    assert not flag(value)


@pytest.mark.parametrize("value", [True, 1, "1", "00", "no", [], {}])
def test_true_in_perl(value: Json) -> None:
    assert flag(value)


def test_settings_become_text() -> None:
    assert flat_settings({"A": "x", "B": 1, "C": None}) == {"A": "x", "B": "1", "C": ""}
    assert flat_settings({"A": ["x"]}) is None
    assert flat_settings(["A"]) is None


@given(DOCUMENTS)
def test_never_raise(value: Json) -> None:
    integer(value)
    text(value)
    flag(value)
    settings = flat_settings(value)
    assert settings is None or all(isinstance(item, str) for item in settings.values())


@given(st.integers(min_value=-(2**63) + 1, max_value=2**63 - 1))
def test_a_number_reads_the_same_as_text(number: int) -> None:
    # 19 digits at most, so that huge strings are not converted
    assert integer(number) == number
    assert integer(str(number)) == number
