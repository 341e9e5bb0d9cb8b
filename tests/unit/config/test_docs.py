"""docs/configuration.md against the code, and every configuration in it and in packaging/examples loaded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from pseudoworker.cli import main
from pseudoworker.config import Overrides, load
from pseudoworker.config.model import Limits, WorkerSettings
from pseudoworker.config.schema import Absolute, Address, Choice, Key, Range, keys_of
from pseudoworker.config.toml_file import TABLES
from pseudoworker.config.worker_settings import ENVIRONMENT
from tests.unit.config.conftest import Directory

ROOT = Path(__file__).parents[3]
DOCUMENT = (ROOT / "docs" / "configuration.md").read_text()
EXAMPLES = ROOT / "packaging" / "examples"


def sections() -> Mapping[str, str]:
    """The document's sections by heading."""
    parts = re.split(r"^#+ (.*)\n", DOCUMENT, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows(section: str) -> list[list[str]]:
    """The cells of a section's table, without its head and its last column, which is the meaning."""
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in sections()[section].split("\n")
        if line.startswith("| `")
    ]
    for row in cells:
        assert row[-1], f"{row[0]} has no meaning"
    return [row[:-1] for row in cells]


def expected(key: Key, name: str, default: str) -> list[str]:
    unit, bounds = "", ""
    match key.rule:
        case Range(unit, least, most):
            bounds = f"{least:g} to {most:.0f}"
        case Choice(words):
            bounds = ", ".join(f"`{word}`" for word in words)
        case Absolute():
            bounds = "absolute path"
        case Address(loopback):
            bounds = "`host:port` of this machine" if loopback else "`host:port`"
    return [f"`{name}`", f"`{default}`" if default else "", unit, bounds]


def as_toml(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case int() | float():
            return f"{value:.0f}"
        case tuple():
            return f"[{', '.join(as_toml(item) for item in value)}]"
        case _:
            return f'"{value}"'


@pytest.mark.parametrize("table", TABLES)
def test_the_tables_of_pseudoworker_toml(table: str) -> None:
    heading = f"[{table}]" if table else "Above the first table"
    assert rows(heading) == [expected(key, key.name, as_toml(key.default)) for key in keys_of(TABLES[table])]


def test_the_settings_of_workers_ini() -> None:
    own = [["`HOST`", "`localhost`", "", ""], ["`WORKER_CLASS`", "", "", ""]]
    for key in keys_of(WorkerSettings):
        default = str(int(key.default)) if isinstance(key.default, bool | float) else str(key.default)
        row = expected(key, key.name.upper(), default)
        own.append([*row[:3], "0 or 1"] if key.type is bool else row)
    (chunk,) = (key for key in keys_of(Limits) if key.name == "upload_chunk_size")
    own.append(expected(chunk, "UPLOAD_CHUNK_SIZE", str(chunk.default)))
    assert rows("workers.ini") == own


def test_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    offered = set(re.findall(r"^  (?:-\w, )?(--[a-z-]+)", capsys.readouterr().out, flags=re.MULTILINE))
    told = {row[0] for row in rows("Command line and environment") if row[0].startswith("`--")}
    assert {option for cell in told for option in re.findall(r"--[a-z-]+", cell)} - {"--debug"} == offered - {
        "--help"
    }


def test_the_environment() -> None:
    told = {
        name for row in rows("Command line and environment") for name in re.findall(r"`([A-Z_]+)`", row[0])
    }
    others = {"OPENQA_CONFIG", "OPENQA_API_KEY", "OPENQA_API_SECRET", "STATE_DIRECTORY", "OPENQA_BASEDIR"}
    assert told == others | set(ENVIRONMENT.values())


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT, flags=re.DOTALL)


def test_the_whole_example(directory: Directory) -> None:
    workers_ini, client_conf = blocks("ini")
    directory.write("workers.ini", workers_ini)
    directory.write("client.conf", client_conf)
    directory.write("pseudoworker.toml", "\n".join(reversed(blocks("toml"))))
    configuration = directory.load(Overrides(instances="1-16"))
    assert len(configuration.slots) == 16
    assert configuration.classes.to_slave(":prague:qemu_x86_64") == "qemu_x86_64"
    assert configuration.classes.to_slave("s390x-far") == "s390x-kvm"
    assert configuration.master.credentials != configuration.slave.credentials


def test_the_packaged_examples() -> None:
    configuration = load(Overrides(instances="8-9", config_dir=EXAMPLES), {}, system_directories=())
    assert [slot.worker_class for slot in configuration.slots] == [
        (":prague:qemu_x86_64",),
        (":prague:qemu_aarch64",),
    ]
    assert configuration.observe.listen == "127.0.0.1:9599"
    assert configuration.limits == Limits()
