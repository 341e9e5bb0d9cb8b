"""JSON as it comes from and goes to the other side: strict in both directions, and bounded."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


class NotJson(ValueError):
    """The text is no JSON, or such that nobody should work with it; the message says what is wrong."""


def decode(text: str | bytes) -> Json:
    """Parse one JSON document; raise NotJson for anything else.

    Refused besides syntax errors: bytes that are no UTF-8, NaN and infinities (also as `1e999`), numbers of
    thousands of digits, and nesting that Python's parser cannot follow (about 1000 levels). Of equal keys
    the last one counts. Half surrogates (`\\ud800` alone), which no encoder would take later, become
    U+FFFD.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode()
            whole = True
        else:
            whole = _encodable(text)
        document: Json = _DECODER.decode(text)
        if not whole or "\\ud" in text or "\\uD" in text:
            return _without_surrogates(document)
    except RecursionError:
        raise NotJson("nested too deep") from None
    except UnicodeDecodeError as error:
        raise NotJson(f"no UTF-8 ({error.reason} at byte {error.start})") from None
    except ValueError as error:
        raise NotJson(str(error)) from None
    return document


def encode(document: Json | Mapping[str, Json]) -> bytes:
    """The document as compact UTF-8 JSON; raise NotJson when it holds what JSON cannot express."""
    try:
        return _ENCODER.encode(document).encode()
    except RecursionError:
        raise NotJson("nested too deep") from None
    except ValueError as error:
        raise NotJson(str(error)) from None


def _refuse(name: str) -> Json:
    raise NotJson(f"{name} is no JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise NotJson(f"number {digits[:40]} is too large")
    return number


_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _without_surrogates(document: Json) -> Json:
    # A round trip through UTF-16 joins pairs (there are none left after json.loads) and replaces halves.
    if isinstance(document, str):
        return document.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(document, list):
        return [_without_surrogates(item) for item in document]
    if isinstance(document, dict):
        return {str(_without_surrogates(key)): _without_surrogates(value) for key, value in document.items()}
    return document
