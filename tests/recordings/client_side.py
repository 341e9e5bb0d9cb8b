"""The scenario of an API client: everything that a slave answers to one about a job that it runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final

from tests.fakes.caller import Caller
from tests.recordings.recorder import Recorder

NOBODY: Final = "recording_nobody"
"""A worker class that no worker has."""
_FILES: Final = (
    "vars.json", "autoinst-log.txt", "worker-log.txt", "worker_packages.txt", "serial0.txt",
    "serial_terminal.txt", "video.ogv", "video.webm", "video_time.vtt", "no_such_file.txt",
)  # fmt: skip


async def play(recorder: Recorder, settings: Mapping[str, str], live: str) -> None:
    """Everything, with one job of these settings that passes and has screenshots, texts and ulogs.

    `live` is where the pictures of running jobs are.
    """
    await _creation(recorder)
    await _missing(recorder)
    await recorder.get("workers", "/api/v1/workers")
    await recorder.get("assets", "/api/v1/assets")
    await recorder.get("asset missing", "/api/v1/assets/iso/no-such.iso")
    await recorder.post("register asset missing", "/api/v1/assets", {"type": "iso", "name": "no-such.iso"})
    url = "http://master.example/tests/12345"
    form = {
        **settings,
        "is_clone_job": "1",
        "PROXIED": "1",
        "FEDERATED_REPORT": url,
        "RECORDING_MARK": "mark12345",
    }
    job = int((await recorder.post("create", "/api/v1/jobs", form)).json()["id"])
    await _running(recorder, job, live)
    view = await _wait(recorder.caller, job, lambda view: view["state"] == "done")
    await _finalized(recorder, job)
    await recorder.get("job", f"/api/v1/jobs/{job}")
    await recorder.get("brief", f"/api/v1/experimental/jobs/{job}/status")
    details = (await recorder.get("details", f"/api/v1/jobs/{job}/details")).json()["job"]
    await recorder.get("listed", "/api/v1/jobs", {"ids": f"{job},99999999"})
    query = {"limit": "1", "distri": view["settings"]["DISTRI"], "test": view["test"]}
    await recorder.get("latest", "/api/v1/jobs", query | {"latest": "1", "result": "passed"})
    await recorder.get("by state", "/api/v1/jobs", {"state": "done", "result": "passed", "ids": str(job)})
    await recorder.get(
        "setting value", "/api/v1/job_settings/jobs", {"key": "FEDERATED_REPORT", "value": url}
    )
    query = {"key": "RECORDING_MARK", "list_value": "mark12345"}
    await recorder.get("setting list_value", "/api/v1/job_settings/jobs", query)
    await recorder.get("setting bad", "/api/v1/job_settings/jobs", {"key": "A B", "list_value": "http://x"})
    await _results(recorder, job, details)
    await recorder.post("cancel when done", f"/api/v1/jobs/{job}/cancel")


async def _creation(recorder: Recorder) -> None:
    base = {"DISTRI": "fake", "VERSION": "1", "FLAVOR": "dvd", "ARCH": "x86_64", "WORKER_CLASS": NOBODY}
    await recorder.post("create without test", "/api/v1/jobs", base)
    form = base | {"TEST:a": "a", "TEST:b": "b", "_PARALLEL:b": "c", "is_clone_job": "1"}
    await recorder.post("create with unknown parent", "/api/v1/jobs", form)
    form = base | {"TEST:a": "a", "TEST:b": "b", "TEST:c": "c", "_PARALLEL:b": "a", "_START_AFTER:c": "a,b"}
    ids = (await recorder.post("create three", "/api/v1/jobs", form | {"is_clone_job": "1"})).json()["ids"]
    query = {"ids": ",".join(str(job) for job in ids.values())}
    await recorder.get("three scheduled", "/api/v1/jobs", query)
    await recorder.get("a page", "/api/v1/jobs", query | {"limit": "1"})
    await recorder.get("page 2", "/api/v1/jobs", query | {"limit": "1", "offset": "1"})
    await recorder.get("page 9", "/api/v1/jobs", query | {"limit": "1", "offset": "9"})
    await recorder.post("cancel a cluster", f"/api/v1/jobs/{ids['a']}/cancel")
    await recorder.get("three cancelled", "/api/v1/jobs", query)
    await recorder.post("restart", f"/api/v1/jobs/{ids['a']}/restart")
    answer = await recorder.get("restarted", f"/api/v1/jobs/{ids['a']}")
    clone = answer.json()["job"]["clone_id"]
    await recorder.get("clone", f"/api/v1/jobs/{clone}")
    await recorder.post("cancel clone", f"/api/v1/jobs/{clone}/cancel")
    await recorder.post("restart scheduled", f"/api/v1/jobs/{ids['a']}/restart")


async def _missing(recorder: Recorder) -> None:
    for name, path in (
        ("job missing", "/api/v1/jobs/99999999"),
        ("details missing", "/api/v1/jobs/99999999/details"),
        ("brief missing", "/api/v1/experimental/jobs/99999999/status"),
        ("page missing", "/tests/99999999"),
        ("file missing", "/tests/99999999/file/vars.json"),
        ("livelog missing", "/tests/99999999/livelog"),
        ("no such route", "/api/v1/no_such_route"),
        ("download missing", "/assets/iso/no-such.iso"),
    ):
        await recorder.get(name, path)
        await recorder.get(f"{name}, as JSON", path, headers={"Accept": "application/json"})
    await recorder.post("cancel missing", "/api/v1/jobs/99999999/cancel")


async def _wait(caller: Caller, job: int, good: Any, limit: float = 240.0) -> dict[str, Any]:
    async with asyncio.timeout(limit):
        while True:
            view: dict[str, Any] = (await caller.get(f"/api/v1/jobs/{job}")).json()["job"]
            if good(view):
                return view
            await asyncio.sleep(0.2)


async def _wait_for_module(caller: Caller, job: int) -> None:
    async with asyncio.timeout(120):
        while True:
            if "running" in (await caller.get(f"/tests/{job}/status")).json():
                return
            await asyncio.sleep(0.2)


async def _running(recorder: Recorder, job: int, live: str) -> None:
    caller = recorder.caller
    await _wait(caller, job, lambda view: view["state"] == "running")
    await _wait_for_module(caller, job)
    await recorder.get("job running", f"/api/v1/jobs/{job}")
    await recorder.get("details running", f"/api/v1/jobs/{job}/details")
    await recorder.get("listed running", "/api/v1/jobs", {"ids": str(job)})
    await recorder.get("live status", f"/tests/{job}/status")
    async with asyncio.timeout(60), caller.session.get(f"{live}/tests/{job}/streaming") as stream:
        head = {"status": stream.status, "type": stream.content_type}
        line = await stream.content.readline()
        recorder.message("streaming", head | {"prefix": line.decode()[:27]})
        async with caller.session.get(f"{caller.url}/tests/{job}/livelog") as log:
            line = await log.content.readline()
            document = json.loads(line.removeprefix(b"data: "))
            recorder.message("livelog", {"status": log.status, "type": log.content_type, "line": document})


async def _finalized(recorder: Recorder, job: int) -> None:
    """A background task moves the texts shortly after the end."""
    async with asyncio.timeout(60):
        while True:
            details = (await recorder.caller.get(f"/api/v1/jobs/{job}/details")).json()["job"]
            steps = [step for module in details["testresults"] for step in module["details"]]
            texts = [step["text"] for step in steps if step.get("text")]
            answers = [await recorder.caller.get(f"/tests/{job}/file/{name}") for name in texts[:1]]
            if all(answer.status == 404 for answer in answers):
                return
            await asyncio.sleep(0.2)


async def _results(recorder: Recorder, job: int, details: Mapping[str, Any]) -> None:
    for name in _FILES:
        await recorder.get(f"file {name}", f"/tests/{job}/file/{name}")
    if details["ulogs"]:
        log = next(name for name in sorted(details["ulogs"], key=lambda name: not name.endswith(".txt")))
        await recorder.get("ulog", f"/tests/{job}/file/{log}")
    module = next(module for module in details["testresults"] if _shot(module))
    step = _shot(module)
    name = step["screenshot"]
    await recorder.get("raw details", f"/tests/{job}/file/details-{module['name']}.json")
    await recorder.get("raw details missing", f"/tests/{job}/file/details-nobody.json")
    await recorder.get("image", f"/tests/{job}/images/{name}")
    await recorder.get("image as file", f"/tests/{job}/file/{name}")
    await recorder.get("thumb", f"/tests/{job}/images/thumb/{name}")
    await recorder.get("image missing", f"/tests/{job}/images/nobody-1.png")
    await recorder.get("thumb missing", f"/tests/{job}/images/thumb/nobody-1.png")
    await recorder.get("image by md5", f"/image/{step['md5_dirname']}/{step['md5_basename']}")
    await recorder.get("thumb by md5", f"/image/{step['md5_dirname']}/.thumbs/{step['md5_basename']}")
    await recorder.get("src", f"/tests/{job}/modules/{module['name']}/steps/1/src")
    await recorder.get("live status done", f"/tests/{job}/status")
    await recorder.get("livelog done", f"/tests/{job}/livelog")
    await recorder.get("streaming done", f"/tests/{job}/streaming")
    for kind, names in details.get("assets", {}).items():
        await recorder.get("asset", f"/api/v1/assets/{kind}/{names[0]}")
        await recorder.get("asset link", f"/tests/{job}/asset/{kind}/{names[0]}")
        await recorder.head("download head", f"/assets/{kind}/{names[0]}")
        path = f"/assets/{kind}/{names[0]}"
        await recorder.get("download range", path, headers={"Range": "bytes=100-199"})
        await recorder.get("download beyond", path, headers={"Range": "bytes=99999999999-"})
        break


def _shot(module: Mapping[str, Any]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [step for step in module["details"] if step.get("screenshot")]
    return steps[0] if steps else {}
