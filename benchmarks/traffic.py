"""The bytes of whole jobs: what crosses each side against what is different in it, and jobs whose screenshots
the master knows already."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from benchmarks.process import subject
from benchmarks.scale import until
from benchmarks.table import Part
from benchmarks.world import World, world

MOST = 1.05
_SCRIPT = {
    "modules": 6,
    "screens": 10,
    "texts": 3,
    "seconds": 0.3,
    "image_size": 50_000,
    "video": 1_000_000,
}
_KINDS = ("image", "thumb", "file", "ulog")
_READ = ("get_image", "get_thumb", "get_file")


async def traffic(jobs: int, directory: Path) -> Part:
    """Measure so many jobs with different screenshots, then as many whose screenshots are all the same."""
    part = Part(
        "bytes",
        f"{jobs} jobs with 60 screenshots of 50 kB, 18 texts and 1 MB of video each, all different: bodies"
        " that cross each side against the different bytes that the jobs left. Then two rounds of jobs whose"
        " screenshots are the same, of which the second must bring none.",
    )
    async with world(jobs, 60.0, keep=True) as fakes:
        await fakes.ask("configure", directory=str(directory), toml="", workers="")
        async with subject(directory, jobs):
            await until(fakes, lambda state: state["free"] == jobs, 60)
            report = await _round(fakes, jobs, 0, {})
            unique = await fakes.ask("unique")
            part.problems += unique["problems"]
            different = unique["images"] + unique["thumbs"] + unique["texts"]
            up, down = _bytes(report["master"], "bytes_of", _KINDS), _bytes(report["slave"], "sent_of", _READ)
            part.add("different bytes of a job", different / jobs / 1e6, "MB")
            part.add(
                "files and screenshots sent to the master, of what is different", up / different, "", MOST
            )
            part.add(
                "files and screenshots read from the slave, of what is different", down / different, "", MOST
            )
            part.add(
                "all bodies to the master, of what is different", report["master"]["bytes_in"] / different
            )
            part.add(
                "all bodies from the slave, of what is different", report["slave"]["bytes_out"] / different
            )
            await _round(fakes, jobs, jobs, {"shared": True})
            report = await _round(fakes, jobs, 2 * jobs, {"shared": True})
            part.add("known screenshots sent again", report["master"]["kinds"].get("image", 0), "", 0.5)
            part.add("known thumbnails sent again", report["master"]["kinds"].get("thumb", 0), "", 0.5)
            part.add("known screenshots read again", report["slave"]["kinds"].get("get_image", 0), "", 0.5)
            part.add("known thumbnails read again", report["slave"]["kinds"].get("get_thumb", 0), "", 0.5)
        part.problems += await fakes.ask("violations")
    part.load = os.getloadavg()[0]
    return part


async def _round(fakes: World, jobs: int, before: int, more: dict[str, Any]) -> Any:
    await fakes.ask("reset")
    await fakes.ask("post", scripts=[_SCRIPT | more for _ in range(jobs)])
    await until(fakes, lambda state: state.get("done", 0) == before + jobs, 300)
    return await fakes.ask("report")


def _bytes(side: dict[str, Any], direction: str, kinds: tuple[str, ...]) -> float:
    return float(sum(side[direction].get(kind, 0) for kind in kinds))
