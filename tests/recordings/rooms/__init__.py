"""Answers of a real slave, as the tests of `pseudoworker.slave` replay them."""

import json
from pathlib import Path

from pseudoworker.openqa.json import Json

_HERE = Path(__file__).parent


def recorded(name: str) -> Json:
    """A recorded JSON answer."""
    document: Json = json.loads(recorded_bytes(f"{name}.json"))
    return document


def recorded_bytes(name: str) -> bytes:
    """A recorded file."""
    return (_HERE / name).read_bytes()
