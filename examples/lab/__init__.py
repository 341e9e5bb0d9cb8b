"""The lab: two real openQA instances with workers on one machine, for tests and demonstrations.

`examples/lab/lab` starts and stops it; this package is how Python code finds its way in it:

    from examples.lab import current_lab, post

    lab = current_lab()
    ids = post(lab.slave, "plain")

Only the standard library is used, so that the lab runs before the project's own environment exists.
"""

from examples.lab.api import ApiError, OpenqaApi
from examples.lab.assets import add_asset, remove_asset
from examples.lab.errors import LabError
from examples.lab.jobs import post, wait_until_done
from examples.lab.layout import Instance, Key, Lab, current_lab
from examples.lab.variants import VARIANTS, Variant

__all__ = [
    "VARIANTS",
    "ApiError",
    "Instance",
    "Key",
    "Lab",
    "LabError",
    "OpenqaApi",
    "Variant",
    "add_asset",
    "current_lab",
    "post",
    "remove_asset",
    "wait_until_done",
]
