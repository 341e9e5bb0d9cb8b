"""Every command in the documents is run: all blocks marked `sh`, each document in order, in one shell.

Programs that would change this machine, or need a running systemd, are replaced by `stand_in.py`; the rest is
real, pseudoworker itself included, which serves slots 1 to 16 between two fake instances meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from pseudoworker.bridge.status import OK, look
from tests.fakes.flavour import TX
from tests.fakes.pair import FakePair, environment, pseudoworker, until
from tests.packaging import stand_in
from tests.packaging.conftest import ROOT, Installed, copy_tree

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
_BLOCK = re.compile(r"^ *```(\S*)[^\n]*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_LANGUAGES = {"", "sh", "toml", "ini", "text", "json", "mermaid", "python"}
"""`sh` is run; the others are no commands, and those without a language are drawings."""


def _blocks(document: Path, language: str) -> list[str]:
    return [text for its, text in _BLOCK.findall(document.read_text()) if its == language]


def _name(document: Path) -> str:
    return str(document.relative_to(ROOT))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree as a repository of its own, with stand-ins for what documents call by path."""
    tree = tmp_path_factory.mktemp("documents") / "tree"
    copy_tree(tree)
    for command in (
        ["init", "--quiet"],
        ["add", "--all"],
        ["-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "--quiet", "-m", "copy"],
    ):
        subprocess.run(["git", *command], cwd=tree, check=True)
    _stand_in(tree / ".venv/bin/python")
    (tree / "examples/lab/lab").unlink()
    _stand_in(tree / "examples/lab/lab")
    for name in stand_in._PROGRAMS:
        _stand_in(tree.parent / "bin" / name)
    return tree


def _stand_in(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{sys.executable}\n{Path(stand_in.__file__).read_text()}")
    path.chmod(0o755)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, str]]:
    """A pseudoworker at work, and the environment by which it is found."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with FakePair(flavour=TX, slave={"workers": {"qemu_x86_64": 16}}) as pair:
        conf = tmp_path_factory.mktemp("running") / "conf"
        pair.write_config(conf, instances=16, toml=f'\n[observe]\nlisten = "127.0.0.1:{port}"\n')
        async with pseudoworker(conf, "run", "--instance", "1-16"):
            await until(lambda: look([conf / "state"]).code == OK, 60, pause=0.2)
            yield environment(conf) | {"STATUS_PORT": str(port)}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("document", [path for path in DOCUMENTS if _blocks(path, "sh")], ids=_name)
async def test_every_command_in_the_documents_works(
    document: Path, installed: Installed, tree: Path, running: dict[str, str]
) -> None:
    script = "set -euo pipefail; set -x\n" + "\n".join(_blocks(document, "sh"))
    home = tree.parent / "home"
    home.mkdir(exist_ok=True)
    run = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        script,
        cwd=tree,
        env=running
        | {
            "PATH": f"{tree.parent}/bin:{installed.prefix}/bin:/usr/bin:/bin",
            "HOME": str(home),
            "SCRATCH": str(tree.parent),
            "INSTALLED_PROGRAM": str(installed.program),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await run.communicate()
    assert run.returncode == 0, output.decode()


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_no_command_hides_in_a_block_that_is_not_run(document: Path) -> None:
    blocks = _BLOCK.findall(document.read_text())
    assert {language for language, _ in blocks} <= _LANGUAGES
    assert document.read_text().count("```") == 2 * len(blocks), "a block that is not closed"
    for language, text in blocks:
        first_words = {line.split()[0] for line in text.splitlines() if line.strip()}
        assert language == "sh" or not first_words & {*stand_in._PROGRAMS, "$", "git", "pip"}, text


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_every_link_to_a_file_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", document.read_text()):
        if not target.startswith(("http://", "https://")):
            assert os.path.exists(document.parent / target), target


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("sudo systemctl enable --now pseudoworkers@1.service", "there is no unit pseudoworkers@1.service"),
        ("sudo apt-get install debhelper no-such-thing", "there is no package no-such-thing"),
        ("sudo reboot", "sudo does not know reboot"),
        ("sudo install -m 644 packaging/examples/none /etc/openqa/none", "cannot stat"),
        ("make no-such-target", "No rule to make target"),
        (".venv/bin/python -m pytest tests/none", "file or directory not found"),
        ("examples/lab/lab explode", "unknown arguments"),
        ("pseudoworker chekc", "invalid choice"),
    ],
)
def test_a_command_that_is_wrong_would_be_found(
    command: str, complaint: str, installed: Installed, tree: Path
) -> None:
    run = subprocess.run(
        ["bash", "-c", command],
        cwd=tree,
        env={
            "PATH": f"{tree.parent}/bin:/usr/bin:/bin",
            "SCRATCH": str(tree.parent),
            "INSTALLED_PROGRAM": str(installed.program),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode != 0
    assert complaint in run.stdout + run.stderr
