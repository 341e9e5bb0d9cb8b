import pytest
from hypothesis import given
from hypothesis import strategies as st

from pseudoworker.slave.posting import NewJob, UnpostableJob, form_fields

NAMES = st.text("ABCD:_1", min_size=1, max_size=5)
SETTINGS = st.dictionaries(NAMES, st.text(max_size=9), max_size=4).map(lambda own: own | {"TEST": "t"})


def as_openqa_reads(fields: list[tuple[str, str]]) -> dict[str, dict[str, str]]:
    """What `_eval_param_grouping` and `_create_job` make of a request: settings by suffix ("": plain)."""
    shared: dict[str, str] = {}
    grouped: dict[str, dict[str, str]] = {}
    for name, value in fields:
        setting, colon, suffix = name.rpartition(":")
        (grouped.setdefault(suffix, {}) if colon else shared)[setting if colon else name] = value
    shared.pop("is_clone_job", None)
    jobs = grouped or {"": {}}
    return {
        suffix: {name.upper(): value for name, value in {**shared, **own}.items()}
        for suffix, own in jobs.items()
    }


@given(st.lists(SETTINGS, min_size=1, max_size=3))
def test_every_job_gets_just_its_settings(settings: list[dict[str, str]]) -> None:
    jobs = [NewJob(f"k{number}", found) for number, found in enumerate(settings)]
    fields, single = form_fields(jobs)
    read = as_openqa_reads(fields)
    if single:
        assert read == {"": settings[0]}
    else:
        assert read == {job.key: job.settings for job in jobs}


def test_a_single_job_is_posted_plainly() -> None:
    fields, single = form_fields([NewJob("a", {"TEST": "t", "X": "ü:\n"})], group="g", group_id=3)
    assert single
    assert fields == [
        ("is_clone_job", "1"),
        ("_GROUP", "g"),
        ("_GROUP_ID", "3"),
        ("TEST", "t"),
        ("X", "ü:\n"),
    ]


def test_edges() -> None:
    fields, single = form_fields(
        [
            NewJob("a", {"TEST": "t"}),
            NewJob("b", {"TEST": "t"}, parallel=("a",), start_after_jobs=(5, 6)),
            NewJob("c", {"TEST": "t"}, start_directly_after=("a", "b"), start_after=("b",)),
        ]
    )
    assert not single
    assert set(fields) == {
        ("is_clone_job", "1"),
        ("TEST:a", "t"),
        ("TEST:b", "t"),
        ("_PARALLEL:b", "a"),
        ("_START_AFTER_JOBS:b", "5,6"),
        ("TEST:c", "t"),
        ("_START_AFTER:c", "b"),
        ("_START_DIRECTLY_AFTER:c", "a,b"),
    }


@pytest.mark.parametrize(
    ("jobs", "says"),
    [
        ([], "one key each"),
        ([NewJob("a", {"TEST": "t"}), NewJob("a", {"TEST": "t"})], "one key each"),
        ([NewJob("a:b", {"TEST": "t"})], "'a:b'"),
        ([NewJob("", {"TEST": "t"})], "''"),
        ([NewJob("a", {})], "no setting TEST"),
        ([NewJob("a", {"TEST": ""})], "no setting TEST"),
        ([NewJob("a", {"TEST": "t", "_parallel": "b"})], "'_parallel'"),
        ([NewJob("a", {"TEST": "t", "_GROUP_ID": "1"})], "'_GROUP_ID'"),
        ([NewJob("a", {"TEST": "t", "is_clone_job": "0"})], "'is_clone_job'"),
        ([NewJob("a", {"TEST": "t", "": "x"})], "''"),
        ([NewJob("a", {"TEST": "t", "x": "1", "X": "2"})], "both settings 'x' and 'X'"),
        ([NewJob("a", {"TEST": "t"}, parallel=("b",))], "depends on 'b'"),
        ([NewJob("a", {"TEST": "t"}, start_after=("a",))], "depends on 'a'"),
    ],
)
def test_what_cannot_be_posted_is_refused(jobs: list[NewJob], says: str) -> None:
    with pytest.raises(UnpostableJob, match=says.replace("(", r"\(")):
        form_fields(jobs)


@given(st.text("aZ0-_:, é\n", min_size=1, max_size=3))
def test_a_key_never_breaks_the_grouping(key: str) -> None:
    try:
        fields, _ = form_fields([NewJob(key, {"TEST": "t"}), NewJob("other", {"TEST": "t"})])
    except UnpostableJob:
        return  # refused before it is sent
    assert set(as_openqa_reads(fields)) == {key, "other"}
