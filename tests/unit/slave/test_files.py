from pseudoworker.slave.files import (
    KNOWN_UNLISTED,
    ResultFile,
    file_path,
    image_path,
    result_files,
    thumbnail_path,
)


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
