import pytest

from pseudoworker.observe.secrets import Secrets


def test_the_longer_secret_goes_first() -> None:
    assert Secrets(["secret", "secretsecret"]).hide("a secretsecret b") == "a [redacted] b"


def test_a_dropped_secret_is_no_longer_looked_for_unless_added_twice() -> None:
    secrets = Secrets(["token"])
    secrets.add("token")
    secrets.drop("token")
    assert secrets.hide("token") == "[redacted]"
    secrets.drop("token")
    assert secrets.hide("token") == "token"
    secrets.drop("never added")


def test_a_value_too_short_to_be_a_secret_blots_out_nothing() -> None:
    assert Secrets(["", "abc"]).hide("abc and more") == "abc and more"


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("JOBTOKEN=abc, NAME=x", "JOBTOKEN=[redacted], NAME=x"),
        ('{"ROOT_PASSWORD": "a b", "X": 1}', '{"ROOT_PASSWORD": [redacted], "X": 1}'),
        ("X-API-Key: 0123", "X-API-Key: [redacted]"),
        ("_SECRET_A=>x", "_SECRET_A=>[redacted]"),
        ("the password is not here", "the password is not here"),
    ],
)
def test_settings_that_carry_secrets_are_redacted(text: str, hidden: str) -> None:
    assert Secrets().hide(text) == hidden
