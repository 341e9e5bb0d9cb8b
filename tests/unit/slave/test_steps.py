import json

from hypothesis import given
from hypothesis import strategies as st

from pseudoworker.openqa.json import Json
from pseudoworker.openqa.names import safe_name
from pseudoworker.slave.steps import fingerprint, report
from tests.unit.slave.json_values import JSON

MD5 = "0123456789abcdef0123456789abcdef"

# As the web UI of 2023 keeps a finished and finalized module.
FINISHED: Json = {
    "dents": 0,
    "details": [
        {"frametime": ["0.00", "0.04"], "result": "unk", "screenshot": "boot-1.png"},
        {"result": "ok", "text": "boot-2.txt", "text_data": "grüße\nend", "title": "wait_serial"},
        {"audio": "boot-3.wav", "result": "unk"},
    ],
    "execution_time": 5,
    "result": "ok",
}


def test_a_finished_module_becomes_what_the_worker_had_posted() -> None:
    made = report(FINISHED, {"boot-1.png": MD5})
    assert made.document == {
        "dents": 0,
        "details": [
            {
                "frametime": ["0.00", "0.04"],
                "result": "unk",
                "screenshot": {"name": "boot-1.png", "md5": MD5},
            },
            {"result": "ok", "text": "boot-2.txt", "title": "wait_serial"},
            {"audio": "boot-3.wav", "result": "unk"},
        ],
        "execution_time": 5,
        "result": "ok",
    }
    assert made.images == {MD5: "boot-1.png"}
    assert made.texts == {"boot-2.txt": "grüße\nend".encode()}
    assert made.audio == ("boot-3.wav",)
    assert not made.missing_md5
    assert not made.problems
    assert not made.running


def test_the_source_document_is_left_alone() -> None:
    before = json.dumps(FINISHED)
    report(FINISHED, {"boot-1.png": MD5})
    assert json.dumps(FINISHED) == before


def test_a_text_that_was_not_moved_into_the_document_is_to_be_fetched() -> None:
    made = report({"details": [{"text": "a-1.txt", "result": "ok"}]}, {})
    assert made.texts == {"a-1.txt": None}


def test_a_text_that_could_not_be_decoded_by_the_slave_is_to_be_fetched() -> None:
    # finalize_results writes null for text that is no UTF-8, and keeps the file
    made = report({"details": [{"text": "a-1.txt", "text_data": None, "result": "ok"}]}, {})
    assert made.texts == {"a-1.txt": None}
    assert made.document["details"] == [{"text": "a-1.txt", "result": "ok"}]


def test_an_empty_text_is_a_text() -> None:
    assert report({"details": [{"text": "a-1.txt", "text_data": ""}]}, {}).texts == {"a-1.txt": b""}


def test_details_that_are_no_list_are_left_out() -> None:
    assert report({"details": "odd", "result": "ok"}, {}).document == {"result": "ok"}


def test_the_running_module() -> None:
    made = report({"result": "running"}, {})
    assert made.running
    assert made.document == {"result": "running"}


def test_a_bare_list_gets_the_result_that_the_module_list_shows() -> None:
    steps: Json = [{"result": "ok", "screenshot": "a-1.png"}]
    for shown, written in (("passed", "ok"), ("failed", "fail"), ("softfailed", "softfail"), ("none", "na")):
        made = report(steps, {"a-1.png": MD5}, module_result=shown)
        assert made.document["result"] == written
        assert made.images == {MD5: "a-1.png"}


def test_a_screenshot_without_md5_is_left_out_and_named() -> None:
    made = report({"details": [{"screenshot": "a-1.png", "result": "ok"}]}, {})
    assert made.document["details"] == [{"result": "ok"}]
    assert made.missing_md5 == ("a-1.png",)


