"""The table of variants and the test distribution belong together."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from examples.lab.variants import VARIANTS, JobPlan

DISTRI = Path(__file__).parents[3] / "examples" / "lab" / "distri"
SCHEDULED = re.findall(r"^    '?([\w/]+)'? => \[(.*)\],$", (DISTRI / "main.pm").read_text(), re.MULTILINE)
SPECIAL = {"unloadable", "long"}


def modules_of(variant: str) -> set[str]:
    plans = VARIANTS[variant].jobs.values()
    return {plan.settings.get("MODULES", variant) for plan in plans}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_known_to_the_distribution(variant: str) -> None:
    assert modules_of(variant) <= {name for name, _ in SCHEDULED} | SPECIAL


def test_every_schedule_is_used_by_a_variant() -> None:
    used = {modules for variant in VARIANTS for modules in modules_of(variant)}
    assert {name for name, _ in SCHEDULED} <= used


def test_every_scheduled_module_exists_and_every_module_is_scheduled() -> None:
    scheduled = {"boot", "shutdown", "part"}
    for _, listed in SCHEDULED:
        scheduled |= set(re.findall(r"\w+", listed.replace("qw", " ").replace("@short", " ")))
    assert scheduled == {path.stem for path in (DISTRI / "tests").glob("*.pm")}


def test_every_needle_has_its_picture() -> None:
    needles = DISTRI / "needles"
    assert {path.stem for path in needles.glob("*.json")} == {path.stem for path in needles.glob("*.png")}


def test_a_single_job_has_no_suffixes() -> None:
    parameters = VARIANTS["plain"].parameters({}, "00")
    assert parameters["TEST"] == "plain"
    assert not [key for key in parameters if ":" in key]


def test_jobs_that_belong_together_share_a_name_of_their_own() -> None:
    parameters = VARIANTS["chain"].parameters({}, "abcd")
    assert parameters["PUBLISH_HDD_1:install"] == "lab-disk-abcd.qcow2"
    assert parameters["HDD_1:use"] == parameters["PUBLISH_HDD_1:install"]
    assert parameters["_START_AFTER:use"] == "install"
    assert parameters["TEST:use"] == "chain-use"


def test_a_setting_for_all_jobs_replaces_what_single_ones_have() -> None:
    parameters = VARIANTS["quad"].parameters({"CLUSTER_SIZE": "9", "TEST:parent": "mine"}, "00")
    assert [value for key, value in parameters.items() if key.startswith("CLUSTER_SIZE")] == ["9"]
    assert parameters["TEST:parent"] == "mine"
    assert parameters["TEST:child1"] == "quad-child1"


@pytest.mark.parametrize(
    ("plan", "job", "matches"),
    [
        (JobPlan(), {"result": "passed"}, True),
        (JobPlan(), {"result": "passed", "reason": None}, True),
        (JobPlan(), {"result": "passed", "reason": "something"}, False),
        (JobPlan("failed"), {"result": "passed"}, False),
        (JobPlan("incomplete", "^died"), {"result": "incomplete", "reason": "died: of age"}, True),
        (JobPlan("incomplete", "^died"), {"result": "incomplete", "reason": "not died"}, False),
        (JobPlan("incomplete", "^died"), {"result": "incomplete", "reason": None}, False),
    ],
)
def test_a_plan_says_whether_a_job_ended_so(plan: JobPlan, job: dict[str, object], matches: bool) -> None:
    assert plan.matches(job) is matches
