"""Where the lab lies, how that is changed, and how it is remembered."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.lab.errors import LabError
from examples.lab.layout import current_lab, write_if_changed


def test_the_default_lab_is_the_documented_one() -> None:
    lab = current_lab({"LAB_DIR": "/nowhere/at/all"})
    assert (lab.master.url, lab.slave.url) == ("http://127.0.0.1:21000", "http://127.0.0.1:22000")
    assert list(lab.slave.worker_numbers) == [1, 2, 3, 4]
    assert list(lab.master.worker_numbers) == [81, 82, 83, 84]
    assert lab.master.worker_class(81) == "qemu_x86_64,native,lab2"
    assert lab.slave.worker_class(4) == "qemu_x86_64"


def test_the_environment_makes_room_for_a_second_lab(tmp_path: Path) -> None:
    lab = current_lab(
        {
            "LAB_DIR": str(tmp_path),
            "LAB_MASTER_PORT": "23000",
            "LAB_SLAVE_PORT": "24000",
            "LAB_SLAVE_FIRST_WORKER": "41",
            "LAB_SLAVE_WORKERS": "2",
            "LAB_NATIVE_FIRST_WORKER": "61",
            "LAB_NATIVE_WORKERS": "0",
        }
    )
    assert lab.master.host == "127.0.0.1:23000"
    assert lab.slave.dsn == "host=127.0.0.1 port=24032 dbname=openqa_slave user=geekotest"
    assert list(lab.slave.worker_numbers) == [41, 42]
    assert not list(lab.master.worker_numbers)


def test_what_was_chosen_is_remembered(tmp_path: Path) -> None:
    environment = {"LAB_DIR": str(tmp_path)}
    lab = current_lab({**environment, "LAB_SLAVE_PORT": "24000", "LAB_MASTER_ROOT": "/other/root"})
    lab.changed("master", workers=1).save()
    again = current_lab(environment)
    assert again.slave.base_port == 24000
    assert again.master.workers == 1
    assert again.master.root == Path("/other/root")
    assert again.slave.root is None


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({"LAB_DIR": "relative"}, "LAB_DIR=relative"),
        ({"LAB_DIR": "/" + "long" * 20}, "at most 80"),
        ({"LAB_SLAVE_PORT": "many"}, "LAB_SLAVE_PORT=many"),
    ],
)
def test_a_bad_choice_is_named(tmp_path: Path, environment: dict[str, str], complaint: str) -> None:
    with pytest.raises(LabError, match=complaint):
        current_lab({"LAB_DIR": str(tmp_path), **environment})


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_damaged_memory_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "lab.json").write_text(text)
    with pytest.raises(LabError, match=r"lab\.json"):
        current_lab({"LAB_DIR": str(tmp_path)})


def test_keys_are_made_once_and_kept(tmp_path: Path) -> None:
    lab = current_lab({"LAB_DIR": str(tmp_path)})
    with pytest.raises(LabError, match="lab up"):
        _ = lab.slave.operator
    lab.slave.ensure_keys()
    first = lab.slave.keys
    lab.slave.ensure_keys()
    assert dict(first) == dict(current_lab({"LAB_DIR": str(tmp_path)}).slave.keys)
    assert set(first) == {"admin", "operator", "viewer"}
    assert len({key.key for key in first.values()} | {key.secret for key in first.values()}) == 6
    assert len(lab.slave.operator.secret) == 16
    assert lab.slave.keys_file.stat().st_mode & 0o077 == 0


def test_an_unknown_instance_is_refused() -> None:
    with pytest.raises(LabError, match="only master and slave"):
        current_lab({"LAB_DIR": "/nowhere"}).instance("third")


def test_a_result_directory_is_found_by_job(tmp_path: Path) -> None:
    slave = current_lab({"LAB_DIR": str(tmp_path)}).slave
    wanted = slave.results_directory / "00012" / "00012345-lab-plain"
    wanted.mkdir(parents=True)
    assert slave.job_directory(12345) == wanted
    with pytest.raises(LabError, match="job 7"):
        slave.job_directory(7)


def test_a_file_is_written_only_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    assert write_if_changed(path, "one", mode=0o640)
    assert not write_if_changed(path, "one")
    assert write_if_changed(path, "two", mode=0o640)
    assert path.read_text() == "two"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(path.parent.iterdir()) == [path]
