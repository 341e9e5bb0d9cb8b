"""Views of job and worker JSON; the documents are trimmed recordings of openQA 4.6.1674490999."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pseudoworker.openqa.errors import Garbage
from pseudoworker.openqa.json import Json
from pseudoworker.openqa.views import (
    Dependencies,
    JobView,
    Known,
    ModuleView,
    WorkerView,
    parse_job,
    parse_jobs,
    parse_modules,
    parse_workers,
)
from tests.unit.openqa.test_json import DOCUMENTS

LISTED: dict[str, Any] = {
    "assets": {"iso": ["lab-guest.iso"]},
    "assigned_worker_id": 4,
    "blocked_by_id": None,
    "children": {"Chained": [15], "Directly chained": [], "Parallel": []},
    "clone_id": None,
    "group_id": None,
    "has_parents": 1,
    "id": 13,
    "modules": [
        {"category": "tests", "flags": ["important", "fatal"], "name": "boot", "result": "passed"},
        {"category": "tests", "flags": ["important"], "name": "part_1", "result": "canceled"},
        {"category": "more", "flags": [], "name": "part_2", "result": "none"},
    ],
    "name": "lab-1-tiny-x86_64-timeout@64bit",
    "parents": {"Chained": [], "Directly chained": [10], "Parallel": [11, 12]},
    "parents_ok": 1,
    "priority": 50,
    "reason": "timeout: test execution exceeded MAX_JOB_TIME",
    "result": "timeout_exceeded",
    "settings": {"ARCH": "x86_64", "BACKEND": "qemu", "MAX_JOB_TIME": "20", "WORKER_CLASS": "qemu_x86_64"},
    "state": "done",
    "t_finished": "2026-11-26T19:06:22",
    "t_started": "2026-11-26T19:06:01",
    "test": "timeout",
}

VIEW = JobView(
    id=13,
    name="lab-1-tiny-x86_64-timeout@64bit",
    state="done",
    result="timeout_exceeded",
    reason="timeout: test execution exceeded MAX_JOB_TIME",
    test="timeout",
    settings={"ARCH": "x86_64", "BACKEND": "qemu", "MAX_JOB_TIME": "20", "WORKER_CLASS": "qemu_x86_64"},
    modules=(
        ModuleView("boot", "tests", "passed", frozenset({"important", "fatal"})),
        ModuleView("part_1", "tests", "canceled", frozenset({"important"})),
        ModuleView("part_2", "more", "none"),
    ),
    parents=Dependencies(directly_chained=(10,), parallel=(11, 12)),
    children=Dependencies(chained=(15,)),
    assets={"iso": ("lab-guest.iso",)},
    t_started="2026-11-26T19:06:01",
    t_finished="2026-11-26T19:06:22",
    assigned_worker_id=4,
    priority=50,
)

DETAILED: list[Json] = [
    {
        "always_rollback": 0,
        "category": "tests",
        "fatal": 1,
        "important": 1,
        "milestone": 0,
        "name": "boot",
        "result": "passed",
    },
    {
        "always_rollback": 0,
        "fatal": 0,
        "important": 1,
        "milestone": 1,
        "name": "part_1",
        "result": "canceled",
    },
    {
        "always_rollback": "1",
        "category": "more",
        "fatal": 0,
        "important": 0,
        "name": "part_2",
        "result": "none",
    },
]

WORKER: dict[str, Any] = {
    "alive": 1,
    "connected": 1,
    "error": None,
    "host": "vm",
    "id": 3,
    "instance": 2,
    "jobid": 14,
    "properties": {
        "CPU_ARCH": "x86_64",
        "JOBTOKEN": "3ypZQqx7uX8Z7KhO",
        "MEM_MAX": "24105",
        "WORKER_CLASS": "qemu_x86_64, lab2,",
    },
    "status": "running",
    "websocket": 0,
}


def test_a_job_of_a_list() -> None:
    assert parse_jobs({"jobs": [LISTED]}) == (VIEW,)


def test_a_single_job() -> None:
    assert parse_job({"job": LISTED}) == VIEW
    assert parse_job(LISTED) == VIEW


def test_a_job_with_details() -> None:
    job = {key: value for key, value in LISTED.items() if key != "modules"} | {"testresults": DETAILED}
    assert [module.category for module in parse_job({"job": job}).modules] == ["tests", "tests", "more"]
    assert parse_modules(DETAILED) == (
        ModuleView("boot", "tests", "passed", frozenset({"important", "fatal"})),
        ModuleView("part_1", "tests", "canceled", frozenset({"important", "milestone"})),
        ModuleView("part_2", "more", "none", frozenset({"always_rollback"})),
    )


def test_the_least_that_makes_a_job() -> None:
    assert parse_job({"id": "7", "state": "scheduled"}) == JobView(7, "", "scheduled", "none")


def test_restarts() -> None:
    view = parse_job({**LISTED, "clone_id": "20", "origin_id": 5, "group_id": 1, "blocked_by_id": 2})
    assert (view.clone_id, view.origin_id, view.group_id, view.blocked_by_id) == (20, 5, 1, 2)


def test_settings_are_in_no_repr() -> None:
    assert "MAX_JOB_TIME=" not in repr(VIEW)
    assert "'20'" not in repr(VIEW)
    assert "3ypZQqx7uX8Z7KhO" not in repr(parse_workers({"workers": [WORKER]}))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"id": None}, "job has id None"),
        ({"id": "x"}, "job has id 'x'"),
        ({"state": None}, "job 13 has state None"),
        ({"state": ""}, "job 13 has state ''"),
        ({"state": []}, "job 13 has state"),
        ({"result": {}}, "job 13 has result"),
        ({"reason": ["a"]}, "job 13 has reason"),
        ({"clone_id": "x"}, "job 13 has clone_id 'x'"),
        ({"clone_id": 0}, "job 13 has clone_id 0"),
        ({"settings": []}, "job 13 has settings"),
        ({"settings": {"A": {}}}, "job 13 has settings"),
        ({"parents": []}, "job 13 has parents"),
        ({"parents": {"Chained": 1}}, "job 13 has parents"),
        ({"parents": {"Chained": ["x"]}}, "job 13 has parents"),
        ({"assets": []}, "job 13 has assets"),
        ({"assets": {"iso": "a"}}, "job 13 has assets"),
        ({"assets": {"iso": [1]}}, "job 13 has assets"),
        ({"modules": {}}, "modules are no list"),
        ({"modules": [1]}, "module is no object"),
        ({"modules": [{"result": "none"}]}, "module has name None"),
        ({"modules": [{"name": "a", "category": []}]}, "module has category"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Json], what: str) -> None:
    with pytest.raises(Garbage) as caught:
        parse_job({**LISTED, **change}, url="http://slave/api/v1/jobs/13")
    assert what in caught.value.text
    assert caught.value.url == "http://slave/api/v1/jobs/13"


@pytest.mark.parametrize("nothing", [{}, {"modules": None}])
def test_modules_may_be_missing(nothing: dict[str, Json]) -> None:
    job = {key: value for key, value in LISTED.items() if key != "modules"}
    assert parse_job({**job, **nothing}).modules == ()


@pytest.mark.parametrize("document", [None, [], {}, {"jobs": {}}, {"job": []}, "OK"])
def test_no_list_at_all(document: Json) -> None:
    with pytest.raises(Garbage, match="no list of jobs"):
        parse_jobs(document)
    with pytest.raises(Garbage, match="no list of workers"):
        parse_workers(document)


@pytest.mark.parametrize("document", [None, [], "OK", 5])
def test_no_job_at_all(document: Json) -> None:
    with pytest.raises(Garbage, match="job is no object"):
        parse_job(document)


def test_one_broken_job_does_not_hide_the_others() -> None:
    told: list[tuple[int | None, str]] = []

    def broken(job_id: int | None, error: Garbage) -> None:
        told.append((job_id, error.text))

    document: Json = {"jobs": [{"id": 7}, LISTED, None, {"id": []}]}
    assert parse_jobs(document, broken=broken) == (VIEW,)
    assert told == [(7, "job 7 has state None"), (None, "job is no object"), (None, "job has id []")]
    with pytest.raises(Garbage, match="job 7"):
        parse_jobs(document)


def test_a_worker() -> None:
    assert parse_workers({"workers": [WORKER]}) == (
        WorkerView(
            id=3,
            host="vm",
            instance=2,
            status="running",
            classes=frozenset({"qemu_x86_64", "lab2"}),
            job_id=14,
            properties=WORKER["properties"],
        ),
    )


def test_an_idle_broken_worker() -> None:
    worker = {**WORKER, "jobid": None, "status": "broken", "error": "no disk", "properties": None}
    view = parse_workers({"workers": [worker]})[0]
    assert (view.job_id, view.error, view.classes) == (None, "no disk", frozenset())


def test_a_broken_worker_is_named() -> None:
    with pytest.raises(Garbage, match="worker is no object"):
        parse_workers({"workers": [1]})
    with pytest.raises(Garbage, match="worker 3 has instance 'x'"):
        parse_workers({"workers": [{**WORKER, "instance": "x"}]})


PATHS: list[tuple[str | int, ...]] = [
    *((key,) for key in LISTED),
    *(("modules", 0, key) for key in ("name", "category", "result", "flags")),
    ("modules", 1),
    ("parents", "Chained"),
    ("assets", "iso"),
    ("settings", "ARCH"),
]


def replaced(document: Json, path: tuple[str | int, ...], value: Json) -> Json:
    changed = copy.deepcopy(document)
    inner: Any = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


@given(st.sampled_from(PATHS), DOCUMENTS)
def test_any_value_anywhere_gives_a_view_or_garbage(path: tuple[str | int, ...], value: Json) -> None:
    try:
        view = parse_job(replaced(LISTED, path, value))
    except Garbage:
        return
    assert isinstance(view, JobView)
    assert isinstance(hash((view.id, view.state, view.modules, view.parents)), int)


@given(DOCUMENTS, DOCUMENTS)
def test_any_document_gives_views_or_garbage(document: Json, properties: Json) -> None:
    listed: Json = {"jobs": [document], "workers": [document]}
    workers: Json = {"workers": [document, {**WORKER, "properties": properties}]}
    for parse in (parse_job, parse_jobs, parse_workers, parse_modules):
        for hostile in (document, listed, workers):
            try:
                parse(hostile)
            except Garbage:
                continue


def test_jobs_that_come_again_just_as_they_are_known_are_not_read_again() -> None:
    known: Known = {}
    first: list[Json] = [{"id": 1, "state": "running"}, {"id": 2, "state": "running"}]
    one, two = parse_jobs({"jobs": first}, known=known)
    assert known == {1: (first[0], one), 2: (first[1], two)}
    again: list[Json] = [{"id": 1, "state": "running"}, {"id": 2, "state": "done"}]
    same, changed = parse_jobs({"jobs": again}, known=known)
    assert same is one
    assert changed.state == "done"
    assert known[2] == (again[1], changed)


def test_what_is_no_job_is_told_although_others_are_known() -> None:
    known: Known = {}
    told: list[int | None] = []
    jobs = parse_jobs(
        {"jobs": [7, {"id": "x"}, {"id": 3, "state": "running"}]},
        broken=lambda job_id, _: told.append(job_id),
        known=known,
    )
    assert [job.id for job in jobs] == [3]
    assert told == [None, None]
    assert list(known) == [3]
