"""What is installed is complete, runs, and says the same as the program itself."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
import tomli

from pseudoworker import __version__, cli
from pseudoworker.config.load import Overrides, load
from pseudoworker.observe.metrics import Metrics
from tests.packaging.conftest import ROOT, Installed


def _options() -> dict[str, set[str]]:
    """Each command and its options, as the parser has them."""
    parser = cli._parser()
    (commands,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return {
        name: {option for action in sub._actions for option in action.option_strings}
        for name, sub in commands.choices.items()
    }


def test_every_module_is_installed_and_the_program_runs(installed: Installed) -> None:
    code = installed.prefix / "share" / "pseudoworker"
    wanted = {str(path.relative_to(ROOT)) for path in (ROOT / "pseudoworker").rglob("*.py")}
    assert {str(path.relative_to(code)) for path in code.rglob("*.py")} == wanted
    run = subprocess.run(
        [installed.program, "--version"], cwd="/", capture_output=True, text=True, check=True
    )
    assert run.stdout == f"pseudoworker {__version__}\n"


def test_everybody_may_read_all_of_it_and_nobody_else_write(installed: Installed) -> None:
    # whoever has run it may have left compiled code
    paths = [path for path in installed.prefix.rglob("*") if "__pycache__" not in path.parts]
    assert len(paths) > 100
    for path in paths:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o755 if path.is_dir() or path == installed.program else 0o644), path


def test_the_versions_of_program_project_and_packages_are_one() -> None:
    project = tomli.loads((ROOT / "pyproject.toml").read_text())["project"]
    spec = (ROOT / "packaging/rpm/pseudoworker.spec").read_text()
    changelog = (ROOT / "debian/changelog").read_text()
    assert project["version"] == __version__
    assert re.findall(r"^Version:\s+(\S+)$", spec, re.MULTILINE) == [__version__]
    assert changelog.startswith(f"pseudoworker ({__version__})")


def test_the_packages_need_what_the_project_needs() -> None:
    project = tomli.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = dict(re.findall(r"^(\w+)>=(.+)$", "\n".join(project["dependencies"]), re.MULTILINE))
    assert len(wanted) == len(project["dependencies"])
    spec = (ROOT / "packaging/rpm/pseudoworker.spec").read_text()
    rpm = dict(re.findall(r"^Requires:\s+%\{pythondist\}\((\w+)\) >= (\S+)$", spec, re.MULTILINE))
    debian = (ROOT / "debian/control").read_text() + (ROOT / "debian/rules").read_text()
    deb = dict(re.findall(r"python3-(\w+) \(>= ([^)]+)\)", debian))

    def numbers(versions: dict[str, str]) -> dict[str, str]:
        return {name: version.removesuffix(".0") for name, version in versions.items()}

    assert numbers(rpm) == numbers(deb) == numbers(wanted)


def test_the_manual_page_knows_every_command_and_option() -> None:
    page = (ROOT / "packaging/man/pseudoworker.1").read_text().replace("\\-", "-")
    for command, options in _options().items():
        assert re.search(rf"^\.B {command}$", page, re.MULTILINE), command
        for option in options:
            assert option in page, option
    for status in (0, 1, 2, 3, cli.EXIT_CONFIGURATION):
        assert f"\n.TP\n.B {status}\n" in page


@pytest.mark.skipif(shutil.which("man") is None, reason="man is not installed here")
def test_the_manual_page_is_well_formed(installed: Installed) -> None:
    page = installed.prefix / "share/man/man1/pseudoworker.1"
    environment = {"MANWIDTH": "80", "LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}
    run = subprocess.run(
        ["man", "--warnings", "--local-file", page],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stderr == ""
    assert "pseudoworker status [--json] [--instance N]" in run.stdout


def _complete(words: list[str]) -> set[str]:
    """What bash offers for the last of these words."""
    script = (
        "source packaging/completion/pseudoworker; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1));"
        "compopt() { :; }; _pseudoworker pseudoworker \"${COMP_WORDS[COMP_CWORD]}\""
        " \"${COMP_WORDS[COMP_CWORD-1]}\"; printf '%s\\n' \"${COMPREPLY[@]}\""
    )  # fmt: skip
    run = subprocess.run(
        ["bash", "-c", script, "bash", *words], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(run.stdout.split())


def test_bash_offers_every_command_and_option() -> None:
    assert _complete(["pseudoworker", ""]) == {*_options(), "--version", "--help"}
    for command, options in _options().items():
        long_options = {option for option in options if option.startswith("--")}
        assert _complete(["pseudoworker", command, "--"]) == long_options
    assert _complete(["pseudoworker", "run", "--on-stop", ""]) == {"detach", "abort"}
    assert _complete(["pseudoworker", "run", "--on-stop", "d"]) == {"detach"}


def test_zsh_offers_every_command_and_option() -> None:
    text = (ROOT / "packaging/completion/_pseudoworker").read_text()
    for command, options in _options().items():
        assert f"'{command}[" in text
        for option in options:
            assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text), option


def test_the_example_configuration_has_no_mistake_and_no_key_that_is_unknown(tmp_path: Path) -> None:
    for name in ("workers.ini", "client.conf", "pseudoworker.toml"):
        shutil.copy(ROOT / "packaging/examples" / name, tmp_path)
    configuration = load(
        Overrides(instances="1-16"),
        {"OPENQA_CONFIG": str(tmp_path)},
        system_directories=(),
    )
    assert configuration.classes.to_slave(configuration.slots[15].worker_class[0]) == "qemu_aarch64"
    assert configuration.slave.credentials is not None
    assert configuration.observe.listen == "127.0.0.1:9599"


def test_the_dashboard_asks_for_measures_that_exist() -> None:
    dashboard = json.loads((ROOT / "packaging/examples/grafana-dashboard.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    documents = (ROOT / "docs/monitoring.md").read_text()
    asked = set(re.findall(r"pseudoworker_\w+", " ".join(expressions) + documents))
    told = set(re.findall(r"^# TYPE (\S+)", Metrics().render_prometheus(), re.MULTILINE))
    assert {name.removesuffix("_bucket") for name in asked} == told


def test_the_labels_in_documents_and_dashboard_are_those_of_the_measures() -> None:
    families = {
        f"{family.name}_total" if family.kind == "counter" else family.name: family
        for family in Metrics()._families
    }
    table = re.findall(
        r"^\| (`pseudoworker_.*?) \| (\w+) \| (.*?) \|",
        (ROOT / "docs/monitoring.md").read_text(),
        re.MULTILINE,
    )
    for names, kind, labels in table:
        for name in re.findall(r"`(\w+)`", names):
            assert families[name].kind == kind, name
            assert list(families[name].label_names) == re.findall(r"`(\w+)`", labels), name
    dashboard = json.loads((ROOT / "packaging/examples/grafana-dashboard.json").read_text())
    targets = [target for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(targets) >= 6
    for target in targets:
        (name,) = re.findall(r"pseudoworker_\w+", target["expr"])
        grouped = re.findall(r"by \(([^)]*)\)", target["expr"])
        used = {label.strip() for group in grouped for label in group.split(",")}
        used |= set(re.findall(r"{{(\w+)}}", target.get("legendFormat", "")))
        assert used <= {*families[name.removesuffix("_bucket")].label_names, "le"}, target


def test_the_example_for_telegraf_is_toml_and_names_the_page_of_the_example_configuration() -> None:
    examples = ROOT / "packaging/examples"
    telegraf = tomli.loads((examples / "telegraf.conf").read_text())
    listen = tomli.loads((examples / "pseudoworker.toml").read_text())["observe"]["listen"]
    assert telegraf["inputs"]["http"][0]["urls"] == [f"http://{listen}/influxdb"]
    assert f'targets: ["{listen}"]' in (examples / "prometheus.yml").read_text()
