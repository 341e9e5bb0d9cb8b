"""Records what the lab's slave answers about two jobs; see README.md beside it."""

import json
import re
import socket
import sys
from pathlib import Path
from typing import Any

import requests

from examples.lab.layout import current_lab

HERE = Path(__file__).parent
MODULES = ("boot", "texts", "shutdown")
LOG_LINES = 20
"""Lines of the log up to the last one about the schedule."""


def main() -> None:
    """Record about a finished job and a cancelled one, whose ids are the arguments."""
    done, cancelled = sys.argv[1:3]
    lab = current_lab()

    def get(path: str, params: dict[str, str] | None = None) -> requests.Response:
        headers = {"Accept": "application/json, */*"}
        return requests.get(lab.slave.url + path, params=params, headers=headers, timeout=60)

    replaced = (
        (re.escape(str(lab.directory)), "/srv/lab"),
        (r'("JOBTOKEN" ?: ?")[^"]*', r"\1(token)"),
        (r'(csrf-token" content=")[^"]*', r"\1(token)"),
        (rf'("host": "){re.escape(socket.gethostname())}"', r'\1lab-host"'),
    )

    def save(name: str, text: str) -> None:
        for pattern, shown in replaced:
            text = re.sub(pattern, shown, text)
        (HERE / name).write_text(text, encoding="utf-8")

    def save_json(name: str, document: Any) -> None:
        save(name, json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n")

    save_json("jobs.json", get("/api/v1/jobs", {"ids": f"{done},{cancelled}"}).json())
    save_json("job.json", get(f"/api/v1/jobs/{done}").json())
    save_json("missing-job.json", get("/api/v1/jobs/999999999").json())
    details = get(f"/api/v1/jobs/{done}/details").json()
    results = details["job"]["testresults"]
    details["job"]["testresults"] = [module for module in results if module["name"] in MODULES]
    save_json("details.json", details)
    for module in ("boot", "texts"):
        save_json(f"details-{module}.json", get(f"/tests/{done}/file/details-{module}.json").json())
    workers = get("/api/v1/workers").json()
    for worker in workers["workers"]:
        worker["properties"].pop("CPU_FLAGS", None)
    save_json("workers.json", workers)
    by_value = {"key": "FEDERATED_REPORT", "value": "http://openqa.example/tests/1"}
    save_json("settings-by-value.json", get("/api/v1/job_settings/jobs", by_value).json())
    lines = get(f"/tests/{done}/file/autoinst-log.txt").text.splitlines(keepends=True)
    last = max(number for number, line in enumerate(lines) if " scheduling " in line)
    around = [line for line in lines[max(0, last - LOG_LINES) : last + 1] if "Running on" not in line]
    save("autoinst-log.txt", "".join(around))
    save("source.html", get(f"/tests/{done}/modules/boot/steps/1/src").text)


if __name__ == "__main__":
    main()
