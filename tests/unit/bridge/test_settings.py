"""Which settings travel."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pseudoworker.bridge.settings import (
    UnmappedClass,
    for_slave,
    needed_classes,
    run_time,
    slave_classes,
    worker_classes,
)
from pseudoworker.config.model import ClassMap

CLASSES = ClassMap("lab", {"special": "tap"})
REPORT = "http://master/tests/42"


def sent(**settings: str) -> dict[str, str]:
    return for_slave(
        {"WORKER_CLASS": ":lab:qemu_x86_64", **settings}, report_url=REPORT, to_slave=CLASSES.to_slave
    )


def test_what_is_added() -> None:
    assert sent() == {"WORKER_CLASS": "qemu_x86_64", "PROXIED": "1", "FEDERATED_REPORT": REPORT}


@pytest.mark.parametrize(
    "key",
    [
        "JOBTOKEN",
        "NAME",
        "OPENQA_HOSTNAME",
        "OPENQA_URL",
        "WORKER_HOSTNAME",
        "WORKER_INSTANCE",
        "WORKER_ID",
        "NICVLAN",
        "_GROUP",
        "_GROUP_ID",
        "_PRIORITY_EXPLANATION",
        "_PARALLEL_JOBS",
        "_START_AFTER_JOBS",
        "_START_DIRECTLY_AFTER_JOBS",
        "ISO_URL",
        "ISO_1_URL",
        "HDD_1_URL",
        "HDD_1_DECOMPRESS_URL",
        "ASSET_256_URL",
        "REPO_0_URL",
        "KERNEL_URL",
        "INITRD_URL",
        "UEFI_PFLASH_VARS_URL",
    ],
)
def test_what_stays(key: str) -> None:
    assert key not in sent(**{key: "x"})


@pytest.mark.parametrize(
    "key",
    ["_SECRET_TOKEN", "ROOT_PASSWORD", "CASEDIR", "MIRROR_URL", "ISO", "HDD_1", "NICTYPE", "PARALLEL_WITH"],
)
def test_what_travels(key: str) -> None:
    assert sent(**{key: "x"})[key] == "x"


def test_classes_are_mapped_one_by_one() -> None:
    settings = {"WORKER_CLASS": ":lab:qemu_x86_64, special,"}
    assert worker_classes(settings) == (":lab:qemu_x86_64", "special")
    assert slave_classes(settings, CLASSES.to_slave) == ("qemu_x86_64", "tap")
    with pytest.raises(UnmappedClass, match="elsewhere"):
        slave_classes({"WORKER_CLASS": "elsewhere"}, CLASSES.to_slave)


@given(st.dictionaries(st.text(), st.text()))
def test_no_token_and_no_group_whatever_is_sent(settings: dict[str, str]) -> None:
    kept = sent(
        **{"JOBTOKEN": "secret", **{key: value for key, value in settings.items() if key != "WORKER_CLASS"}}
    )
    assert "JOBTOKEN" not in kept
    assert not [key for key in kept if key.startswith("_GROUP")]
    assert kept["FEDERATED_REPORT"] == REPORT


def test_how_long_a_job_may_take() -> None:
    assert run_time({}) == 3600 + 7200
    assert run_time({"MAX_JOB_TIME": "60", "TIMEOUT_SCALE": "2", "MAX_SETUP_TIME": "10"}) == 130
    assert run_time({"MAX_JOB_TIME": "an hour"}) == 3600 + 7200


def test_a_job_whose_class_is_unknown_needs_no_worker() -> None:
    assert needed_classes({"WORKER_CLASS": ":lab:qemu_x86_64"}, CLASSES.to_slave) == {"qemu_x86_64"}
    assert needed_classes({"WORKER_CLASS": "elsewhere"}, CLASSES.to_slave) == frozenset()
