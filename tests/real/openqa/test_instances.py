"""The room alone against the lab's two instances: a worker and a client made of nothing else."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from examples.lab.layout import Instance, Key, current_lab
from pseudoworker.openqa.chunks import pack, unpadded
from pseudoworker.openqa.client import Client
from pseudoworker.openqa.errors import ClockSkew, ConnectionLost, NotFound, Refused, Unauthorized
from pseudoworker.openqa.json import Json
from pseudoworker.openqa.messages import GrabJob, Info, ServerMessage, Stop, accepted, free, quit_, working
from pseudoworker.openqa.retry import ARTEFACT, CHUNK, CREATE, PROBE, READ, REGISTER, SET_DONE, STATUS
from pseudoworker.openqa.views import parse_job, parse_jobs, parse_modules, parse_workers
from pseudoworker.openqa.websocket import Connection, connect

pytestmark = pytest.mark.real

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGD4DwABBAEAX+XDSwAAAABJRU5ErkJggg=="
)


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


def client_of(instance: Instance, key: Key, executor: ThreadPoolExecutor, *, skew: float = 0) -> Client:
    return Client(
        instance.url,
        key.key,
        key.secret,
        executor=executor,
        in_flight=4,
        clock=lambda: time.time() + skew,
    )


@pytest.fixture
def master(executor: ThreadPoolExecutor) -> Iterator[Client]:
    instance = current_lab().master
    client = client_of(instance, instance.operator, executor)
    yield client
    client.close()


@pytest.mark.parametrize("name", ["master", "slave"])
async def test_everything_that_is_there_can_be_viewed(name: str, executor: ThreadPoolExecutor) -> None:
    instance = current_lab().instance(name)
    client = client_of(instance, instance.operator, executor)
    workers = parse_workers(await client.get_json("/api/v1/workers", policy=READ))
    assert any("qemu_x86_64" in worker.classes for worker in workers)
    assert {worker.status for worker in workers} <= {"idle", "running", "broken", "dead"}
    jobs = parse_jobs(await client.get_json("/api/v1/jobs", params={"limit": 50}, policy=READ))
    for job in jobs[-3:]:
        with_details = await client.get_json(f"/api/v1/jobs/{job.id}/details", policy=READ)
        detailed = parse_job(with_details)
        assert (detailed.id, detailed.name, detailed.settings) == (job.id, job.name, job.settings)
        if job.state == "done":
            assert detailed.modules == job.modules
            assert isinstance(with_details, dict)
            assert isinstance(with_details["job"], dict)
            assert parse_modules(with_details["job"]["testresults"]) == job.modules
    with pytest.raises(NotFound) as caught:
        await client.get_json("/api/v1/jobs/999999999", policy=READ)
    assert caught.value.status == 404
    assert client.skew is not None
    assert abs(client.skew) < 5
    client.close()


async def test_keys_that_are_refused(executor: ThreadPoolExecutor) -> None:
    instance = current_lab().master
    operator = instance.operator

    async def refused(key: Key, skew: float = 0) -> Unauthorized:
        client = client_of(instance, key, executor, skew=skew)
        with pytest.raises(Unauthorized) as caught:
            await client.post_form("/api/v1/workers", policy=PROBE)
        client.close()
        return caught.value

    wrong = await refused(replace(operator, secret="0" * 16))
    assert wrong.text == "unknown error (wrong secret?)"
    assert (await refused(replace(operator, key="0" * 16))).text == "Not authorized"
    assert (await refused(replace(operator, key="", secret=""))).text == "no api key"
    assert "level required" in (await refused(instance.viewer)).text
    late = await refused(operator, skew=-400)
    assert isinstance(late, ClockSkew)
    assert late.skew is not None
    assert 395 < late.skew < 405
    client = client_of(instance, operator, executor)
    with pytest.raises(Refused, match="400"):  # the key is fine, the fields are missing
        await client.post_form("/api/v1/workers", policy=PROBE)
    client.close()


async def heard(connection: Connection, kind: type[ServerMessage]) -> ServerMessage:
    """The next message of a kind, within a minute."""
    async with asyncio.timeout(60):
        while not isinstance(message := await connection.receive(), kind):
            pass
        return message


@pytest.fixture
async def worker_id(master: Client) -> tuple[int, str]:
    """A worker of a class that nobody else has, and that class."""
    name = f"wire-{secrets.token_hex(4)}"
    fields: dict[str, str | int] = {
        "host": name,
        "instance": 1,
        "cpu_arch": "x86_64",
        "mem_max": 512,
        "worker_class": name,
        "websocket_api_version": 1,
    }
    answer = await master.post_form("/api/v1/workers", fields, policy=REGISTER)
    assert isinstance(answer, dict)
    number = answer["id"]
    assert isinstance(number, int)
    return number, name


async def test_a_job_from_grab_to_done(master: Client, worker_id: tuple[int, str]) -> None:
    number, worker_class = worker_id
    key = current_lab().master.operator
    connection = await connect(master.url, number, key.key, key.secret)
    assert connection.url == f"ws://127.0.0.1:{current_lab().master.base_port + 1}/ws/{number}"
    await connection.send(free())
    await heard(connection, Info)

    settings = {"TEST": "wire", "DISTRI": "lab", "VERSION": "1", "FLAVOR": "tiny", "ARCH": "x86_64"}
    made = await master.post_form("/api/v1/jobs", settings | {"WORKER_CLASS": worker_class}, policy=CREATE)
    assert isinstance(made, dict)
    job_id = made["id"]
    assert isinstance(job_id, int)
    message = await heard(connection, GrabJob)
    assert isinstance(message, GrabJob)
    assert message.job.id == job_id
    assert message.job.settings["TEST"] == "wire"
    token = message.job.settings["JOBTOKEN"]
    assert token not in repr(message)

    await connection.send(accepted(job_id))
    await connection.send(working(master.url, message.job.raw))
    await heard(connection, Info)
    await status(master, job_id, number, {})

    md5 = hashlib.md5(PIXEL, usedforsecurity=False).hexdigest()
    artefact = f"/api/v1/jobs/{job_id}/artefact"
    for thumb in (0, 1):
        said = await master.upload(
            artefact, {"image": 1, "md5": md5, "thumb": thumb}, "a-1.png", PIXEL, policy=ARTEFACT
        )
        assert said == "OK"
    name = "log of ü ~*'+&; 100%.txt"
    assert await master.upload(artefact, {"ulog": 1, "x": name}, name, b"text", policy=ARTEFACT) == "OK"
    test_order: Json = [{"name": "a", "category": "tests", "script": "tests/a.pm", "flags": {"fatal": 1}}]
    step: Json = {"result": "ok", "screenshot": {"name": "a-1.png", "md5": md5}}
    module: Json = {"details": [step], "result": "ok", "dents": 0, "execution_time": 1}
    known = await status(master, job_id, number, {"test_order": test_order, "result": {"a": module}})
    assert md5 in str(known.get("known_images"))

    content = secrets.token_bytes(1_500_000)
    asset = f"{worker_class}.raw"
    digest = unpadded(hashlib.sha256(content).digest())
    for index, start in enumerate(range(0, len(content), 1_000_000), 1):
        image = pack(
            content[start : start + 1_000_000],
            name=asset,
            index=index,
            total=2,
            start=start,
            total_cksum=digest,
        )
        if index == 1:
            taken = await master.upload(artefact, {"asset": "public"}, asset, image, policy=CHUNK)
        else:
            pieces = (image[at : at + 50_000] for at in range(0, len(image), 50_000))
            taken = await asyncio.to_thread(
                master.upload_stream, artefact, {"asset": "public"}, asset, len(image), pieces, 60.0
            )
        assert taken == {"status": "ok"}

    await master.post_form(
        f"/api/v1/jobs/{job_id}/set_done", {"worker_id": number, "reason": "wire: done"}, policy=SET_DONE
    )
    view = parse_job(await master.get_json(f"/api/v1/jobs/{job_id}/details", policy=READ))
    assert (view.state, view.result, view.reason) == ("done", "passed", "wire: done")
    assert [(module.name, sorted(module.flags)) for module in view.modules] == [("a", ["fatal", "important"])]
    assert view.assets["hdd"] == (asset,)
    assert view.assigned_worker_id == number
    assert await master.read(f"/tests/{job_id}/file/{name}", policy=READ, limit=100) == b"text"
    assert await master.read(f"/tests/{job_id}/images/a-1.png", policy=READ, limit=1000) == PIXEL
    with pytest.raises(NotFound) as caught:
        await master.read(f"/tests/{job_id}/file/nothing.txt", policy=READ, limit=1000)
    assert len(caught.value.text) < 100

    def download(start: int) -> tuple[int, str, bytes]:
        # openQA redirects to /assets
        with master.open(
            f"/tests/{job_id}/asset/hdd/{asset}", headers={"Range": f"bytes={start}-"}
        ) as opened:
            return opened.status, opened.url, b"".join(opened.iter(100_000))

    found = await asyncio.to_thread(download, 1_200_000)
    assert found == (206, f"{master.url}/assets/hdd/{asset}", content[1_200_000:])

    second = await connect(master.url, number, key.key, key.secret)
    with pytest.raises(ConnectionLost) as lost:
        await heard(connection, Stop)
    assert lost.value.code == 1008
    await second.send(quit_())
    await second.close()
    admin = current_lab().master.admin
    with ThreadPoolExecutor(1) as threads:
        cleaner = client_of(current_lab().master, admin, threads)
        await cleaner.delete(f"/api/v1/jobs/{job_id}", policy=READ)
        await cleaner.delete(f"/api/v1/assets/hdd/{asset}", policy=READ)
        await cleaner.delete(f"/api/v1/workers/{number}", policy=READ)
        cleaner.close()


async def status(client: Client, job_id: int, worker: int, fields: dict[str, Json]) -> dict[str, Json]:
    answer = await client.post_json(
        f"/api/v1/jobs/{job_id}/status", {"status": {"worker_id": worker, **fields}}, policy=STATUS
    )
    assert isinstance(answer, dict)
    return answer


async def test_an_unknown_worker_has_no_websocket() -> None:
    lab = current_lab()
    with pytest.raises(Refused, match="400 Unknown worker"):
        await connect(lab.master.url, 999999999, lab.master.operator.key, lab.master.operator.secret)
