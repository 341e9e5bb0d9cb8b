import pytest

from pseudoworker.slave.files import (
    KNOWN_UNLISTED,
    ResultFile,
    file_path,
    image_path,
    result_files,
    seems_whole,
    thumbnail_path,
)
from tests.fakes.script import picture


def test_everything_listed_and_everything_known() -> None:
    found = result_files(["vars.json", "video.ogv", "serial_terminal.txt"], ["boot-log.txt"])
    assert found.files[:4] == (
        ResultFile("vars.json"),
        ResultFile("video.ogv"),
        ResultFile("serial_terminal.txt"),
        ResultFile("boot-log.txt", ulog=True),
    )
    probed = [file.name for file in found.files[4:]]
    assert probed == [name for name in KNOWN_UNLISTED if name != "serial_terminal.txt"]
    assert not any(file.listed for file in found.files[4:])
    assert not found.problems


def test_a_name_listed_twice_is_fetched_once() -> None:
    found = result_files(["vars.json", "vars.json"], [])
    assert [file.name for file in found.files if file.listed] == ["vars.json"]
    assert not found.problems


def test_a_ulog_behind_a_result_file_is_a_problem() -> None:
    found = result_files(["vars.json"], ["vars.json"])
    assert [file for file in found.files if file.listed] == [ResultFile("vars.json")]
    assert found.problems == ("the uploaded log vars.json is hidden by the result file of the same name",)


def test_unsafe_names_are_problems() -> None:
    found = result_files(["../vars.json", "a/b"], ["..", "x" * 300, "fine.txt"])
    assert [file.name for file in found.files if file.listed] == ["fine.txt"]
    assert len(found.problems) == 4


def test_paths() -> None:
    assert file_path(7, "details-a#1.json") == "/tests/7/file/details-a#1.json"
    assert image_path(7, "a b?.png") == "/tests/7/images/a b?.png"
    assert thumbnail_path(7, "a.png") == "/tests/7/images/thumb/a.png"


@pytest.mark.parametrize("length", [0, 1, 8, 100, len(picture("x", 300).content) - 1])
def test_a_picture_is_whole_when_its_end_is_there(length: int) -> None:
    content = picture("x", 300).content
    assert seems_whole(content)
    # The first bytes alone do not tell that they belong to a picture.
    assert seems_whole(content[:length]) == (0 < length < 8)


def test_a_sound_is_whole_when_it_is_as_long_as_it_says() -> None:
    sound = b"RIFF" + (36).to_bytes(4, "little") + b"x" * 36
    assert seems_whole(sound)
    assert not seems_whole(sound[:-1])


def test_of_other_files_only_empty_ones_are_not_whole() -> None:
    assert seems_whole(b"text")
    assert not seems_whole(b"")
