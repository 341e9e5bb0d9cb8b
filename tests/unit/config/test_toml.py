from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from pseudoworker.config.mistakes import DEFAULT, Mistakes, Origin
from pseudoworker.config.model import Limits
from pseudoworker.config.toml_file import TomlFile, read_toml
from pseudoworker.config.toml_lines import lines_of_keys


def read(directory: Path, *texts: str) -> tuple[TomlFile, list[str]]:
    files = []
    for number, text in enumerate(texts):
        files.append(directory / f"{number}.toml")
        files[-1].write_bytes(text.encode())
    mistakes = Mistakes()
    toml = read_toml(files, mistakes)
    return toml, [str(mistake).replace(f"{directory}/", "") for mistake in mistakes]


def test_everything(tmp_path: Path) -> None:
    toml, mistakes = read(
        tmp_path,
        'instances = "1-4"\r\n# comment\r\n[slave]\r\nurl = "http://s"\r\nlocation = "lab"\r\n'
        '[limits]\r\npoll_interval = 1\r\nthreads = 0x10\r\n[classes]\r\n"a" = "b"\r\n',
        'on_stop = "abort"\nslave.location = "site"\n[limits]\nthreads = 5\n[classes]\n":x:y" = "z"\n'
        '[assets]\nrepos = [\n  "one",\n  "two*",\n]\nfactory_dir = "/f"\n[developer]\nenabled = false\n',
    )
    assert mistakes == []
    assert (toml.process.instances, toml.process.on_stop) == ("1-4", "abort")
    assert (toml.slave.url, toml.slave.location) == ("http://s", "site")
    assert toml.limits == replace(Limits(), poll_interval=1.0, threads=5)
    assert isinstance(toml.limits.poll_interval, float)
    assert toml.classes == {"a": "b", ":x:y": "z"}
    assert toml.assets.repos == ("one", "two*")
    assert toml.assets.factory_dir == Path("/f")
    assert not toml.developer.enabled
    assert toml.is_complete
    assert toml.origin("slave", "location") == Origin(f"{tmp_path}/1.toml", 2, "[slave] location")
    assert toml.origin("slave", "url") == Origin(f"{tmp_path}/0.toml", 4, "[slave] url")
    assert toml.origin("", "on_stop") == Origin(f"{tmp_path}/1.toml", 1, "on_stop")
    assert toml.origin("observe", "listen") == DEFAULT


def test_no_file(tmp_path: Path) -> None:
    toml, mistakes = read(tmp_path)
    assert toml == TomlFile()
    assert not toml.is_complete
    assert mistakes == []