def test_unsafe_names_are_left_out_and_reported() -> None:
    made = report(
        {
            "details": [
                {"screenshot": "../../evil.png"},
                {"text": "/etc/passwd", "text_data": "x"},
                {"audio": "a\0b"},
                {"screenshot": {"name": "a", "md5": MD5}},
            ]
        },
        {"../../evil.png": MD5},
    )
    assert made.document["details"] == [{}, {}, {}, {}]
    assert not made.images
    assert not made.texts
    assert not made.audio
    assert len(made.problems) == 4


def test_what_is_no_step_is_left_out_and_reported() -> None:
    made = report({"details": ["x", 1, None, {"result": "ok"}]}, {})
    assert made.document["details"] == [{"result": "ok"}]
    assert len(made.problems) == 3


def test_extra_tests_become_entries_of_the_test_order() -> None:
    good: Json = {"name": "t1", "category": "c", "script": "unk", "flags": {"fatal": 1}}
    made = report(
        {
            "details": [],
            "extra_test_results": [
                good,
                {"name": "t2", "category": "c", "script": "s", "flags": "odd"},
                {"name": "t3", "category": "c"},
                {"name": "../t4", "category": "c", "script": "s"},
                7,
            ],
        },
        {},
    )
    second: Json = {"name": "t2", "category": "c", "script": "s", "flags": {}}
    assert list(made.extra_tests) == [good, second]
    assert made.document["extra_test_results"] == [good, second]
    assert len(made.problems) == 3


@given(JSON, st.dictionaries(st.text(max_size=5), st.just(MD5), max_size=3), st.sampled_from(["", "passed"]))
def test_no_document_breaks_it_and_no_unsafe_name_passes(
    document: Json, md5_of: dict[str, str], result: str
) -> None:
    check(document, md5_of, result)


STEPS = st.lists(
    st.dictionaries(
        st.sampled_from(["screenshot", "text", "audio", "text_data", "result", "num"]),
        st.sampled_from(["a.png", "../x", "", "b.txt", None, 0, 7, ["x"], {"name": "x"}]),
        max_size=4,
    ),
    max_size=4,
)


@given(STEPS, st.booleans())
def test_no_steps_break_it_either(steps: list[Json], bare: bool) -> None:
    check(steps if bare else {"details": steps}, {"a.png": MD5}, "passed")


def check(document: Json, md5_of: dict[str, str], result: str) -> None:
    made = report(document, md5_of, module_result=result)
    json.dumps(made.document, allow_nan=False)
    for name in [*made.images.values(), *made.texts, *made.audio, *made.missing_md5]:
        assert safe_name(name) == name
    steps = made.document.get("details", [])
    assert isinstance(steps, list)
    for step in steps:
        assert isinstance(step, dict)
        assert "text_data" not in step
        assert not step.get("screenshot") or step["screenshot"] == {"name": "a.png", "md5": MD5} or md5_of


def test_finalization_and_display_do_not_change_the_fingerprint() -> None:
    worker: Json = [{"text": "a-1.txt", "title": "t", "result": "ok"}]
    shown: Json = [
        {
            "text": "a-1.txt",
            "title": "t",
            "result": "ok",
            "text_data": "Unable to read a-1.txt.",
            "num": 1,
            "display_title": "t",
            "resborder": "resborder_ok",
            "is_parser_text_result": 0,
        }
    ]
    assert fingerprint(worker, "passed") == fingerprint(shown, "passed")
    assert report({"details": worker}, {}).fingerprint == fingerprint(shown)


def test_a_new_step_or_result_changes_the_fingerprint() -> None:
    one: Json = [{"result": "ok"}]
    two: Json = [{"result": "ok"}, {"result": "ok"}]
    assert len({fingerprint(one, "passed"), fingerprint(two, "passed"), fingerprint(one, "failed")}) == 3


@given(JSON, JSON)
def test_fingerprints_exist_for_anything(steps: Json, other: Json) -> None:
    assert fingerprint(steps, other) == fingerprint(steps, other)
