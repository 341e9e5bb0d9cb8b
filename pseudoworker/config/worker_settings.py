"""The settings of workers.ini that concern the process as a whole, as `WorkerSettings`."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pseudoworker.config.mistakes import DEFAULT, Mistakes, Origin
from pseudoworker.config.model import WorkerSettings
from pseudoworker.config.schema import Key, Unfit, keys_of, parse
from pseudoworker.config.slots import Slots

ENVIRONMENT: Mapping[str, str] = {
    "status_min_interval": "OPENQA_WORKER_STATUS_MIN_INTERVAL",
    "status_max_interval": "OPENQA_WORKER_STATUS_MAX_INTERVAL",
    "terminate_after_jobs_done": "OPENQA_WORKER_TERMINATE_AFTER_JOBS_DONE",
}
"""Fields of `WorkerSettings` and the variables that win over workers.ini, as for the stock worker."""


def read_worker_settings(
    slots: Slots,
    environment: Mapping[str, str],
    *,
    verbose: bool,
    origins: dict[str, Origin],
    mistakes: Mistakes,
) -> WorkerSettings:
    """The settings in which all slots agree; where each came from goes to `origins` as `worker.<name>`."""
    values: dict[str, Any] = {}
    for key in keys_of(WorkerSettings):
        variable = environment.get(ENVIRONMENT.get(key.name, ""), "")
        origins[f"worker.{key.name}"] = read_setting(key, key.name.upper(), slots, variable, values, mistakes)
    if verbose:
        values["log_level"] = "debug"
        origins["worker.log_level"] = Origin("command line", key="--verbose")
    settings = WorkerSettings(**values)
    if settings.status_max_interval < settings.status_min_interval:
        least, most = origins["worker.status_min_interval"], origins["worker.status_max_interval"]
        mistakes.add(
            least if most == DEFAULT else most,
            "STATUS_MAX_INTERVAL is less than STATUS_MIN_INTERVAL",
            "raise the one or lower the other",
        )
    return settings


def read_setting(
    key: Key, name: str, slots: Slots, variable: str, values: dict[str, Any], mistakes: Mistakes
) -> Origin:
    """Put the value of one setting into `values` if there is one, and return where it came from.

    `variable` is the value of the environment variable that wins, empty for none.
    """
    setting = slots.agreed(name, mistakes)
    if variable:
        text, origin = variable, Origin("environment", key=ENVIRONMENT[key.name])
    elif setting is not None:
        text, origin = setting.value, setting.origin
    else:
        return DEFAULT
    try:
        values[key.name] = parse(key, text)
    except Unfit as unfit:
        mistakes.add(origin, unfit.what, unfit.remedy)
    return origin


def with_address(settings: WorkerSettings, master_is_local: bool) -> WorkerSettings:
    """`settings` with WORKER_HOSTNAME filled in where it is not set.

    As OpenQA::Worker::Settings (`auto_detect_worker_address`): `localhost` beside a local web UI, else the
    full name of this host, for which the resolver is asked, or the short one when it knows none.
    """
    if settings.worker_hostname:
        return settings
    if master_is_local:
        return replace(settings, worker_hostname="localhost")
    full_name = socket.getfqdn()
    return replace(settings, worker_hostname=full_name if "." in full_name else os.uname().nodename)
