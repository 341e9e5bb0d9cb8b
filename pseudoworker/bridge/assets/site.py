"""What one openQA instance says about its assets."""

from __future__ import annotations

from concurrent.futures import Executor

from pseudoworker.bridge.assets.names import Asset
from pseudoworker.openqa.client import Client
from pseudoworker.openqa.errors import Refused
from pseudoworker.openqa.retry import DOWNLOAD, READ
from pseudoworker.openqa.served import Served, look


class Site:
    """Asks one instance; blocking downloads run on `executor`."""

    def __init__(self, client: Client, executor: Executor) -> None:
        self.client = client
        self.executor = executor

    @property
    def url(self) -> str:
        """The instance's URL, for texts."""
        return self.client.url

    async def look(self, asset: Asset) -> Served | None:
        """What the instance serves as this asset, None when it has no such file.

        Looks at the file, not at the database: openQA makes a row for every asset that some job names,
        whether it exists or not (Jobs.pm, register_assets_from_settings). As locate_asset does it falls back
        to `fixed`. A directory (`repo`) is not served; see `has`.
        """
        for path in asset_paths(asset):
            found = await self.look_at(path)
            if found is not None:
                return found
        return None

    async def look_at(self, path: str) -> Served | None:
        """The same for any path below the instance's URL."""
        return await look(self.client, self.executor, path)

    async def has(self, asset: Asset) -> bool:
        """Whether a file or directory of this name lies there, by registering it (API/V1/Asset.pm, register).

        Changes nothing but that the instance counts it among its assets. Needs the rights of an operator.
        """
        try:
            fields = {"type": asset.type, "name": asset.name}
            await self.client.post_form("/api/v1/assets", fields, policy=READ)
        except Refused as error:
            if error.status == 400:  # "registering asset failed": locate_asset found nothing
                return False
            raise
        return True

    async def block(self, file: Served, start: int, end: int) -> bytes:
        """The bytes from `start` to `end` (exclusive) of a file; fewer when it has become shorter."""
        headers = {"Range": f"bytes={start}-{end - 1}"}
        return await self.client.read(file.path, policy=DOWNLOAD, limit=end - start, headers=headers)


def asset_paths(asset: Asset) -> tuple[str, str]:
    """Where a web UI may serve the asset (WebAPI/Controller/File.pm, download_asset; Utils.pm,
    locate_asset)."""
    return f"/assets/{asset.type}/{asset.name}", f"/assets/{asset.type}/fixed/{asset.name}"
