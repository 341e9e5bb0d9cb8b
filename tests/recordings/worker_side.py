"""The scenario of a worker: everything that a master answers to one, played by hand."""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import Any, Final

import aiohttp

from tests.fakes.caller import Caller
from tests.recordings.recorder import Recorder
from tests.recordings.storable import chunk

CLASS: Final = f"recording_{secrets.token_hex(4)}"
"""Of this run alone: jobs that an earlier one left behind do not get in the way."""
IDENTITY: Final = {
    "host": "recording",
    "instance": "9",
    "cpu_arch": "x86_64",
    "mem_max": "1000",
    "worker_class": CLASS,
    "websocket_api_version": "1",
}
MD5: Final = secrets.token_hex(16)
"""New each time: an instance keeps images for good."""
REPLACEMENTS: Final = {CLASS: "recording", MD5: "(md5)"}
ORDER: Final = [
    {"name": "boot", "category": "base", "script": "tests/boot.pm", "flags": {"fatal": 1, "milestone": 1}},
    {"name": "login", "category": "base", "script": "tests/login.pm", "flags": {"ignore_failure": 1}},
    {"name": "desktop", "category": "x11", "script": "tests/desktop.pm", "flags": {}},
]
STEPS: Final = [
    {
        "screenshot": {"name": "boot-1.png", "md5": MD5},
        "result": "ok",
        "frametime": ["1.00", "1.04"],
        "tags": ["boot"],
    },
    {"title": "wait_serial", "text": "boot-2.txt", "result": "ok"},
]
PNG: Final = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0:~\x9bU\0\0\0\nIDATx\xdacd\0\0\0\x04\0\x02"
    b"\xfc\xa4\x0b\x17\0\0\0\0IEND\xaeB`\x82"
)
CONTENT: Final = bytes(range(256)) * 5