def test_a_file_that_cannot_be_read_makes_it_incomplete(tmp_path: Path) -> None:
    mistakes = Mistakes()
    assert not read_toml([tmp_path / "none.toml"], mistakes).is_complete
    assert mistakes


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (
            "a = ",
            "0.toml:1: no valid TOML: Invalid value (at end of document); see https://toml.io for the syntax",
        ),
        ("\n[a]\n[a]\n", "0.toml:3: no valid TOML: Cannot declare ('a',) twice (at line 3, column 3); see"),
        ("\ufeff", "0.toml:1: no valid TOML: "),
        (f"a = {'9' * 5000}", "0.toml:1: no valid TOML: Exceeds the limit"),
        (f"a = {'[' * 100000}", "0.toml:1: no valid TOML: "),
        ("urls = 1", "0.toml:1: urls: unknown key; known are instances, host, state_dir, on_stop"),
        ("url = 1", "0.toml:1: url: unknown key; it belongs into [slave]"),
        ("[slave]\nhost = 1", "0.toml:2: [slave] host: unknown key; it belongs above the first table"),
        ("slave = 1", "0.toml:1: [slave]: slave is a table; write [slave] on a line of its own"),
        ("[[slave]]", "0.toml:1: [slave]: slave is a table; write [slave] on a line of its own"),
        ("[slaves]", "0.toml:1: [slaves]: unknown table; did you mean [slave]?"),
        ("[x.y.z]", "0.toml:1: [x]: unknown table; known are [classes], [master], [slave], "),
        ("['']", "0.toml:1: []: unknown table; known are [classes], [master], [slave], "),
        ("[slave.url]\nx = 1", "0.toml:1: [slave] url: a table is given; give a text in quotes"),
        ("[host]", "0.toml:1: host: a table is given; give a text in quotes"),
        ("host = []", "0.toml:1: host: a list is given; give a text in quotes"),
        (
            "[limits]\n\nthreads = true",
            "0.toml:3: [limits] threads: true or false is given; give a whole number",
        ),
        (
            "[limits]\nthreads = 2.5",
            "0.toml:2: [limits] threads: the number 2.5 is given; give a whole number",
        ),
        ("[limits]\nthreads = '2'", "0.toml:2: [limits] threads: a text is given; give a whole number"),
        (
            "[limits]\nthreads = 1979-05-27",
            "0.toml:2: [limits] threads: a date or time is given; give a whole number",
        ),
        (
            f"[limits]\nthreads = 0x{'f' * 5000}",
            "0.toml:2: [limits] threads: a number beyond all bounds is given; give a whole number",
        ),
        (
            f"[limits]\npoll_interval = 0x{'f' * 5000}",
            "0.toml:2: [limits] poll_interval: a number beyond all bounds is given; give a number",
        ),
        (
            "[limits]\npoll_interval = nan",
            "0.toml:2: [limits] poll_interval: a number beyond all bounds is given",
        ),
        (
            "[limits]\npoll_interval = 0.1",
            "0.toml:2: [limits] poll_interval: 0.1 is out of range; give a number from 0.2 to 60 s",
        ),
        (
            "[limits]\nthreads = 1000",
            "0.toml:2: [limits] threads: 1000 is out of range; give a number from 2 to 256",
        ),
        (
            "[developer]\nenabled = 1",
            "0.toml:2: [developer] enabled: the number 1 is given; give true or false",
        ),
        (
            "state_dir = 'x'",
            "0.toml:1: state_dir: 'x' is a relative path; give an absolute one, beginning with /",
        ),
        ("state_dir = ''", "0.toml:1: state_dir: the path is empty; give a path or leave the key out"),
        (
            r'state_dir = "/a\u0000"',
            r"0.toml:1: state_dir: the text contains '\x00'; take this character out",
        ),
        (r"[assets]" "\n" r'repos = ["\n"]', r"0.toml:2: [assets] repos: the text contains '\n'; take this"),
        (
            "[assets]\nrepos = 'x'",
            "0.toml:2: [assets] repos: a text is given; give a list of texts in quotes",
        ),
        (
            "[assets]\nrepos = [\n1,\n]",
            "0.toml:2: [assets] repos: a list is given; give a list of texts in quotes",
        ),
        (
            "[assets]\ntransport = 'ftp'",
            "0.toml:2: [assets] transport: 'ftp' is not known; give one of auto, shared,",
        ),
        (
            "[observe]\nlisten = '80'",
            "0.toml:2: [observe] listen: '80' is no address; write host:port, an IPv6",
        ),
        ("[developer]\nlisten = 'a:70000'", "0.toml:2: [developer] listen: 'a:70000' is no address; "),
        (
            "[observe]\nlisten = '0.0.0.0:80'",
            "0.toml:2: [observe] listen: '0.0.0.0:80' can be reached from other machines; use 127.0.0.1, and",
        ),
        (
            "[observe]\nlisten = 'bridge:80'",
            "0.toml:2: [observe] listen: 'bridge:80' can be reached from other",
        ),
        ("[classes]\na = 1", "0.toml:2: [classes] a: no pair of worker classes; write"),
        ("[classes]\na = ''", "0.toml:2: [classes] a: no pair of worker classes; write"),
        ("[classes]\n'a b' = 'c'", "0.toml:2: [classes] a b: no pair of worker classes; write"),
        ("[classes]\na = 'c,d'", "0.toml:2: [classes] a: no pair of worker classes; write"),
    ],
)
def test_one_mistake(text: str, mistake: str, tmp_path: Path) -> None:
    toml, mistakes = read(tmp_path, text)
    assert len(mistakes) == 1
    assert mistakes[0].startswith(mistake)
    assert toml == replace(TomlFile(), origins=toml.origins, is_complete=toml.is_complete)


def test_addresses_that_are_understood(tmp_path: Path) -> None:
    for address in ("", "127.0.0.1:0", "[::1]:9100", "localhost:65535"):
        assert read(tmp_path, f'[observe]\nlisten = "{address}"\n')[0].observe.listen == address
    for address in ("0.0.0.0:0", "bridge.example.com:65535"):
        assert read(tmp_path, f'[developer]\nlisten = "{address}"\n')[0].developer.listen == address


def test_lines() -> None:
    document = '''# comment
top = 1

[ "a.b" . c ]   # header
x = [
  1, # [not.a.header]

  2,
]
y = """
[nor = "this"
"""
"z=" = { in = { ner = 1 } }
[other]
d.e.f = 1
d.g = 2
[[list]]
k = 1
[[list]]
k = 2'''
    assert lines_of_keys(document) == {
        ("top",): 2,
        ("a.b",): 4,
        ("a.b", "c"): 4,
        ("other",): 14,
        ("other", "d"): 15,
        ("list",): 17,
        ("list", "k"): 18,
    }


names = st.sampled_from(["a", "b", "c"])
toml_values = st.sampled_from(
    ["1", "'x'", "[]", "[\n1,\n\n2]", '"""\n\n[a]\nb = 1\n"""', "'''\n'''", "{a = 1}", "{a = {b = [\n1]}}"]
)
statements = st.one_of(
    st.tuples(st.lists(names, min_size=1, max_size=3).map(".".join), toml_values).map(" = ".join),
    st.lists(names, min_size=1, max_size=3).map(lambda path: f"[{'.'.join(path)}]"),
    names.map(lambda name: f"[[{name}]]"),
    st.sampled_from(["", "# [a]", "# a = 1"]),
)


@given(st.lists(statements, max_size=10))
def test_every_key_of_a_document_has_a_line(lines: list[str]) -> None:
    document = "\n".join(lines)
    try:
        content = tomli.loads(document)
    except tomli.TOMLDecodeError:
        return
    found = lines_of_keys(document)
    expected: set[tuple[str, ...]] = {(name,) for name in content}
    expected |= {(name, key) for name, value in content.items() if isinstance(value, dict) for key in value}
    assert expected <= set(found)
    split = document.split("\n")
    for path, line in found.items():
        assert path[-1] in split[line - 1]


@given(text=st.text("ab[]=.\"'{}1 #\n", max_size=60) | st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    toml, mistakes = read(tmp_path_factory.getbasetemp(), text)
    assert mistakes or not toml.origins
