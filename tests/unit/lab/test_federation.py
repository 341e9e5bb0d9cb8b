"""The configuration that the lab writes is one that pseudoworker accepts."""

from __future__ import annotations

from pathlib import Path

from examples.lab.federation import write_configuration
from examples.lab.layout import current_lab
from pseudoworker.config import Overrides, load


def test_what_the_lab_writes_is_accepted(tmp_path: Path) -> None:
    lab = current_lab({"LAB_DIR": str(tmp_path / "lab")})
    for instance in lab:
        instance.ensure_keys()
    conf = tmp_path / "conf"
    write_configuration(lab, conf, location="here")
    configuration = load(Overrides(instances="1-2"), {"OPENQA_CONFIG": str(conf), "HOME": str(tmp_path)})
    assert configuration.master.url == lab.master.url
    assert configuration.slave.url == lab.slave.url
    assert configuration.master.credentials is not None
    assert configuration.master.credentials.key == lab.master.operator.key
    assert configuration.slave.credentials is not None
    assert configuration.slave.credentials.secret == lab.slave.operator.secret
    assert [slot.worker_class for slot in configuration.slots] == [(":here:qemu_x86_64",)] * 2
    assert configuration.classes.to_slave(":here:qemu_x86_64") == "qemu_x86_64"
    assert configuration.worker.worker_hostname == "127.0.0.1"
