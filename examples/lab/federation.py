"""Writes a configuration of pseudoworker that joins the lab's two instances."""

from __future__ import annotations

from pathlib import Path

from examples.lab.layout import Lab, write_if_changed


def write_configuration(lab: Lab, directory: Path, location: str = "lab") -> None:
    """Writes workers.ini, client.conf and pseudoworker.toml into `directory`, which may exist."""
    workers_ini = (
        "[global]\n"
        f"HOST = {lab.master.url}\n"
        f"WORKER_CLASS = :{location}:qemu_x86_64\n"
        "WORKER_HOSTNAME = 127.0.0.1\n"
    )
    client_conf = "\n".join(
        f"[{instance.host}]\nkey = {instance.operator.key}\nsecret = {instance.operator.secret}\n"
        for instance in lab
    )
    toml = f'[slave]\nurl = "{lab.slave.url}"\nlocation = "{location}"\n'
    write_if_changed(directory / "workers.ini", workers_ini)
    write_if_changed(directory / "client.conf", client_conf, mode=0o600)
    write_if_changed(directory / "pseudoworker.toml", toml)
