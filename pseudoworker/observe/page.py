"""The status page, `/metrics` for Prometheus, `/influxdb` for telegraf; on a loopback address, no login."""

from __future__ import annotations

import html
import json
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Final

from pseudoworker.observe.addresses import parse_loopback
from pseudoworker.observe.http import Answer, serve_pages
from pseudoworker.observe.metrics import Metrics
from pseudoworker.observe.render import INFLUXDB_TYPE, PROMETHEUS_TYPE
from pseudoworker.observe.snapshot import ProcessSnapshot, SlotSnapshot, to_json
from pseudoworker.observe.texts import attention, duration, progress, size

REFRESH: Final = 5
"""Seconds between two looks of the status page."""

_STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.4 system-ui, sans-serif; margin: 1.5em auto; max-width: 90em; padding: 0 1em }
h1 { font-size: 1.3em } p { margin: .3em 0 }
table { border-collapse: collapse; width: 100%; margin-top: 1em }
th, td { text-align: left; padding: .3em .6em; border-bottom: 1px solid #8884; vertical-align: top }
th { font-weight: 600 } td.number { text-align: right; white-space: nowrap }
.state { display: inline-block; border-radius: .7em; padding: 0 .6em; color: #fff; background: #666 }
.free { background: #2d7a3a } .working { background: #1f5fa8 }
.broken { background: #b3361e } .offline { background: #666 }
"""

# the style is the page's own and there is nothing else: no script, no picture, no form, no frame
_POLICY = "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


def serve_status(
    listen: str, metrics: Metrics, snapshot: Callable[[], ProcessSnapshot]
) -> AbstractAsyncContextManager[int]:
    """Serve the status page at `listen` (`host:port`) for as long as the context lasts; it gives the port.

    `/` the page, `/status.json` the snapshot, `/metrics` and `/influxdb` the measures. Raises AddressError,
    at once for an address that others can reach, on entry for one that is taken.
    """
    host, port = parse_loopback(listen)
    return serve_pages(
        host,
        port,
        {
            "/": lambda: page(snapshot(), time.time()),
            "/status.json": lambda: Answer(json.dumps(to_json(snapshot()), indent=1), "application/json"),
            "/metrics": lambda: Answer(metrics.render_prometheus(snapshot()), PROMETHEUS_TYPE),
            "/influxdb": lambda: _influxdb(metrics, snapshot()),
        },
    )


def page(snapshot: ProcessSnapshot, now: float) -> Answer:
    """The whole page. Every value is escaped; only http and https addresses become links."""
    states = ", ".join(f"{count} {state}" for state, count in snapshot.slots_by_state().items() if count)
    title = f"pseudoworker: {states or 'no slots'}"
    totals = ", ".join(f"{_text(name)} {_amount(name, value)}" for name, value in snapshot.totals.items())
    body = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{_text(title)}</title>
<meta http-equiv="refresh" content="{REFRESH}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{_STYLE}</style></head>
<body><h1>{_text(title)}</h1>
<p>Master {_link(snapshot.master_url)}, slave {_link(snapshot.slave_url)}</p>
<p>Release {_text(snapshot.version)}, process {snapshot.pid}, up {duration(now - snapshot.started)}</p>
{f"<p>Since the start: {totals}</p>" if totals else ""}
<table><thead><tr><th>Slot</th><th>State</th><th>Master job</th><th>Slave job</th><th>Phase</th>
<th>Module</th><th>Relayed</th><th>Since</th><th>Remark</th></tr></thead>
<tbody>
{"".join(_row(slot, now) for slot in snapshot.slots)}</tbody></table>
</body></html>
"""
    return Answer(body, "text/html; charset=utf-8", (_POLICY,))


def _row(slot: SlotSnapshot, now: float) -> str:
    cells: Iterable[str] = (
        f"<td>{slot.instance}</td>",
        f'<td><span class="state {slot.state}">{slot.state}</span></td>',
        f"<td>{_job(slot.master_job, slot.master_url)}</td>",
        f"<td>{_job(slot.slave_job, slot.slave_url)}</td>",
        f"<td>{_text(slot.phase)}</td>",
        f"<td>{_text(progress(slot))}</td>",
        f'<td class="number">{size(slot.bytes_relayed) if slot.bytes_relayed else ""}</td>',
        f'<td class="number">{duration(now - slot.since) if slot.since else ""}</td>',
        f"<td>{_text(attention(slot))}</td>",
    )
    return f"<tr>{''.join(cells)}</tr>\n"


def _job(job: int | None, url: str) -> str:
    return "" if job is None else _link(url, str(job))


def _link(url: str, text: str = "") -> str:
    text = text or url
    # a slave's answer must not become a javascript: link on a page that somebody clicks on
    if not url.startswith(("http://", "https://")):
        return _text(text)
    return f'<a href="{_text(url)}">{_text(text)}</a>'


def _text(value: str) -> str:
    return html.escape(value, quote=True)


def _amount(name: str, value: float) -> str:
    return size(int(value)) if name.startswith("bytes_") else f"{value:g}"


def _influxdb(metrics: Metrics, snapshot: ProcessSnapshot) -> Answer:
    first = snapshot.slots[0].instance if snapshot.slots else 0
    tags = {"master": snapshot.master_url, "slave": snapshot.slave_url, "instance": str(first)}
    return Answer(metrics.render_influxdb(snapshot, tags), INFLUXDB_TYPE)
