"""Our settings and credentials against those of openQA's own worker and client."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudoworker.config.credentials import find_credentials
from pseudoworker.config.files import Found, lookup_config_files
from pseudoworker.config.ini import read_ini
from pseudoworker.config.mistakes import Mistakes
from pseudoworker.config.workers_ini import settings_for_host, settings_of
from tests.real.config.oracle import Oracle

pytestmark = pytest.mark.real

DEFAULTS = {"RETRY_DELAY", "RETRY_DELAY_IF_WEBUI_BUSY", "CRITICAL_LOAD_AVG_THRESHOLD"}
"""What the worker adds to the settings that it reads."""

old_sections = st.sampled_from(["global", "global", "1", "2", "12", "http://h", "h", "other"])
new_sections = st.one_of(
    old_sections,
    st.sampled_from(
        ["1,2", "1-3", "2 - 12", "3-1", "1 , 12", "x,1", "1-", "01", "class:x", "class:y", "class: y"]
    ),
)
old_keys = st.sampled_from(["WORKER_CLASS", "worker_class", "FOO", "Foo", "BAR", "HOST"])
new_keys = st.one_of(old_keys, st.sampled_from(["WORKER_CLASS+", "WORKER_CLASS +", "FOO+", "foo +", "+"]))
values = st.sampled_from(
    ["x", "y", "x,y", "x, y", "", "0", "a b", "  http://h  ", "h g", "<<E\nE", "<<E\n 1\n2 \nE"]
)


def sections(names: st.SearchStrategy[str], keys: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    entries = st.lists(st.tuples(keys, values).map(" = ".join), max_size=4)
    return st.lists(
        st.tuples(names, entries).map(lambda section: "\n".join([f"[{section[0]}]", *section[1], ""])),
        min_size=1,
        max_size=5,
    ).map("".join)


def compare_settings(texts: list[str], oracle: Oracle) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "workers.ini").write_text(texts[0])
        (directory / "workers.ini.d").mkdir()
        for number, text in enumerate(texts[1:]):
            (directory / "workers.ini.d" / f"{number}.ini").write_text(text)
        found = lookup_config_files("workers.ini", {"OPENQA_CONFIG": name}, system_directories=())
        mistakes = Mistakes()
        ini = read_ini(found.files, mistakes)
        assert not mistakes
        for instance in (1, 2, 12):
            theirs = oracle.settings(directory, instance)
            ours = {key: setting.value for key, setting in settings_of(ini, instance).items()}
            hosts = (ours.pop("HOST", "") or "localhost").split()
            if hosts == ["0"]:
                hosts = ["localhost"]  # what Perl takes for false
            expected = {
                key: value
                for key, value in theirs["global"].items()
                if key not in DEFAULTS and value is not None
            }
            assert (ours, hosts) == (expected, theirs["hosts"])
            for host in hosts:
                of_host = {key: setting.value for key, setting in settings_for_host(ini, host).items()}
                assert of_host == {
                    key: value
                    for key, value in theirs["host_settings"].get(host, {}).items()
                    if value is not None
                }


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_settings(data: st.DataObject, oracle: Oracle) -> None:
    if oracle.has_ranges():
        texts = data.draw(st.lists(sections(new_sections, new_keys), min_size=1, max_size=3))
    else:
        texts = [data.draw(sections(old_sections, old_keys))]
    compare_settings(texts, oracle)


@settings(max_examples=100, deadline=None)
@given(
    entries=st.lists(
        st.tuples(
            st.sampled_from(["h", "h:90", "g", "[::1]"]),
            st.sampled_from(["key", "secret", "Key"]),
            st.sampled_from(["AB", "12 ", "", "3"]),
        ),
        unique_by=lambda entry: entry[:2],
    )
)
def test_credentials(entries: list[tuple[str, str, str]], oracle: Oracle) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "client.conf"
        path.write_text("".join(f"[{section}]\n{key} = {value}\n" for section, key, value in entries))
        mistakes = Mistakes()
        client_conf = read_ini([path], mistakes)
        for host in ("h", "[::1]"):
            key, secret = oracle.credentials(Path(name), host)
            ours = find_credentials(f"http://{host}", (), client_conf, Found((path,), (path,), ()), mistakes)
            if key and secret:
                assert ours is not None
                assert (ours.key, ours.secret) == (key, secret)
            else:
                assert ours is None
