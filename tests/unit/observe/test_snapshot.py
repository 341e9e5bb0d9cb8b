import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pseudoworker.observe.snapshot import (
    SLOT_STATES,
    ProcessSnapshot,
    SlotSnapshot,
    SnapshotError,
    from_json,
    to_json,
)

JOBS = st.none() | st.integers(min_value=1)
SLOTS = st.builds(
    SlotSnapshot,
    instance=st.integers(min_value=1),
    worker_id=JOBS,
    state=st.sampled_from(SLOT_STATES),
    reason=st.text(),
    master_job=JOBS,
    slave_job=JOBS,
    module=st.text(),
    module_index=st.integers(min_value=0),
    module_count=st.integers(min_value=0),
    bytes_relayed=st.integers(min_value=0),
    since=st.floats(allow_nan=False, allow_infinity=False),
)
PROCESSES = st.builds(
    ProcessSnapshot,
    pid=st.integers(min_value=1),
    started=st.floats(allow_nan=False, allow_infinity=False),
    version=st.text(),
    master_url=st.text(),
    slave_url=st.text(),
    slots=st.lists(SLOTS, max_size=5).map(tuple),
    totals=st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False)),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(PROCESSES)
def test_a_snapshot_survives_its_way_through_json(snapshot: ProcessSnapshot) -> None:
    assert from_json(json.loads(json.dumps(to_json(snapshot)))) == snapshot


@given(PROCESSES, st.sampled_from([*to_json(ProcessSnapshot(1, 0, "", "", ""))]), JSON)
def test_any_nonsense_in_a_field_is_a_snapshot_error_or_a_snapshot(
    snapshot: ProcessSnapshot, field: str, nonsense: object
) -> None:
    with contextlib.suppress(SnapshotError):
        assert isinstance(from_json({**to_json(snapshot), field: nonsense}), ProcessSnapshot)


@given(JSON)
def test_nonsense_is_a_snapshot_error(nonsense: object) -> None:
    with pytest.raises(SnapshotError):
        from_json(nonsense)


def test_another_format_tells_what_to_do() -> None:
    document = {**to_json(ProcessSnapshot(1, 0, "", "", "")), "format": 2}
    with pytest.raises(SnapshotError, match="answers in format 2, this command reads 1: use the release"):
        from_json(document)


def test_a_field_of_a_newer_release_is_ignored() -> None:
    snapshot = ProcessSnapshot(1, 0, "v", "m", "s", (SlotSnapshot(1, None, "free"),))
    document = to_json(snapshot)
    assert from_json({**document, "mood": "good"}) == snapshot


def test_a_slot_has_one_of_four_states() -> None:
    with pytest.raises(SnapshotError, match="slot 3: 'asleep' is no state"):
        SlotSnapshot(3, None, "asleep")


def test_every_state_is_counted() -> None:
    slots = (SlotSnapshot(1, 1, "free"), SlotSnapshot(2, 2, "free"), SlotSnapshot(3, 3, "broken"))
    counts = ProcessSnapshot(1, 0, "", "", "", slots).slots_by_state()
    assert counts == {"free": 2, "working": 0, "broken": 1, "offline": 0}
