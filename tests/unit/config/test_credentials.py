from __future__ import annotations

from pathlib import Path

import pytest

from pseudoworker.config.credentials import Given, find_credentials, section_names
from pseudoworker.config.files import Found
from pseudoworker.config.ini import Ini, parse_ini
from pseudoworker.config.mistakes import Mistakes, Origin
from pseudoworker.config.model import Credentials

PATH = Path("/client.conf")
FOUND = Found((PATH,), (Path("/home/client.conf"), PATH), ())


def find(url: str, text: str, *given: Given, found: Found = FOUND) -> tuple[Credentials | None, list[str]]:
    mistakes = Mistakes()
    client_conf = parse_ini(text, PATH, Ini(), mistakes) if text else Ini()
    credentials = find_credentials(url, given, client_conf, found, mistakes)
    return credentials, [str(mistake) for mistake in mistakes]


@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("http://host", ("host:80", "http://host", "host")),
        ("https://Host/openqa", ("host:443", "https://host/openqa", "https://host", "host")),
        ("http://127.0.0.1:21000", ("127.0.0.1:21000", "http://127.0.0.1:21000", "127.0.0.1")),
        ("http://[::1]:21000", ("[::1]:21000", "http://[::1]:21000", "[::1]")),
    ],
)
def test_section_names(url: str, names: tuple[str, ...]) -> None:
    assert section_names(url) == names


def test_the_most_exact_section_counts() -> None:
    text = "[h]\nkey = 1\nsecret = 2\n[http://h:90]\nkey = 3\nsecret = 4\n[H:90]\nkey = 5\nsecret = 6\n"
    assert find("http://h:90", text) == (Credentials("5", "6", "/client.conf:8: [H:90] key"), [])
    assert find("http://h:91", text) == (Credentials("1", "2", "/client.conf:2: [h] key"), [])


def test_the_last_of_several_values_counts() -> None:
    assert find("http://h", "[h]\nkey = 1\nkey = 2 \nsecret = <<E\n3\n4\nE\n")[0] == Credentials(
        "2", "4", "/client.conf:3: [h] key"
    )


def test_what_is_given_wins_each_for_itself() -> None:
    text = "[h]\nkey = 1\nsecret = 2\n"
    command_line = Given("k", None, Origin("command line"))
    environment = Given("", "s", Origin("environment"))
    assert find("http://h", text, command_line, environment)[0] == Credentials("k", "s", "command line")
    assert find("http://h", text, command_line)[0] == Credentials("k", "2", "command line")
    assert find("http://h", text, environment)[0] == Credentials("1", "s", "/client.conf:2: [h] key")
    assert "s" not in repr(environment).removeprefix("Given(").split("origin")[0]


def test_nothing_is_found() -> None:
    wanted = "add one of the sections [h:80], [http://h], [h] with key and secret from the web UI"
    assert find("http://h", "[g]\nkey = 1\n") == (
        None,
        [f"client.conf: no API key and secret for http://h (no section for it in /client.conf); {wanted}"],
    )
    assert find(
        "http://h", "[g]\n", Given("k", None, Origin("x")), found=Found((PATH,), (PATH,), (Path("/u"),))
    ) == (
        None,
        [
            "client.conf: no API secret for http://h (no section for it in /client.conf; not readable: /u); "
            + wanted
        ],
    )
    assert find("http://h", "", found=Found((), FOUND.looked_at, ())) == (
        None,
        [
            "client.conf: no API key and secret for http://h (no file at /home/client.conf, /client.conf); "
            + wanted
        ],
    )


@pytest.mark.parametrize(
    "text", ["[h]\nsecret = 2\n", "[h]\nkey =\nsecret = 2\n", "[h]\nkey = <<E\nE\nsecret=2\n"]
)
def test_a_key_is_missing(text: str) -> None:
    assert find("http://h", text) == (
        None,
        ["/client.conf: [h]: no key for http://h; add `key = …` to the section"],
    )


def test_an_empty_section() -> None:
    assert find("http://h", "[h]\n")[1] == [
        "/client.conf: [h]: no key and secret for http://h; add `key = …` to the section"
    ]


@pytest.mark.parametrize("value", ["a b", "ä", "a\x07"])
def test_a_key_that_cannot_be_one_is_not_shown(value: str) -> None:
    assert find("http://h", f"[h]\nkey = k\nsecret = {value}\n")[1] == [
        "/client.conf:3: [h] secret: contains a space or a character that no API key has; "
        "copy it anew from the web UI"
    ]
