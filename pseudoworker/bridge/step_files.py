"""The files that the steps of a module refer to, brought to the master: screenshots, texts, sounds.

While the slave job runs, its own worker may be uploading the very file that is read here, and openQA writes
it in place (`OpenQA::Schema::Result::Jobs`, `create_artefact` and `store_image`): it can be read
half-written. Pictures and sounds tell by their format whether they are whole; the texts are compared again
when the slave job has ended (`ModuleRelay.mend`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping

from pseudoworker.bridge.transfer import Transfer, Transfers
from pseudoworker.master.job import MasterJob
from pseudoworker.openqa.errors import NotFound
from pseudoworker.slave.files import is_safe, seems_whole
from pseudoworker.slave.results import SlaveResults, digest_of_texts
from pseudoworker.slave.steps import ModuleReport

MOST_MISSES = 12
"""Numbers in a row without a text after which no further one of an interrupted module is looked for."""
MOST_TEXTS = 10_000

Bring = Callable[[], Awaitable[None]]


class StepFiles:
    """Brings the files of one job's modules. `scrub` takes secrets of the slave out of a text, `relayed` is
    told the bytes that were sent, `arrived` the module whose files are all there and the digest of its
    texts."""

    def __init__(
        self,
        *,
        master: MasterJob,
        slave: SlaveResults,
        transfers: Transfers,
        scrub: Callable[[bytes], bytes],
        relayed: Callable[[int], None],
        arrived: Callable[[str, str], None],
    ) -> None:
        self._master = master
        self._slave = slave
        self._transfers = transfers
        self._scrub = scrub
        self._relayed = relayed
        self._arrived = arrived
        self._coming: set[str] = set()
        """Modules whose files are on their way."""
        self._sent: set[str] = set()
        """Screenshots (md5) and files that are on the master or on their way."""
        self._texts: dict[str, dict[str, bytes]] = {}
        """Texts of each module that are on the master while others of its files are on their way."""
        self._learned: dict[str, bytes] = {}
        """Contents of texts that the ended slave job showed at once, by name."""

    def are_coming(self, module: str) -> bool:
        """Whether files of this module are on their way."""
        return module in self._coming

    def forget(self) -> None:
        """The slave job was restarted: what it leaves now is new, whatever its name."""
        self._coming.clear()
        self._sent.clear()
        self._texts.clear()
        self._learned.clear()

    def learn(self, texts: Mapping[str, bytes]) -> None:
        """Texts as they are for good: those of them that wait for their turn need not be fetched any more."""
        self._learned |= texts

    def bring(
        self,
        slave_id: int,
        module: str,
        report: ModuleReport,
        known_images: Collection[str],
        texts: Mapping[str, bytes],
    ) -> None:
        """Have the files of a reported module brought over, but for images that the master knows. It may know
        other files by name as well, but of an earlier run of a job that was restarted on the slave.

        `texts` are contents that need not be fetched any more."""
        parts: list[tuple[str, Bring]] = []
        for md5, name in report.images.items():
            if md5 not in known_images and self._is_new(md5):
                parts.append((f"screenshot {name}", self._image(slave_id, md5, name, thumb=False)))
                parts.append((f"thumbnail of {name}", self._image(slave_id, md5, name, thumb=True)))
        for name, content in report.texts.items():
            if self._is_new(name):
                known = texts.get(name) if content is None else content
                parts.append((name, self._text(slave_id, module, name, known)))
        parts += [(name, self._sound(slave_id, name)) for name in report.audio if self._is_new(name)]
        self._coming.add(module)
        missing = len(parts)

        def arrived() -> None:
            nonlocal missing
            missing -= 1
            if missing <= 0 and module in self._coming:
                self._coming.discard(module)
                self._arrived(module, digest_of_texts(self._texts.pop(module, {})))

        if not parts:
            arrived()
        for label, bring in parts:
            self._transfers.add(Transfer(label, bring, arrived))

    def bring_texts(self, slave_id: int, module: str, texts: Mapping[str, bytes]) -> None:
        """Have these texts brought over, whatever was sent before."""
        for name, content in texts.items():
            self._transfers.add(Transfer(name, self._text(slave_id, module, name, content)))

    def bring_unlisted(self, slave_id: int, module: str) -> None:
        """Have the texts brought over that a module left which was running when its job was cancelled.

        The slave's worker uploads them, but a server of 2023 takes no details of a cancelled job any more
        (`OpenQA::Schema::Result::Jobs`, `update_status`), so nothing names them. os-autoinst numbers the
        results of a module (`basetest.pm`, `next_resultname`)."""

        async def bring() -> None:
            misses = number = 0
            while misses < MOST_MISSES and number < MOST_TEXTS:
                number += 1
                name = f"{module}-{number}.txt"
                try:
                    content = await self._slave.step_file(slave_id, name)
                except NotFound:
                    misses += 1
                    continue
                misses = 0
                await self._upload(name, content)

        if is_safe(module):
            self._transfers.add(Transfer(f"texts of {module}", bring))

    def _is_new(self, key: str) -> bool:
        if key in self._sent:
            return False
        self._sent.add(key)
        return True

    def _image(self, slave_id: int, md5: str, name: str, *, thumb: bool) -> Bring:
        async def bring() -> None:
            fetch = self._slave.thumbnail if thumb else self._slave.image
            content = self._whole(name, await fetch(slave_id, name))
            await self._master.upload_image(md5, name, content, thumb=thumb)
            self._relayed(len(content))

        return bring

    def _sound(self, slave_id: int, name: str) -> Bring:
        async def bring() -> None:
            await self._upload(name, self._whole(name, await self._slave.step_file(slave_id, name)))

        return bring

    def _text(self, slave_id: int, module: str, name: str, content: bytes | None) -> Bring:
        async def bring() -> None:
            found = self._learned.get(name, content)
            if found is None:
                try:
                    found = await self._slave.text(slave_id, module, name)
                except NotFound:
                    if name not in self._learned:
                        raise
                    found = self._learned[name]  # the job ended meanwhile
            await self._upload(name, found)
            self._texts.setdefault(module, {})[name] = found

        return bring

    async def _upload(self, name: str, content: bytes) -> None:
        scrubbed = self._scrub(content)
        await self._master.upload_file(name, scrubbed)
        self._relayed(len(scrubbed))

    def _whole(self, name: str, content: bytes) -> bytes:
        if self._transfers.finishing or seems_whole(content):
            return content
        raise NotFound(f"{name} is not whole on the slave yet")
