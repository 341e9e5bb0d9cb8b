"""The fakes answer as the real instances did: the same scenarios, compared with recordings by shape."""

from __future__ import annotations

import json

import pytest

from tests.fakes.caller import Caller
from tests.fakes.flavour import FLAVOURS
from tests.fakes.master import FakeMaster
from tests.fakes.slave import FakeSlave
from tests.recordings import client_side, worker_side
from tests.recordings.recorder import DIRECTORY, Exchange, Recorder, load
from tests.recordings.shape import disagreements
from tests.recordings.values import contradictions

RECORDED = sorted(path.parent.name for path in DIRECTORY.glob("*/worker.json"))
SCRIPT = {
    "modules": [
        {"name": "boot", "flags": ["fatal"], "seconds": 0.5},
        {"name": "texts", "screens": 0, "texts": 3},
        {"name": "needles", "screens": 3, "dents": 1},
    ],
    "seconds": 0.1,
    "ulogs": 2,
    "log_every": 0.05,
}
ALIKE = ("cancel", "clone", "create", "restart", "setting bad", "setting value", "three")
"""What the client's scenario does with the same jobs on both sides; the others tell of the job that ran."""


def compare(real: dict[str, Exchange], fake: dict[str, Exchange]) -> list[str]:
    found = [f"{name}: only recorded" for name in sorted(set(real) - set(fake))]
    found += [f"{name}: the real one has none" for name in sorted(set(fake) - set(real))]
    for name in sorted(set(real) & set(fake) - {"file vars.json"}):
        found += [
            f"{name} ({real[name].get('request', '')}): {wrong}"
            for wrong in disagreements(real[name], fake[name])
        ]
    return found


def test_there_are_recordings() -> None:
    assert "bw" in RECORDED
    for flavour in RECORDED:
        assert len(load(flavour, "worker")) > 60
        assert len(load(flavour, "client")) > 50


@pytest.mark.parametrize("flavour", RECORDED)
async def test_a_worker_gets_the_answers_of_a_real_master(flavour: str) -> None:
    async with (
        FakeMaster(flavour=FLAVOURS[flavour]) as master,
        Caller(master.url, master.keys.key, master.keys.secret) as caller,
    ):
        recorder = Recorder(caller, worker_side.REPLACEMENTS)
        await worker_side.play(recorder, master.live_url)
    recorded = load(flavour, "worker")
    found = compare(recorded, recorder.exchanges)
    for name in sorted(set(recorded) & set(recorder.exchanges)):
        found += [f"{name}: {wrong}" for wrong in contradictions(recorded[name], recorder.exchanges[name])]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("flavour", RECORDED)
async def test_a_client_gets_the_answers_of_a_real_slave(flavour: str) -> None:
    async with FakeSlave(flavour=FLAVOURS[flavour]) as slave:
        slave.db.register("iso", "fake.iso", b"x" * 1000)
        settings = {"TEST": "plain", "DISTRI": "lab", "VERSION": "1", "FLAVOR": "tiny", "ARCH": "x86_64"}
        settings |= {"MACHINE": "64bit", "WORKER_CLASS": "qemu_x86_64", "ISO": "fake.iso"}
        recorded = load(flavour, "client")
        settings["FAKE_SCRIPT"] = json.dumps(SCRIPT | {"ulogs": 2 if "ulog" in recorded else 0})
        async with Caller(slave.url, slave.keys.key, slave.keys.secret) as caller:
            recorder = Recorder(caller)
            await client_side.play(recorder, settings, slave.live_url)
    found = compare(recorded, recorder.exchanges)
    for name in sorted(set(recorded) & set(recorder.exchanges)):
        if name.startswith(ALIKE) or "missing" in name:
            found += [
                f"{name}: {wrong}" for wrong in contradictions(recorded[name], recorder.exchanges[name])
            ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("real", "fake", "wrong"),
    [
        ({"id": 1}, {"id": "1"}, "json.id: string instead of number"),
        ({"id": 1}, {}, "json: id missing"),
        ({}, {"id": 1}, "json: id unknown to the real one"),
        ({"id": None}, {"id": 1}, "json.id: number instead of null"),
        ([{"a": 1}, {"a": None}], [{"a": None}], None),
        ([{"a": 1}, {}], [{}], None),
        ([{"a": 1}], [{"a": True}], "json[].a: boolean instead of number"),
        ({"settings": {"A": "1"}}, {"settings": {"B": "2"}}, None),
        ({"settings": {"A": "1"}}, {"settings": {"B": 2}}, "json.settings.*: number instead of string"),
        ([], [1], None),
    ],
)
def test_shapes_are_compared(real: object, fake: object, wrong: str | None) -> None:
    found = disagreements({"status": 200, "json": real}, {"status": 200, "json": fake})
    assert found == ([] if wrong is None else [wrong])


def test_a_different_status_or_header_is_seen() -> None:
    real = {"status": 404, "headers": {"ETag": "x", "Content-Type": "text/html;charset=UTF-8"}}
    fake = {"status": 200, "headers": {"Content-Type": "application/json"}}
    assert len(disagreements(real, fake)) == 3


@pytest.mark.parametrize(
    ("real", "fake", "count"),
    [
        ({"id": 1, "state": "done"}, {"id": 2, "state": "done"}, 0),
        ({"state": "done"}, {"state": "running"}, 1),
        ({"error": "job 12 is x at /usr/lib/A.pm line 5.\n"}, {"error": "job 3 is x"}, 0),
        ({"error": "no"}, {"error": "yes"}, 1),
        ([{"test": "b", "result": "x"}, {"test": "a", "result": "y"}], [{"test": "a", "result": "y"}], 1),
        ([1, 2], [1], 1),
        ({"12": {"test": "a", "state": "x"}}, {"34": {"test": "a", "state": "z"}}, 1),
    ],
)
def test_values_are_compared(real: object, fake: object, count: int) -> None:
    assert len(contradictions({"json": real}, {"json": fake})) == count