class Worker:
    """The websocket of the worker."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def send(self, **message: Any) -> None:
        """Say something."""
        await self.socket.send_json(message)

    async def wait(self, kind: str, job: int | None = None, limit: float = 40.0) -> dict[str, Any]:
        """The next message of a kind (about a job)."""
        async with asyncio.timeout(limit):
            while True:
                message: dict[str, Any] = json.loads(await self.socket.receive_str())
                if message.get("type") == kind and job in (None, message.get("jobid")):
                    return message

    async def closed(self, limit: float = 20.0) -> dict[str, Any]:
        """How the server closed it."""
        async with asyncio.timeout(limit):
            while True:
                frame = await self.socket.receive()
                if frame.type is aiohttp.WSMsgType.CLOSE:
                    return {"code": frame.data, "reason": frame.extra}


async def play(recorder: Recorder, live: str) -> None:
    """Everything, on a master whose jobs of class `recording_…` nobody else takes.

    `live` is where the pictures of running jobs are.
    """
    try:
        await _play(recorder, live)
    finally:
        for state in ("scheduled", "assigned", "setup", "running", "uploading"):
            query = {"test": "recording", "state": state}
            for job in (await recorder.caller.get("/api/v1/jobs", query)).json()["jobs"]:
                await recorder.caller.post(f"/api/v1/jobs/{job['id']}/cancel")


async def _play(recorder: Recorder, live: str) -> None:
    caller = recorder.caller
    worker_id = await _register(recorder)
    socket = Worker(await caller.websocket(f"/api/v1/ws/{worker_id}"))
    await socket.send(type="worker_status", status="broken", reason="not yet")
    recorder.message("info", await socket.wait("info"))
    await recorder.get("worker broken", f"/api/v1/workers/{worker_id}")
    await socket.send(type="worker_status", status="free")
    await _one_job(recorder, socket, worker_id, live)
    await _cancelled(recorder, socket, worker_id)
    await _chained(recorder, socket, worker_id)
    await _refused(recorder, socket, worker_id)
    await _taken_back(recorder, socket, worker_id)
    other = Worker(await caller.websocket(f"/api/v1/ws/{worker_id}"))
    recorder.message("second connection", await socket.closed())
    await other.socket.send_str("[1]")
    recorder.message("no object", await other.closed())
    last = Worker(await caller.websocket(f"/api/v1/ws/{worker_id}"))
    await last.send(type="quit")
    await last.socket.close()


async def _register(recorder: Recorder) -> int:
    lacking = {key: value for key, value in IDENTITY.items() if key != "worker_class"}
    await recorder.post("register without class", "/api/v1/workers", lacking)
    old = IDENTITY | {"websocket_api_version": "0"}
    await recorder.post("register incompatible", "/api/v1/workers", old)
    await recorder.head("workers limit 0", "/api/v1/workers?limit=0")
    unsigned = Caller(recorder.caller.url, "", "", session=recorder.caller.session)
    recorder.note("no key", "POST", "/api/v1/workers", await unsigned.post("/api/v1/workers", IDENTITY))
    for name, key, secret in (
        ("unknown key", "0000000000000000", "0000000000000000"),
        ("wrong secret", recorder.caller.key, "0000000000000000"),
    ):
        wrong = Caller(recorder.caller.url, key, secret, session=recorder.caller.session)
        recorder.note(name, "POST", "/api/v1/workers", await wrong.post("/api/v1/workers", IDENTITY))
    for name, skew in (("clock behind", -400.0), ("clock ahead", 400.0)):
        late = Caller(
            recorder.caller.url, recorder.caller.key, recorder.caller.secret, skew, recorder.caller.session
        )
        recorder.note(name, "POST", "/api/v1/workers", await late.post("/api/v1/workers", IDENTITY))
    answer = await recorder.post("register", "/api/v1/workers", IDENTITY)
    worker_id = int(answer.json()["id"])
    await recorder.get("websocket without upgrade", f"/api/v1/ws/{worker_id}")
    return worker_id


async def _post(recorder: Recorder, name: str, **settings: str) -> int:
    form = {"TEST": "recording", "DISTRI": "fake", "VERSION": "1", "FLAVOR": "dvd", "ARCH": "x86_64"}
    form |= {"WORKER_CLASS": CLASS, "is_clone_job": "1", "_SECRET_X": "hidden"} | settings
    return int((await recorder.post(name, "/api/v1/jobs", form)).json()["id"])


async def _one_job(recorder: Recorder, socket: Worker, worker_id: int, live: str) -> None:
    job = await _post(recorder, "create")
    path = f"/api/v1/jobs/{job}"
    grabbed = recorder.message("grab_job", await socket.wait("grab_job"))["job"]
    await recorder.upload("artefact before status", f"{path}/artefact", "x.txt", b"x")
    await socket.send(type="accepted", jobid=job)
    await socket.send(
        type="worker_status",
        status="working",
        current_webui_host=recorder.caller.url,
        job=grabbed,
        pending_job_ids=[],
    )
    await socket.wait("info")
    await recorder.get("job in setup", path)
    report = {
        "worker_id": worker_id,
        "cmd_srv_url": "http://localhost:20013/x",
        "worker_hostname": "127.0.0.1",
    }
    await recorder.post_json("status without status", f"{path}/status", {})
    await recorder.post_json("status without worker", f"{path}/status", {"status": {"test_order": []}})
    await recorder.post_json("status of another", f"{path}/status", {"status": {"worker_id": 99999}})
    first = {**report, "test_order": ORDER, "result": {"boot": {"result": "running"}}}
    await recorder.post_json("status first", f"{path}/status", {"status": first})
    await recorder.get("job running", path)
    await recorder.get("live status", f"/tests/{job}/status")
    unknown = {**report, "result": {"nobody": {"result": "ok", "details": []}}}
    await recorder.post_json("status unknown module", f"{path}/status", {"status": unknown})
    done = {
        "boot": {"details": STEPS, "result": "ok", "dents": 0, "execution_time": 5},
        "login": {"result": "running"},
    }
    await recorder.post_json("status results", f"{path}/status", {"status": {**report, "result": done}})
    await _artefacts(recorder, path)
    await recorder.post_json("status known", f"{path}/status", {"status": {**report, "result": done}})
    await _live(recorder, socket, job, report, live)
    rest = {
        "login": {"details": [], "result": "fail", "dents": 0, "execution_time": 61},
        "desktop": {"details": [], "result": "ok", "dents": 1, "execution_time": 0},
    }
    await recorder.post_json("status rest", f"{path}/status", {"status": {**report, "result": rest}})
    uploading = {"status": {"uploading": 1, "worker_id": worker_id}}
    await recorder.post_json("uploading", f"{path}/status", uploading)
    await recorder.post("set_done of another", f"{path}/set_done", {"worker_id": "99999"})
    await recorder.post(
        "set_done unknown result", f"{path}/set_done", {"worker_id": str(worker_id), "result": "nice"}
    )
    await recorder.post("set_done", f"{path}/set_done", {"worker_id": str(worker_id), "reason": "because"})
    await recorder.post(
        "set_done again", f"{path}/set_done", {"worker_id": str(worker_id), "result": "failed"}
    )
    await recorder.post_json("status after the end", f"{path}/status", {"status": report})
    await recorder.post_json("uploading after the end", f"{path}/status", uploading)
    await recorder.upload("artefact after the end", f"{path}/artefact", "x.txt", b"x")
    await recorder.get("job done", path)
    await recorder.get("details done", f"{path}/details")
    await recorder.get("listed", "/api/v1/jobs", {"ids": str(job)})
    await recorder.get("live status done", f"/tests/{job}/status")


async def _artefacts(recorder: Recorder, path: str) -> None:
    artefact = f"{path}/artefact"
    await recorder.upload("image", artefact, "boot-1.png", PNG, image="1", md5=MD5)
    await recorder.upload("thumb", artefact, "boot-1.png", PNG, image="1", md5=MD5, thumb="1")
    await recorder.upload("image without md5", artefact, "boot-1.png", PNG, image="1")
    await recorder.upload("text", artefact, "boot-2.txt", b"hello")
    await recorder.upload("ulog", artefact, "boot-log.txt", b"log", ulog="1")
    await recorder.post("artefact without file", artefact, {"ulog": "1"})
    first, second = chunk("d.qcow2", CONTENT, 0, 1000, 1, 2), chunk("d.qcow2", CONTENT, 1000, 1280, 2, 2)
    await recorder.upload("chunk first", artefact, "d.qcow2", first, asset="private")
    await recorder.upload(
        "chunk broken", artefact, "d.qcow2", first.replace(b"0001", b"0009", 1), asset="private"
    )
    await recorder.upload("chunk garbage", artefact, "d.qcow2", b"nonsense", asset="private")
    await recorder.upload("chunk first again", artefact, "d.qcow2", first, asset="private")
    await recorder.upload("chunk last", artefact, "d.qcow2", second, asset="private")
    fields = {"filename": "e.qcow2", "state": "fail", "scope": "public"}
    await recorder.post("upload_state", f"{path}/upload_state", fields)
    await recorder.post("upload_state incomplete", f"{path}/upload_state", {"filename": "e.qcow2"})


async def _live(recorder: Recorder, socket: Worker, job: int, report: dict[str, Any], live: str) -> None:
    caller = recorder.caller
    # A stream has no head before it has content: the answer is awaited after the worker sent something.
    asking = asyncio.create_task(_first_line(caller, f"{live}/tests/{job}/streaming"))
    recorder.message("livelog_start", await socket.wait("livelog_start"))
    shown = {
        **report,
        "log": {"offset": 0, "data": "first line\nsecond line\n"},
        "serial_terminal": {"offset": 0, "data": "$ true\n"},
        "screen": {"name": "1", "png": "aGVsbG8="},
    }
    await recorder.post_json("status live", f"/api/v1/jobs/{job}/status", {"status": shown})
    status, kind, line = await asking
    recorder.message("live picture", {"status": status, "type": kind, "prefix": line[:27]})
    for name in ("livelog", "liveterminal"):
        status, kind, line = await _first_line(caller, f"{caller.url}/tests/{job}/{name}")
        recorder.message(
            name, {"status": status, "type": kind, "line": json.loads(line.removeprefix("data: "))}
        )
    recorder.message("livelog_stop", await socket.wait("livelog_stop"))


async def _first_line(caller: Caller, url: str) -> tuple[int, str, str]:
    async with asyncio.timeout(30), caller.session.get(url) as stream:
        line = await stream.content.readline()
        return stream.status, stream.content_type, line.decode()


async def _cancelled(recorder: Recorder, socket: Worker, worker_id: int) -> None:
    job = await _post(recorder, "create to cancel")
    path = f"/api/v1/jobs/{job}"
    await socket.wait("grab_job")
    await socket.send(type="accepted", jobid=job)
    report = {"worker_id": worker_id, "test_order": ORDER}
    await recorder.post_json("status before cancel", f"{path}/status", {"status": report})
    await recorder.post("cancel", f"{path}/cancel")
    recorder.message("message cancel", await socket.wait("cancel", job))
    await recorder.post_json("status cancelled", f"{path}/status", {"status": report})
    await recorder.post_json(
        "uploading cancelled", f"{path}/status", {"status": {"uploading": 1, "worker_id": worker_id}}
    )
    await recorder.upload("artefact cancelled", f"{path}/artefact", "x.txt", b"x")
    await recorder.get("job cancelled", path)
    form = {"worker_id": str(worker_id), "result": "user_cancelled"}
    await recorder.post("set_done cancelled", f"{path}/set_done", form)
    await recorder.post("duplicate", f"{path}/duplicate", {"dup_type_auto": "1"})
    clone = int((await recorder.get("job with clone", path)).json()["job"]["clone_id"])
    await socket.wait("grab_job")
    await recorder.get("clone", f"/api/v1/jobs/{clone}")
    await recorder.post("cancel clone", f"/api/v1/jobs/{clone}/cancel")
    await recorder.caller.post(
        f"/api/v1/jobs/{clone}/set_done", {"worker_id": str(worker_id), "result": "user_cancelled"}
    )


async def _chained(recorder: Recorder, socket: Worker, worker_id: int) -> None:
    form = {
        "TEST:a": "a",
        "TEST:b": "b",
        "_START_DIRECTLY_AFTER:b": "a",
        "WORKER_CLASS": CLASS,
        "is_clone_job": "1",
    }
    ids = (await recorder.post("create two", "/api/v1/jobs", form)).json()["ids"]
    info = recorder.message("grab_jobs", await socket.wait("grab_jobs"))["job_info"]
    first, second = ids["a"], ids["b"]
    if info["sequence"] != [first, second]:
        raise AssertionError(f"unexpected sequence {info['sequence']}")
    await socket.send(type="accepted", jobid=first)
    status = {"status": {"worker_id": worker_id, "test_order": ORDER}}
    await recorder.post_json("status of the first", f"/api/v1/jobs/{first}/status", status)
    form = {"worker_id": str(worker_id), "result": "failed"}
    await recorder.post("first failed", f"/api/v1/jobs/{first}/set_done", form)
    recorder.message("second is cancelled", await socket.wait("cancel", second))
    await recorder.get("second skipped", f"/api/v1/jobs/{second}")
    form = {"worker_id": str(worker_id), "result": "skipped"}
    await recorder.post("second done", f"/api/v1/jobs/{second}/set_done", form)


async def _refused(recorder: Recorder, socket: Worker, worker_id: int) -> None:
    job = await _post(recorder, "create to refuse")
    await socket.wait("grab_job")
    await socket.send(type="rejected", job_ids=[job], reason="not now")
    grabbed = await socket.wait("grab_job")
    recorder.message("grab_job again", grabbed)
    await socket.send(type="worker_status", status="free")
    await socket.wait("info")
    await recorder.get("job of an idle worker", f"/api/v1/jobs/{job}")
    await socket.send(type="worker_status", status="free")
    again = await socket.wait("grab_job")
    recorder.message("grab_job of an idle worker", {"same job": again["job"]["id"] == job})
    await socket.send(type="accepted", jobid=job)
    await socket.send(type="accepted", jobid=job)
    await socket.send(type="accepted", jobid=99999999)
    await socket.send(type="worker_status", status="free")
    await socket.wait("info")
    await recorder.get("job of a worker that says it is free", f"/api/v1/jobs/{job}")
    form = {"worker_id": str(worker_id), "newbuild": "1", "reason": "x" * 310}
    await recorder.post("set_done newbuild", f"/api/v1/jobs/{job}/set_done", form)
    await recorder.get("job obsoleted", f"/api/v1/jobs/{job}")


async def _taken_back(recorder: Recorder, socket: Worker, worker_id: int) -> None:
    job = await _post(recorder, "create to keep")
    await socket.wait("grab_job")
    await socket.send(type="accepted", jobid=job)
    await recorder.post_json(
        "status kept", f"/api/v1/jobs/{job}/status", {"status": {"worker_id": worker_id}}
    )
    await recorder.post("register with job", "/api/v1/workers", IDENTITY | {"job_id": str(job)})
    await recorder.get("job kept", f"/api/v1/jobs/{job}")
    await recorder.post("register without job", "/api/v1/workers", IDENTITY)
    abandoned = (await recorder.get("job abandoned", f"/api/v1/jobs/{job}")).json()["job"]
    if abandoned["clone_id"] is not None:
        await recorder.caller.post(f"/api/v1/jobs/{abandoned['clone_id']}/cancel")
