"""What a master says, and what a worker says."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pseudoworker.openqa.json import Json, encode
from pseudoworker.openqa.messages import (
    DeveloperSession,
    Grabbed,
    GrabJob,
    GrabJobs,
    Ignored,
    Incompatible,
    Info,
    InvalidGrab,
    LiveLog,
    ServerMessage,
    Stop,
    accepted,
    broken,
    free,
    parse,
    quit_,
    rejected,
    working,
)
from tests.unit.openqa.test_json import DOCUMENTS

JOB: dict[str, Json] = {
    "id": 42,
    "name": "lab-1-tiny-x86_64-plain@64bit",
    "settings": {"TEST": "plain", "QEMURAM": 256, "NULL": None, "JOBTOKEN": "secret-token"},
    "assets": {"iso": ["lab-guest.iso"]},
}


def said(**fields: Json) -> ServerMessage:
    return parse(json.dumps(fields))


def job(job_id: int) -> dict[str, Json]:
    return {**JOB, "id": job_id}


def chain(data: Json, sequence: Json) -> ServerMessage:
    return said(type="grab_jobs", job_info={"data": data, "sequence": sequence})


def test_grab_job() -> None:
    message = said(type="grab_job", job=JOB)
    assert isinstance(message, GrabJob)
    assert message.job.id == 42
    assert message.job.settings == {
        "TEST": "plain",
        "QEMURAM": "256",
        "NULL": "",
        "JOBTOKEN": "secret-token",
    }
    assert message.job.raw == JOB


def test_the_token_is_in_no_repr() -> None:
    assert "secret-token" not in repr(said(type="grab_job", job=JOB))


def test_an_id_may_be_text() -> None:
    message = said(type="grab_job", job={**JOB, "id": "42"})
    assert isinstance(message, GrabJob)
    assert message.job.id == 42
    assert message.job.raw["id"] == "42"


@pytest.mark.parametrize(
    ("grabbed", "ids"),
    [
        (None, ()),
        ([], ()),
        ({}, ()),
        ({"settings": {"A": "b"}}, ()),
        ({"id": "x", "settings": {"A": "b"}}, ()),
        ({"id": 0, "settings": {"A": "b"}}, ()),
        ({"id": 42}, (42,)),
        ({"id": 42, "settings": {}}, (42,)),
        ({"id": 42, "settings": []}, (42,)),
        ({"id": 42, "settings": {"A": ["b"]}}, (42,)),
    ],
)
def test_an_invalid_job_is_to_be_rejected_where_its_id_is_known(grabbed: Json, ids: tuple[int, ...]) -> None:
    assert said(type="grab_job", job=grabbed) == InvalidGrab(ids, "the provided job is invalid")


def test_grab_jobs() -> None:
    message = chain({"1": job(1), "2": job(2), "3": job(3), "4": job(4)}, [1, [2, "3"], 4])
    assert isinstance(message, GrabJobs)
    assert message.sequence == (1, (2, 3), 4)
    assert sorted(message.jobs) == [1, 2, 3, 4]
    assert message.jobs[3].settings["TEST"] == "plain"


DEEP: Json = [1]
for _ in range(80):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("data", "sequence", "ids", "reason"),
    [
        ([], [1], (), "lacks job data"),
        ({"1": job(1)}, None, (1,), "lacks execution sequence"),
        ({"1": job(1)}, [], (1,), "lacks execution sequence"),
        ({"1": job(1)}, [1, []], (1,), "lacks execution sequence"),
        ({"1": job(1)}, {"0": 1}, (1,), "lacks execution sequence"),
        ({"1": job(1)}, [1, 2], (1,), "job data for job 2 is missing"),
        ({"1": job(1)}, [1, [None]], (1,), "job data for job None is missing"),
        ({"1": job(1)}, [1, 1], (1,), "job 1 is in the execution sequence twice"),
        ({"1": job(1)}, DEEP, (1,), "nested deeper than 64"),
        ({"1": job(2)}, [1], (1,), "the provided job is invalid"),
        ({"1": job(1), "2": None}, [1, 2], (1, 2), "the provided job is invalid"),
        ({"x": job(1), "2": job(2)}, [1, 2], (2,), "the provided job is invalid"),
    ],
)
def test_an_invalid_chain_is_to_be_rejected(
    data: Json, sequence: Json, ids: tuple[int, ...], reason: str
) -> None:
    message = chain(data, sequence)
    assert isinstance(message, InvalidGrab)
    assert message.ids == ids
    assert reason in message.reason


def test_a_chain_without_job_info() -> None:
    assert said(type="grab_jobs") == InvalidGrab((), "the provided job info lacks job data")


@pytest.mark.parametrize("kind", ["cancel", "obsolete", "abort", "quit"])
def test_stops(kind: str) -> None:
    message = said(type=kind, jobid=7)
    assert isinstance(message, Stop)
    assert (message.kind, message.job_id) == (kind, 7)
    # `POST workers/<id>/commands` of the 2023 release sends an empty id
    assert said(type=kind, jobid="") == Stop(message.kind, None)


def test_the_others() -> None:
    assert said(type="livelog_start", jobid="7") == LiveLog(start=True, job_id=7)
    assert said(type="livelog_stop", jobid=7) == LiveLog(start=False, job_id=7)
    assert said(type="developer_session_start", jobid=7) == DeveloperSession(7)
    assert said(type="info", population=3) == Info()
    assert said(type="info", seen=1) == Info()
    assert said(type="incompatible") == Incompatible()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[]", "no JSON object"),
        ("nope", "no JSON"),
        (b"\xff", "no JSON: no UTF-8"),
        ("[" * 5000, "nested too deep"),
        ('{"result":1,"type":"cancel"}', "answer"),
        ("{}", "no type"),
        ('{"type":null}', "no type"),
        ('{"type":["cancel"]}', "no type"),
        ('{"type":"dance\\u0000"}', "unknown type 'dance\\x00'"),
    ],
)
def test_everything_else_is_ignored_for_a_reason(text: str | bytes, reason: str) -> None:
    message = parse(text)
    assert isinstance(message, Ignored)
    assert reason in message.reason


KINDS = st.sampled_from(
    ["grab_job", "grab_jobs", "cancel", "quit", "livelog_start", "info", "incompatible", "x", ""]
)


@given(KINDS | DOCUMENTS, DOCUMENTS, DOCUMENTS, DOCUMENTS, DOCUMENTS)
def test_no_document_raises(kind: Json, job_id: Json, one: Json, data: Json, sequence: Json) -> None:
    document: Json = {
        "type": kind,
        "jobid": job_id,
        "job": one,
        "job_info": {"data": data, "sequence": sequence},
    }
    assert isinstance(parse(encode(document)), ServerMessage)


@given(
    st.dictionaries(
        st.sampled_from(["1", "2", "3", "x"]), st.builds(job, st.integers(min_value=0, max_value=3))
    ),
    st.recursive(
        st.integers(min_value=-1, max_value=4) | st.none() | st.text(max_size=2),
        lambda inner: st.lists(inner, max_size=3),
    ),
)
def test_a_chain_is_whole_or_invalid(data: dict[str, Json], sequence: Json) -> None:
    message = chain(data, sequence)
    if isinstance(message, GrabJobs):
        assert set(flat(message.sequence)) <= set(message.jobs)
    else:
        assert isinstance(message, InvalidGrab)


def flat(sequence: object) -> list[object]:
    return [one for item in sequence for one in flat(item)] if isinstance(sequence, tuple) else [sequence]


@given(st.binary(max_size=200) | st.text(st.characters(), max_size=100))
def test_no_text_raises(text: str | bytes) -> None:
    assert isinstance(parse(text), ServerMessage)


def test_what_a_worker_says() -> None:
    assert free() == {"type": "worker_status", "status": "free"}
    assert broken("slave is down") == {"type": "worker_status", "status": "broken", "reason": "slave is down"}
    assert accepted(7) == {"type": "accepted", "jobid": 7}
    assert rejected((7, 8), "no") == {"type": "rejected", "job_ids": [7, 8], "reason": "no"}
    assert quit_() == {"type": "quit"}


def test_working_sends_the_job_back_as_it_came() -> None:
    grabbed = Grabbed(42, {}, JOB)
    assert working("http://master", grabbed.raw) == {
        "type": "worker_status",
        "status": "working",
        "current_webui_host": "http://master",
        "job": JOB,
    }


def test_working_names_pending_jobs() -> None:
    assert working("m", JOB, [43, 44])["pending_job_ids"] == {"43": 1, "44": 1}
