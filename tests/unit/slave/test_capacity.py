from hypothesis import given
from hypothesis import strategies as st

from pseudoworker.openqa.views import WorkerView
from pseudoworker.slave.capacity import Capacity

CLASSES = ["qemu_x86_64", "tap", "big"]

WORKERS = st.builds(
    WorkerView,
    id=st.integers(1, 9),
    host=st.just("h"),
    instance=st.integers(1, 9),
    status=st.sampled_from(["idle", "running", "broken", "dead"]),
    classes=st.frozensets(st.sampled_from(CLASSES)),
    job_id=st.none() | st.integers(1, 9),
)


def worker(number: int, status: str, *classes: str, job_id: int | None = None) -> WorkerView:
    return WorkerView(number, "h", number, status, frozenset(classes), job_id)


def test_all_of_a_jobs_classes_are_needed() -> None:
    capacity = Capacity.of(
        [
            worker(1, "idle", "qemu_x86_64", "tap"),
            worker(2, "idle", "qemu_x86_64"),
            worker(3, "running", "qemu_x86_64", "tap", job_id=7),
            worker(4, "broken", "qemu_x86_64", "tap"),
            worker(5, "dead", "qemu_x86_64", "tap"),
        ]
    )
    assert (capacity.total(["qemu_x86_64"]), capacity.idle(["qemu_x86_64"])) == (3, 2)
    assert (capacity.total(["qemu_x86_64", "tap"]), capacity.idle(["tap"])) == (2, 1)
    assert (capacity.total(["s390x"]), capacity.idle(["s390x"])) == (0, 0)


@given(st.lists(WORKERS, max_size=8), st.frozensets(st.sampled_from(CLASSES)))
def test_more_classes_are_never_served_by_more_workers(
    workers: list[WorkerView], classes: frozenset[str]
) -> None:
    capacity = Capacity.of(workers)
    assert 0 <= capacity.idle(classes) <= capacity.total(classes) <= len(workers)
    for added in CLASSES:
        assert capacity.total(classes | {added}) <= capacity.total(classes)
        assert capacity.idle(classes | {added}) <= capacity.idle(classes)
