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
    "QEMURAM": "256",
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

    def parameters(self, settings: Mapping[str, str]) -> dict[str, str]:
        """The form parameters of `POST jobs`; `settings` are for all jobs and win over the variant's.

        A key with a suffix, such as `TEST:child`, is for that job only.
        """
        parameters = {**SETTINGS, "VARIANT": self.name}
        for suffix, plan in self.jobs.items():
            tail = f":{suffix}" if suffix else ""
            parameters[f"TEST{tail}"] = f"{self.name}-{suffix}" if suffix else self.name
            if suffix:
                parameters[f"ROLE{tail}"] = suffix
            parameters.update({f"{key}{tail}": value for key, value in plan.settings.items()})
        for key, value in settings.items():
            bare = key.partition(":")[0]
            if ":" not in key:
                parameters = {
                    known: text for known, text in parameters.items() if known.split(":")[0] != bare
                }
            parameters[key] = value
        return parameters


def _single(name: str, about: str, result: str, reason: str | None = None, **settings: str) -> Variant:
    return Variant(name, about, {"": JobPlan(result, reason, settings)})


VARIANTS: Mapping[str, Variant] = {
    variant.name: variant
    for variant in (
        _single("plain", "nine modules with every kind of result", "passed"),
        _single("short", "boots and shuts down", "passed"),
    )
}
