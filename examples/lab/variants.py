"""The variants of the lab's test: what each does, which jobs it consists of, and how each job should end.

The Perl side is `distri/main.pm`, which chooses the modules by the setting VARIANT.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SETTINGS: Mapping[str, str] = {
    "DISTRI": "lab",
    "VERSION": "1",
    "FLAVOR": "tiny",
    "ARCH": "x86_64",
    "MACHINE": "64bit",
    "BACKEND": "qemu",
    "QEMU_NO_KVM": "1",
    "QEMURAM": "128",
    "QEMUCPUS": "1",
    "HDDSIZEGB": "1",
    "QEMU_NO_TABLET": "1",
    "ISO": "lab-guest.iso",
    "WORKER_CLASS": "qemu_x86_64",
}


@dataclass(frozen=True)
class JobPlan:
    """One job of a variant: its own settings and how it is expected to end.

    `result` is openQA's result; `reason` a regular expression that its reason must match, or None when
    it must have none.
    """

    result: str = "passed"
    reason: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)

    def matches(self, job: Mapping[str, Any]) -> bool:
        """Whether a job, as `GET jobs` tells of it, has ended as planned."""
        reason = job.get("reason")
        if self.reason is None:
            return job["result"] == self.result and not reason
        return job["result"] == self.result and re.search(self.reason, reason or "") is not None


@dataclass(frozen=True)
class Variant:
    """A kind of job or of several jobs that belong together; `jobs` by suffix, "" for a single job."""

    name: str
    about: str
    jobs: Mapping[str, JobPlan]

    def parameters(self, settings: Mapping[str, str], unique: str) -> dict[str, str]:
        """The form parameters of `POST jobs`; `settings` are for all jobs and win over the variant's.

        A key with a suffix, such as `TEST:child`, is for that job only. `{unique}` in the variant's own
        values becomes `unique`, so that jobs of the same variant do not share the assets they make.
        """
        parameters = {**SETTINGS, "VARIANT": self.name}
        for suffix, plan in self.jobs.items():
            tail = f":{suffix}" if suffix else ""
            parameters[f"TEST{tail}"] = f"{self.name}-{suffix}" if suffix else self.name
            for key, value in plan.settings.items():
                parameters[f"{key}{tail}"] = value.replace("{unique}", unique)
        for key, value in settings.items():
            if ":" not in key:
                parameters = {name: text for name, text in parameters.items() if name.split(":")[0] != key}
            parameters[key] = value
        return parameters


def _single(name: str, about: str, result: str, reason: str | None = None, **settings: str) -> Variant:
    return Variant(name, about, {"": JobPlan(result, reason, settings)})


def _job(result: str = "passed", reason: str | None = None, **settings: str) -> JobPlan:
    return JobPlan(result, reason, settings)


_DISK = "lab-disk-{unique}.qcow2"

_ALL = (
    _single("plain", "every kind of result: needles, texts, terminals, logs, snapshot, rollback", "passed"),
    _single("short", "boots and shuts down", "passed"),
    _single("softfailed", "a recorded soft failure and a needle that is a workaround", "softfailed"),
    _single("failed", "a module dies, the next ones run from the last snapshot", "failed"),
    _single("fatal", "a fatal module dies, the next ones do not run", "failed"),
    _single("unloadable", "main.pm dies while it is loaded", "incomplete", r"^tests died: unable to load"),
    _single("crash", "the virtual machine is killed", "incomplete", r"^(backend )?died: "),
    _single("long", "ten minutes (DURATION seconds) of lines, screens and modules", "passed"),
    _single(
        "timeout", "runs into its MAX_JOB_TIME", "timeout_exceeded", r"^timeout:",
        MODULES="long", MAX_JOB_TIME="20",
    ),
    _single("steps", "300 screenshots and 100 texts in one module", "passed"),
    _single(
        "steps200", "140 screenshots and 60 texts in one module", "passed",
        MODULES="steps", SCREENSHOTS="140", TEXTS="60",
    ),
    _single("flood", "50 MB of log a minute (FLOOD_MB), for a minute (DURATION)", "passed"),
    _single("developer", "modules to pause at, and a screen that comes late (WAIT)", "passed"),
    _single(
        "assets", "uploads a public and a private asset from the guest", "passed",
        PUBLIC_NAME="lab-public-{unique}.bin", PRIVATE_NAME="lab-private-{unique}.bin",
    ),
    _single(
        "kernel", "boots a kernel and an initrd that are assets of their own", "passed",
        MODULES="short", KERNEL="lab-vmlinuz", INITRD="lab-initrd.gz", ABSOLUTE_TEST_CONFIG_PATHS="1",
        APPEND="quiet loglevel=3 console=ttyS0,115200 console=tty0 panic=5",
    ),
    Variant(
        "chain",
        "an installation publishes a disk, a second job uses it",
        {
            "install": _job(MODULES="disk/install", PUBLISH_HDD_1=_DISK),
            "use": _job(MODULES="disk/use", HDD_1=_DISK, _START_AFTER="install"),
        },
    ),
    Variant(
        "tree",
        "an installation publishes a disk, two jobs use it, a third follows one of them",
        {
            "install": _job(MODULES="disk/install", PUBLISH_HDD_1=_DISK),
            "one": _job(MODULES="disk/use", HDD_1=_DISK, _START_AFTER="install"),
            "two": _job(MODULES="disk/use", HDD_1=_DISK, _START_AFTER="install"),
            "three": _job(MODULES="short", _START_AFTER="one"),
        },
    ),
    Variant(
        "private",
        "an installation stores a private disk, two jobs use it",
        {
            "install": _job(MODULES="disk/install", STORE_HDD_1=_DISK),
            "use": _job(MODULES="disk/use", HDD_1=_DISK, _START_AFTER="install"),
            "other": _job(MODULES="disk/use", HDD_1=_DISK, _START_AFTER="install"),
        },
    ),
    Variant(
        "chain-fails",
        "the first of two chained jobs fails, the second never runs",
        {
            "first": _job("failed", MODULES="fails"),
            "second": _job("skipped", MODULES="short", _START_AFTER="first"),
        },
    ),
    Variant(
        "direct",
        "three jobs, each directly after the one before",
        {
            "first": _job(MODULES="disk/install", PUBLISH_HDD_1=_DISK),
            "second": _job(MODULES="disk/use", HDD_1=_DISK, _START_DIRECTLY_AFTER="first"),
            "third": _job(MODULES="short", _START_DIRECTLY_AFTER="second"),
        },
    ),
    Variant(
        "direct-fails",
        "the same with a failing middle",
        {
            "first": _job(MODULES="short"),
            "second": _job("failed", MODULES="fails", _START_DIRECTLY_AFTER="first"),
            "third": _job("skipped", MODULES="short", _START_DIRECTLY_AFTER="second"),
        },
    ),
    Variant(
        "direct-pair",
        "a parent with a child in parallel and another directly after it",
        {
            "parent": _job(MODULES="pair/parent"),
            "child": _job(MODULES="pair/child", _PARALLEL="parent"),
            "after": _job(MODULES="short", _START_DIRECTLY_AFTER="parent"),
        },
    ),
    Variant(
        "late-pair",
        "a parent directly after another job, with a child in parallel that is not handed out before",
        {
            "first": _job(MODULES="short"),
            "parent": _job(MODULES="pair/parent", _START_DIRECTLY_AFTER="first"),
            "child": _job(MODULES="pair/child", _PARALLEL="parent"),
        },
    ),
    Variant(
        "pair",
        "a parent and a child in parallel that wait for each other",
        {
            "parent": _job(MODULES="pair/parent"),
            "child": _job(MODULES="pair/child", _PARALLEL="parent"),
        },
    ),
    Variant(
        "pair-waits",
        "two parallel jobs that wait for a late screen (WAIT): time to cancel them",
        {
            "parent": _job(MODULES="waiting"),
            "child": _job(MODULES="waiting", _PARALLEL="parent"),
        },
    ),
    Variant(
        "quad",
        "a parent and three children in parallel",
        {
            "parent": _job(MODULES="pair/parent", CLUSTER_SIZE="4"),
            **{
                f"child{n}": _job(MODULES="pair/child", CLUSTER_SIZE="4", _PARALLEL="parent")
                for n in (1, 2, 3)
            },
        },
    ),
    Variant(
        "pair-dies",
        "the parent of two parallel jobs fails",
        {
            "parent": _job("failed", MODULES="dying/parent"),
            "child": _job("parallel_failed", MODULES="dying/child", _PARALLEL="parent"),
        },
    ),
    Variant(
        "pair-fails",
        "the child of two parallel jobs fails",
        {
            "parent": _job("parallel_failed", MODULES="failing/parent"),
            "child": _job("failed", MODULES="failing/child", _PARALLEL="parent"),
        },
    ),
)  # fmt: skip

VARIANTS: Mapping[str, Variant] = {variant.name: variant for variant in _ALL}
