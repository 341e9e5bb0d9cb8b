"""The page `/tests/<id>/modules/<name>/steps/<n>/src` (templates/webapi/step/viewsrc.html.ep)."""

from __future__ import annotations

from html import escape

from aiohttp import web

from tests.fakes.model import Job, Module


def source_page(job: Job, module: Module) -> web.Response:
    """A page in which the module's script stands where the real one has it: behind the test directory."""
    path = f"/var/lib/openqa/share/tests/{job.settings.get('DISTRI', 'fake')}/{module.script}"
    link = f"/tests/{job.id}/modules/{module.name}/steps/1/src.txt"
    page = f"""<!DOCTYPE html>
<html><head><title>openQA: {escape(module.name)}</title></head><body>
    Test module:
    <a href="{link}">
    <code>{escape(path)}</code>
</a>    <textarea class="code" id="script">use base &#39;basetest&#39;;
</textarea></body></html>
"""
    return web.Response(text=page, content_type="text/html")
