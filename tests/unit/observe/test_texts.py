import pytest

from pseudoworker.observe.snapshot import SlotSnapshot
from pseudoworker.observe.texts import attention, duration, progress, size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (59.9, "59s"), (60, "1m00s"), (3599, "59m59s"), (3661, "1h01m"), (90000, "1d01h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1500, "1.5 kB"),
        (20_000_000, "20 MB"),
        (5 * 10**12, "5.0 TB"),
        (10**16, "10000 TB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


def test_progress_and_what_needs_attention() -> None:
    slot = SlotSnapshot(1, 1, "working", module="boot", module_index=3, module_count=17, last_error="429")
    assert progress(slot) == "boot 3/17"
    assert attention(slot) == "429"
    assert progress(SlotSnapshot(1, 1, "free")) == ""
    assert progress(SlotSnapshot(1, 1, "working", module_count=4)) == "0/4"
    assert (
        attention(SlotSnapshot(1, 1, "broken", reason="slave is down", last_error="429")) == "slave is down"
    )
