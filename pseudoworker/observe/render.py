"""Measured families as text: Prometheus' exposition format and InfluxDB's line protocol."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from pseudoworker.observe.registry import Family, Sample

PROMETHEUS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
INFLUXDB_TYPE = "text/plain; charset=utf-8"


def prometheus(families: Iterable[Family]) -> str:
    """Prometheus' text format, version 0.0.4. Counters end in `_total`."""
    lines: list[str] = []
    for family in families:
        name = f"{family.name}_total" if family.kind == "counter" else family.name
        lines.append(f"# HELP {name} {_escape_help(family.meaning)}")
        lines.append(f"# TYPE {name} {family.kind}")
        for sample in family.samples():
            if family.kind == "histogram":
                lines.extend(_prometheus_histogram(name, sample))
            else:
                lines.append(f"{name}{_prometheus_labels(sample.labels)} {_number(sample.value)}")
    return "\n".join(lines) + "\n"


def influxdb(families: Iterable[Family], tags: Mapping[str, str]) -> str:
    """InfluxDB's line protocol, one line per sample, without a time (telegraf adds its own), as openQA's own
    `/admin/influxdb` routes answer.

    Fields: `value` for gauges, `total` for counters, `count`, `sum` and `le_<bound>` for histograms.
    `tags` are put on every line.
    """
    lines = [
        f"{family.name}{_influxdb_tags((*tags.items(), *sample.labels))} {_influxdb_fields(family, sample)}"
        for family in families
        for sample in family.samples()
        if math.isfinite(sample.value)
    ]
    return "".join(line + "\n" for line in lines)


def _prometheus_histogram(name: str, sample: Sample) -> Iterable[str]:
    for bound, count in sample.buckets:
        labels = _prometheus_labels((*sample.labels, ("le", _number(bound))))
        yield f"{name}_bucket{labels} {count}"
    labels = _prometheus_labels(sample.labels)
    yield f"{name}_sum{labels} {_number(sample.value)}"
    yield f"{name}_count{labels} {sample.count}"


def _prometheus_labels(labels: Iterable[tuple[str, str]]) -> str:
    inner = ",".join(f'{name}="{_escape_label(value)}"' for name, value in labels)
    return f"{{{inner}}}" if inner else ""


def _escape_label(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _escape_help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _influxdb_tags(tags: Iterable[tuple[str, str]]) -> str:
    # an empty tag value is not allowed: such a tag is left out
    return "".join(f",{_escape_tag(name)}={_escape_tag(value)}" for name, value in tags if value)


def _escape_tag(text: str) -> str:
    # a line feed ends the line, a backslash at the end escapes the separator: neither can be escaped
    clean = "".join(character if character.isprintable() else " " for character in text).replace("\\", "/")
    return clean.replace(",", "\\,").replace("=", "\\=").replace(" ", "\\ ")


def _influxdb_fields(family: Family, sample: Sample) -> str:
    if family.kind == "counter":
        return f"total={_number(sample.value)}"
    if family.kind == "gauge":
        return f"value={_number(sample.value)}"
    bounds = "".join(
        f",le_{_number(bound)}={count}i" for bound, count in sample.buckets if math.isfinite(bound)
    )
    return f"count={sample.count}i,sum={_number(sample.value)}{bounds}"


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)
