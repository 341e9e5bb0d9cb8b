"""Which other releases there are, and what is refused before anything is touched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from examples.lab import releases
from examples.lab.errors import LabError


def test_the_roots_lie_where_the_environment_says() -> None:
    assert releases.release_root("sid", {"LAB_ROOTS": "/elsewhere"}) == Path("/elsewhere/sid")
    assert releases.release_root("backports", {}) == Path(releases.DEFAULT_ROOTS) / "backports"


def test_an_unknown_release_is_refused() -> None:
    with pytest.raises(LabError, match="only backports, sid"):
        releases.release_root("potato", {})


def test_a_root_that_was_not_finished_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="lab root sid"):
        releases.root_environment(tmp_path / "sid")
    with pytest.raises(LabError, match="lab root sid"):
        releases.mount(tmp_path / "sid", tmp_path)


def test_a_finished_root_says_what_its_daemons_need(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "openqa-lab.json").write_text(json.dumps({"NAME": "value"}))
    assert releases.is_built(tmp_path)
    assert releases.root_environment(tmp_path) == {"NAME": "value"}


def test_nothing_is_removed_while_something_is_mounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases, "_mount_points", lambda: {f"{tmp_path}/dev", "/dev"})
    monkeypatch.setattr(releases, "_run", lambda _command: None)
    with pytest.raises(LabError, match="still mounted"):
        releases.unmount(tmp_path)
