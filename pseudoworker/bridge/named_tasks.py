"""Tasks that live as long as their owner, each known by what it does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

Work = Coroutine[None, None, None]


class NamedTasks:
    """Runs one coroutine at a time under each name. `owner` stands in the names of the tasks; `failed` is
    told every error that ends one."""

    def __init__(self, owner: str, failed: Callable[[Exception], None]) -> None:
        self._owner = owner
        self._failed = failed
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._numbered = 0

    def start(self, name: str, work: Work) -> None:
        """Run this under the name, instead of what runs under it."""
        self.cancel(name)
        task = asyncio.create_task(work, name=f"{name} of {self._owner}")
        self._tasks[name] = task
        task.add_done_callback(lambda done: self._finished(name, done))

    def start_unless_running(self, name: str, work: Work) -> None:
        """Run this under the name, unless something runs under it."""
        if name in self._tasks:
            work.close()
        else:
            self.start(name, work)

    def add(self, work: Work) -> None:
        """Run this beside everything else."""
        self._numbered += 1
        self.start(f"background {self._numbered}", work)

    def cancel(self, *names: str) -> None:
        """Cancel what runs under these names."""
        for name in names:
            if (task := self._tasks.pop(name, None)) is not None:
                task.cancel()

    async def close(self) -> None:
        """Cancel everything, and wait for its end."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _finished(self, name: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(name) is task:
            del self._tasks[name]
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self._failed(error)
