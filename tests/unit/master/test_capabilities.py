from pathlib import Path

import pytest

from pseudoworker.master import registration
from pseudoworker.master.registration import Capabilities


def test_this_machine_has_capabilities() -> None:
    found = Capabilities.of_this_machine(34)
    assert found.cpu_arch
    assert found.mem_max > 16
    assert found.isotovideo_interface_version == 34


def test_a_machine_without_proc_has_some(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(registration, "_CPUINFO", tmp_path / "missing")
    found = Capabilities.of_this_machine()
    assert found.cpu_arch
    assert not found.cpu_flags


@pytest.mark.parametrize(
    ("machine", "text", "expected"),
    [
        (
            "x86_64",
            "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu lm\n\nprocessor\t: 1\nmodel name\t: B\n",
            ("AMD EPYC", "32-bit, 64-bit", "fpu lm"),
        ),
        ("i686", "model name\t: Old\nflags\t\t: fpu\n", ("Old", "32-bit", "fpu")),
        ("aarch64", "processor\t: 0\nFeatures\t: fp asimd\n", ("", "", "fp asimd")),
    ],
)
def test_capabilities_are_read_as_lscpu_reads_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, machine: str, text: str, expected: tuple[str, str, str]
) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(registration, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr("platform.machine", lambda: machine)
    found = Capabilities.of_this_machine()
    assert (found.cpu_modelname, found.cpu_opmode, found.cpu_flags) == expected
    assert found.cpu_arch == machine
