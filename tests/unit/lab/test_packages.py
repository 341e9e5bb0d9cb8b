"""Installing leaves the machine's own policy for services as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.lab import packages


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "policy-rc.d"
    monkeypatch.setattr(packages, "POLICY", path)
    monkeypatch.setattr(packages, "KEPT_POLICY", tmp_path / "policy-rc.d.kept")
    return path


def test_a_machine_without_policy_has_none_afterwards(policy: Path) -> None:
    with packages.nothing_starts():
        assert "exit 101" in policy.read_text()
        assert policy.stat().st_mode & 0o111
    assert not list(policy.parent.iterdir())


def test_a_policy_that_was_there_comes_back(policy: Path) -> None:
    policy.write_text("#!/bin/sh\nexit 0\n")
    with pytest.raises(ZeroDivisionError), packages.nothing_starts():
        _ = 1 / policy.read_text().count("exit 0")
    assert policy.read_text() == "#!/bin/sh\nexit 0\n"
    assert list(policy.parent.iterdir()) == [policy]


def test_what_a_killed_installation_left_is_mended(policy: Path) -> None:
    policy.write_text(packages.OUR_POLICY)
    with packages.nothing_starts():
        pass
    assert not policy.exists()
    policy.write_text(packages.OUR_POLICY)
    packages.KEPT_POLICY.write_text("the machine's own")
    with packages.nothing_starts():
        pass
    assert policy.read_text() == "the machine's own"


def test_only_installed_packages_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status = tmp_path / "status"
    status.write_text(
        "Package: here\nStatus: install ok installed\nVersion: 1\n\n"
        "Package: gone\nStatus: deinstall ok config-files\n\n"
        "Package: half\nStatus: install ok half-configured\n\n"
    )
    monkeypatch.setattr(packages, "STATUS", status)
    assert packages.missing_packages(["here", "gone", "half", "unknown"]) == ["gone", "half", "unknown"]
