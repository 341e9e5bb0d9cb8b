"""The fakes themselves: a worker and a client played by hand get what openQA's sources promise."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from tests.fakes.caller import Caller
from tests.fakes.flavour import BW, SID, TX, Flavour
from tests.fakes.master import FakeMaster
from tests.fakes.pair import until
from tests.fakes.remote import running
from tests.fakes.slave import FakeSlave
from tests.recordings.storable import chunk

REGISTRATION = {
    "host": "here",
    "instance": "1",
    "cpu_arch": "x86_64",
    "mem_max": "1000",
    "worker_class": ":lab:qemu_x86_64",
    "websocket_api_version": "1",
}


def caller(server: FakeMaster | FakeSlave) -> Caller:
    return Caller(server.url, server.keys.key, server.keys.secret)


async def receive(socket: aiohttp.ClientWebSocketResponse, *kinds: str) -> dict[str, Any]:
    while True:
        message: dict[str, Any] = json.loads(await socket.receive_str(timeout=5))
        if message["type"] in kinds:
            return message


async def grab(
    client: Caller, **registration: str
) -> tuple[int, aiohttp.ClientWebSocketResponse, dict[str, Any]]:
    worker = (await client.post("/api/v1/workers", REGISTRATION | registration)).json()["id"]
    socket = await client.websocket(f"/api/v1/ws/{worker}")
    await socket.send_json({"type": "worker_status", "status": "free"})
    return worker, socket, (await receive(socket, "grab_job"))["job"]


async def test_a_worker_runs_a_job_from_grab_to_done() -> None:
    async with FakeMaster() as master, caller(master) as client:
        job = master.post(_SECRET_X="s3cret")
        worker, socket, grabbed = await grab(client)
        assert grabbed["id"] == job.id
        assert grabbed["settings"]["_SECRET_X"] == "s3cret"
        assert grabbed["settings"]["JOBTOKEN"]
        await socket.send_json({"type": "accepted", "jobid": job.id})
        await until(lambda: job.state == "setup")
        path = f"/api/v1/jobs/{job.id}"
        assert (await client.upload(f"{path}/artefact", "x.txt", b"x")).status == 200
        order = [{"name": "boot", "category": "base", "script": "tests/boot.pm", "flags": {"fatal": 1}}]
        md5 = "0123456789abcdef0123456789abcdef"
        step = {"screenshot": {"name": "boot-1.png", "md5": md5}, "result": "ok"}
        text = {"text": "boot-2.txt", "title": "t", "result": "ok"}
        status = {
            "worker_id": worker,
            "test_order": order,
            "result": {"boot": {"details": [step, text], "result": "ok"}},
        }
        answer = (await client.post_json(f"{path}/status", {"status": status})).json()
        assert answer == {"result": 1, "known_images": [], "known_files": [], "job_result": "passed"}
        assert (await client.upload(f"{path}/artefact", "i.png", b"png", image="1", md5=md5)).body == b"OK"
        assert (
            await client.upload(f"{path}/artefact", "i.png", b"th", image="1", md5=md5, thumb="1")
        ).status == 200
        assert (await client.upload(f"{path}/artefact", "boot-2.txt", b"text")).status == 200
        status = {"worker_id": worker, "result": {"boot": {"details": [step, text], "result": "ok"}}}
        answer = (await client.post_json(f"{path}/status", {"status": status})).json()
        assert (answer["known_images"], answer["known_files"]) == ([md5], ["boot-2.txt"])
        uploading = {"status": {"uploading": 1, "worker_id": worker}}
        assert (await client.post_json(f"{path}/status", uploading)).json() == {"result": 1}
        wrong = await client.post(f"{path}/set_done", {"worker_id": str(worker + 1)})
        assert wrong.status == 400
        assert "currently assigned to worker" in wrong.json()["error"]
        done = await client.post(f"{path}/set_done", {"worker_id": str(worker)})
        assert done.json() == {"result": "passed", "reason": None}
        assert job.report.states == ["scheduled", "assigned", "setup", "running", "uploading", "done"]
        assert (await client.post_json(f"{path}/status", {"status": status})).status == 400
        assert (await client.upload(f"{path}/artefact", "x.txt", b"x")).status == 404
        assert (await client.get(f"/tests/{job.id}/images/boot-1.png")).body == b"png"
        assert (await client.get(f"/tests/{job.id}/images/thumb/boot-1.png")).body == b"th"
        assert (await client.get(f"/tests/{job.id}/file/details-boot.json")).json()["details"][0][
            "screenshot"
        ] == "boot-1.png"
        await socket.close()


async def test_a_status_with_an_unknown_module_is_answered_490() -> None:
    async with FakeMaster() as master, caller(master) as client:
        job = master.post()
        worker, socket, _ = await grab(client)
        status = {"worker_id": worker, "result": {"nobody": {"result": "ok"}}}
        answer = await client.post_json(f"/api/v1/jobs/{job.id}/status", {"status": status})
        assert (answer.status, answer.json()["error"]) == (490, "Failed modules: nobody")
        await socket.close()


async def test_a_registration_keeps_named_jobs_and_abandons_others() -> None:
    async with FakeMaster() as master, caller(master) as client:
        job = master.post()
        worker, socket, _ = await grab(client)
        await socket.send_json({"type": "accepted", "jobid": job.id})
        await until(lambda: job.state == "setup")
        await socket.close()
        again = await client.post("/api/v1/workers", REGISTRATION | {"job_id": str(job.id)})
        assert (again.json()["id"], job.state) == (worker, "setup")
        await client.post("/api/v1/workers", REGISTRATION)
        assert (job.state, job.result) == ("done", "incomplete")
        assert "abandoned the job" in (job.reason or "")
        assert job.clone_id is not None


async def test_a_worker_that_stays_idle_gets_its_job_again() -> None:
    async with FakeMaster() as master, caller(master) as client:
        job = master.post()
        _, socket, _ = await grab(client)
        for _ in range(2):
            await socket.send_json({"type": "worker_status", "status": "free"})
            await receive(socket, "info")
        assert (await receive(socket, "grab_job"))["job"]["id"] == job.id
        await socket.close()


async def test_a_second_connection_closes_the_first_with_1008() -> None:
    async with FakeMaster() as master, caller(master) as client:
        worker = (await client.post("/api/v1/workers", REGISTRATION)).json()["id"]
        first = await client.websocket(f"/api/v1/ws/{worker}")
        second = await client.websocket(f"/api/v1/ws/{worker}")
        message = await first.receive(timeout=5)
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1008)
        await second.close()


async def test_a_rejected_job_is_scheduled_anew() -> None:
    async with FakeMaster() as master, caller(master) as client:
        job = master.post()
        _, socket, _ = await grab(client)
        master.scheduler.paused = True
        await socket.send_json({"type": "rejected", "job_ids": [job.id], "reason": "no"})
        await until(lambda: job.state == "scheduled")
        assert job.assigned is None
        await socket.close()


async def test_a_silent_worker_loses_its_job_and_a_clone_is_made() -> None:
    async with FakeMaster(worker_timeout=0.3) as master, caller(master) as client:
        job = master.post()
        _, socket, _ = await grab(client)
        await socket.send_json({"type": "accepted", "jobid": job.id})
        await until(lambda: job.state == "done")
        assert "has not sent any status updates for too long" in (job.reason or "")
        assert job.clone_id is not None
        await socket.close()


@pytest.mark.parametrize(("scope", "prefix"), [("public", ""), ("private", "00000001-")])
async def test_an_asset_arrives_in_chunks(scope: str, prefix: str) -> None:
    content = bytes(range(256)) * 4
    async with FakeMaster() as master, caller(master) as client:
        job = master.post()
        worker, socket, _ = await grab(client)
        path = f"/api/v1/jobs/{job.id}"
        await client.post_json(f"{path}/status", {"status": {"worker_id": worker}})
        first, second = (
            chunk("disk.qcow2", content, 0, 600, 1, 2),
            chunk("disk.qcow2", content, 600, 1024, 2, 2),
        )
        broken = await client.upload(
            f"{path}/artefact", "disk.qcow2", first.replace(b"0001", b"0009", 1), asset=scope
        )
        assert broken.status == 500
        for piece in (first, second):
            assert (await client.upload(f"{path}/artefact", "disk.qcow2", piece, asset=scope)).json() == {
                "status": "ok"
            }
        name = f"{prefix}disk.qcow2"
        assert master.db.assets["hdd", name].content == content
        link = await client.get(f"/tests/{job.id}/asset/hdd/{name}")
        assert (link.status, link.headers["Location"]) == (302, f"/assets/hdd/{name}")
        part = await client.get(f"/assets/hdd/{name}", headers={"Range": "bytes=1000-"})
        assert (part.status, part.headers["Content-Range"], part.body) == (
            206,
            "bytes 1000-1023/1024",
            content[1000:],
        )
        await socket.close()


@pytest.mark.parametrize("flavour", [BW, TX, SID], ids=lambda flavour: flavour.name)
async def test_signatures_are_checked(flavour: Flavour) -> None:
    async with FakeMaster(flavour=flavour) as master, caller(master) as client:
        assert (await client.post("/api/v1/jobs/1/set_done?a=b+c", {})).status == 404
        for skew, status in ((-400.0, 403), (400.0, 404 if flavour is BW else 403), (0.0, 404)):
            client.skew = skew
            answer = await client.post("/api/v1/jobs/1/set_done", {})
            assert answer.status == status
            if status == 403:
                assert answer.json()["error"].startswith("timestamp mismatch")
        client.secret = "wrong"
        assert (await client.post("/api/v1/jobs/1/set_done", {})).json()["error"].startswith("unknown error")
        client.key = "wrong"
        assert (await client.post("/api/v1/jobs/1/set_done", {})).json()["error"] == "Not authorized"


async def test_a_scripted_job_runs_on_the_slave_and_is_finalized() -> None:
    script = {"modules": 2, "screens": 1, "texts": 1, "assets": {"d.qcow2": {"size": 10, "scope": "private"}}}
    async with FakeSlave() as slave, caller(slave) as client:
        settings = {"TEST": "t", "FAKE_SCRIPT": json.dumps(script), "FEDERATED_REPORT": "http://m/tests/7"}
        created = (await client.post("/api/v1/jobs", settings)).json()
        job = slave.job_for(7)
        assert created == {"id": job.id}
        await until(lambda: job.state == "done" and job.finalized)
        assert job.result == "passed"
        listed = (await client.get("/api/v1/jobs", {"ids": str(job.id)})).json()["jobs"][0]
        assert [(module["name"], module["result"]) for module in listed["modules"]] == [
            ("boot", "passed"),
            ("login", "passed"),
        ]
        details = (await client.get(f"/api/v1/jobs/{job.id}/details")).json()["job"]
        step = details["testresults"][0]["details"][0]
        md5 = (step["md5_dirname"] + step["md5_basename"]).replace("/", "").removesuffix(".png")
        assert md5 in slave.db.images
        raw = (await client.get(f"/tests/{job.id}/file/details-boot.json")).json()
        assert "text_data" in raw["details"][1]
        assert (await client.get(f"/tests/{job.id}/file/{raw['details'][1]['text']}")).status == 404
        log = (await client.get(f"/tests/{job.id}/file/autoinst-log.txt")).body.decode()
        assert "scheduling boot tests/base/boot.pm" in log
        assert ("hdd", f"{job.id:08d}-d.qcow2") in slave.db.assets


async def test_a_parallel_cluster_starts_together_and_fails_together() -> None:
    async with FakeSlave(workers={"a": 1, "b": 1}) as slave, caller(slave) as client:
        script = json.dumps({"modules": 1, "hold": ["boot"]})
        form = {"TEST:s": "server", "TEST:c": "client", "_PARALLEL:c": "s", "FAKE_SCRIPT": script}
        form |= {"WORKER_CLASS:s": "a", "WORKER_CLASS:c": "b", "is_clone_job": "1"}
        ids = (await client.post("/api/v1/jobs", form)).json()["ids"]
        server, child = slave.db.jobs[ids["s"]], slave.db.jobs[ids["c"]]
        await until(lambda: server.state == child.state == "running")
        await client.post(f"/api/v1/jobs/{server.id}/cancel")
        await until(lambda: server.state == child.state == "done")
        assert (server.result, child.result) == ("user_cancelled", "parallel_failed")


async def test_a_cluster_waits_until_all_its_members_have_a_worker() -> None:
    async with FakeSlave(workers={"a": 1}) as slave, caller(slave) as client:
        form = {"TEST:s": "server", "TEST:c": "client", "_PARALLEL:c": "s", "WORKER_CLASS": "a"}
        ids = (await client.post("/api/v1/jobs", form)).json()["ids"]
        other = slave.db.create({"TEST": "single", "WORKER_CLASS": "a"}.items())["id"]
        await until(lambda: slave.db.jobs[other].state == "done")
        assert [slave.db.jobs[job].state for job in ids.values()] == ["scheduled", "scheduled"]
        slave.hire("a")
        await until(lambda: all(slave.db.jobs[job].result == "passed" for job in ids.values()))


async def test_directly_chained_jobs_run_in_order_on_one_worker_and_skip_after_a_failure() -> None:
    async with FakeSlave() as slave, caller(slave) as client:
        form = {
            "TEST:a": "a",
            "TEST:b": "b",
            "TEST:c": "c",
            "_START_DIRECTLY_AFTER:b": "a",
            "_START_DIRECTLY_AFTER:c": "b",
        }
        form["FAKE_SCRIPT:b"] = json.dumps({"fail": "boot"})
        ids = (await client.post("/api/v1/jobs", form)).json()["ids"]
        jobs = [slave.db.jobs[ids[suffix]] for suffix in "abc"]
        await until(lambda: all(job.state == "done" for job in jobs))
        assert [job.result for job in jobs] == ["passed", "failed", "skipped"]
        assert len({job.assigned for job in jobs}) == 1


async def test_a_restart_makes_a_clone_that_points_back() -> None:
    async with FakeSlave() as slave, caller(slave) as client:
        job = slave.db.jobs[slave.db.create({"TEST": "t", "FAKE_SCRIPT": '{"hold": ["boot"]}'}.items())["id"]]
        await until(lambda: job.state == "running")
        answer = (await client.post(f"/api/v1/jobs/{job.id}/restart")).json()
        clone = slave.db.jobs[answer["result"][0][str(job.id)]]
        await until(lambda: job.state == "done" and clone.state == "running")
        assert (job.result, job.clone_id, clone.origin_id) == ("user_restarted", clone.id, job.id)


async def test_settings_are_found_by_value_only_in_newer_releases() -> None:
    async with FakeSlave(flavour=SID) as slave, caller(slave) as client:
        query = {"key": "FEDERATED_REPORT", "value": "http://m/tests/7"}
        job = slave.db.create({"TEST": "t", "FEDERATED_REPORT": "http://m/tests/7"}.items())["id"]
        assert (await client.get("/api/v1/job_settings/jobs", query)).json() == {"jobs": [job]}
    async with FakeSlave(flavour=BW) as slave, caller(slave) as client:
        assert (await client.get("/api/v1/job_settings/jobs", query)).status == 400


async def test_the_live_log_reaches_a_viewer_and_the_worker_is_told() -> None:
    script = json.dumps({"modules": 1, "log_every": 0.02, "hold": ["boot"]})
    async with FakeSlave() as slave, caller(slave) as client:
        job = slave.db.jobs[slave.db.create({"TEST": "t", "FAKE_SCRIPT": script}.items())["id"]]
        await until(lambda: job.state == "running")
        async with client.session.get(f"{slave.url}/tests/{job.id}/streaming") as screen:
            assert (await screen.content.readline()).startswith(b"data: data:image/png;base64,")
            async with client.session.get(f"{slave.url}/tests/{job.id}/livelog") as log:
                line = json.loads((await log.content.readline()).removeprefix(b"data: "))
                assert "isotovideo version fake" in line[0]
            assert job.live.viewers == 1
            screen.close()
        await until(lambda: job.live.viewers == 0 and slave.live.open == 0)


async def test_faults_strike_the_requests_they_name() -> None:
    async with FakeMaster() as master, caller(master) as client:
        master.traffic.add("jobs", "status", nth=2, status=503, retry_after="7")
        answers = [await client.get("/api/v1/jobs") for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 503, 200]
        assert answers[1].headers["Retry-After"] == "7"
        master.traffic.add("create", "lost")
        with pytest.raises(aiohttp.ClientError):
            await client.post("/api/v1/jobs", {"TEST": "t"})
        assert len(master.db.jobs) == 1
        master.traffic.add("create", "drop")
        with pytest.raises(aiohttp.ClientError):
            await client.post("/api/v1/jobs", {"TEST": "t"})
        assert len(master.db.jobs) == 1
        master.traffic.add("jobs", "half")
        with pytest.raises(aiohttp.ClientError):
            await client.get("/api/v1/jobs")
        assert master.traffic.counts["jobs"] == 4


async def test_a_deaf_instance_refuses_connections_and_comes_back() -> None:
    async with FakeMaster() as master, caller(master) as client:
        assert (await client.get("/api/v1/jobs")).status == 200
        await master.deafen()
        with pytest.raises(aiohttp.ClientConnectorError):
            await client.get("/api/v1/jobs")
        await master.listen()
        assert (await client.get("/api/v1/jobs")).status == 200


async def test_the_control_interface_shows_and_orders() -> None:
    async with FakeSlave() as slave, caller(slave) as client:
        script = json.dumps({"hold": ["boot"]})
        created = (
            await client.post_json("/fake/jobs", {"settings": {"TEST": "t", "FAKE_SCRIPT": script}})
        ).json()
        job = created[0]["id"]
        await until(lambda: slave.db.jobs[job].state == "running")
        assert (await client.get(f"/fake/jobs/{job}")).json()["state"] == "running"
        assert (await client.post(f"/fake/jobs/{job}/open")).status == 200
        await until(lambda: slave.db.jobs[job].state == "done")
        assert (await client.get("/fake/state")).json()["jobs"] == {"done/passed": 1}
        assert (await client.get("/fake/violations")).json() == []
        assert (
            await client.post_json("/fake/faults", {"kind": "jobs", "action": "status", "nope": 1})
        ).status == 400


async def test_the_fakes_run_as_processes() -> None:
    async with running("tests.fakes.slave", "--workers", "qemu_x86_64:2", "--flavour", "tx") as slave:
        ids = await slave.post({"TEST": "t", "FAKE_SCRIPT": json.dumps({"hold": ["boot"]})}, 2)
        await slave.fault("jobs", "status", status=500)
        for job in ids:
            while (await slave.job(job))["state"] != "running":
                continue
            await slave.order(job, "open")
            while (await slave.job(job))["state"] != "done":
                continue
        assert (await slave.state())["jobs"] == {"done/passed": 2}
        assert await slave.violations() == []
        with pytest.raises(RuntimeError, match="unknown"):
            await slave.set(nonsense=1)
    async with running("tests.fakes.master", "--discard") as master:
        assert await master.post({"TEST": "t"}) == [1]


async def test_answers_are_compressed_and_errors_are_json_for_those_who_ask() -> None:
    async with FakeMaster() as master, caller(master) as client:
        plain = {"Accept": "application/json", "Accept-Encoding": "identity"}
        for _ in range(5):
            master.post()
        answer = await client.get("/api/v1/jobs", headers={"Accept-Encoding": "gzip"})
        assert answer.headers["Content-Encoding"] == "gzip"
        assert "Content-Encoding" not in (await client.get("/api/v1/jobs", headers=plain)).headers
        missing = await client.get("/api/v1/jobs/99", headers=plain)
        assert (missing.status, missing.json()) == (404, {"error_status": 404})
        assert (await client.get("/api/v1/jobs/99")).headers["Content-Type"].startswith("text/html")


@pytest.mark.parametrize(
    ("query", "status"), [("reason=a+b", 404), ("reason=a%20b", 403), ("reason=~", 403), ("reason=%7E", 404)]
)
async def test_the_query_is_hashed_as_mojolicious_writes_it(query: str, status: int) -> None:
    async with FakeMaster() as master, caller(master) as client:
        assert (await client.request("POST", f"/api/v1/jobs/9/cancel?{query}")).status == status


async def test_everything_a_job_can_leave_is_served() -> None:
    script = json.dumps({"modules": 1, "screens": 1, "texts": 1, "audios": 1, "terminals": 2, "ulogs": 2})
    async with FakeSlave() as slave, caller(slave) as client:
        job = slave.db.jobs[slave.db.create({"TEST": "t", "FAKE_SCRIPT": script}.items())["id"]]
        await until(lambda: job.state == "done" and job.finalized)
        details = (await client.get(f"/api/v1/jobs/{job.id}/details")).json()["job"]
        assert "serial_terminal.txt" in details["logs"]
        unlisted = ("serial_terminal1.txt", "serial_terminal2.txt", "video_time.vtt", "boot-3-captured.wav")
        for name in (*unlisted, *details["logs"], *details["ulogs"]):
            assert (name not in details["logs"]) == (name in (*unlisted, *details["ulogs"]))
            assert (await client.get(f"/tests/{job.id}/file/{name}")).status == 200


async def test_a_worker_runs_one_job_after_the_other() -> None:
    async with FakeSlave(workers={"a": 3}) as slave:
        settings = {"TEST": "t", "WORKER_CLASS": "a", "FAKE_SCRIPT": json.dumps({"modules": 1, "seconds": 0})}
        jobs = [slave.db.jobs[slave.db.create(settings.items())["id"]] for _ in range(60)]
        await until(lambda: all(job.state == "done" for job in jobs), 30)
        assert {job.result for job in jobs} == {"passed"}
        assert all(job.report.states.count("running") == 1 for job in jobs)
