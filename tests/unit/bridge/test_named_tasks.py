"""Tasks by name."""

from __future__ import annotations

import asyncio

from pseudoworker.bridge.named_tasks import NamedTasks


class Worked:
    """What became of the pieces of work."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.cancelled: list[str] = []
        self.errors: list[Exception] = []

    async def for_ever(self, name: str) -> None:
        self.began.append(name)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise

    async def broken(self) -> None:
        raise ValueError("no")


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_one_at_a_time_under_each_name() -> None:
    worked = Worked()
    tasks = NamedTasks("job 1", worked.errors.append)
    tasks.start("a", worked.for_ever("first"))
    tasks.add(worked.for_ever("beside"))
    tasks.add(worked.for_ever("beside too"))
    await settled()
    tasks.start_unless_running("a", worked.for_ever("not begun"))
    tasks.start("a", worked.for_ever("second"))
    await settled()
    assert worked.began == ["first", "beside", "beside too", "second"]
    assert worked.cancelled == ["first"]
    assert {task.get_name() for task in asyncio.all_tasks()} >= {"a of job 1", "background 2 of job 1"}
    tasks.cancel("a", "nobody")
    tasks.start_unless_running("a", worked.for_ever("third"))
    await settled()
    await tasks.close()
    assert sorted(worked.cancelled) == ["beside", "beside too", "first", "second", "third"]
    assert worked.errors == []


async def test_an_error_is_told_and_its_name_is_free_again() -> None:
    worked = Worked()
    tasks = NamedTasks("job 1", worked.errors.append)
    tasks.start("a", worked.broken())
    await settled()
    assert [str(error) for error in worked.errors] == ["no"]
    tasks.start_unless_running("a", worked.for_ever("again"))
    await settled()
    assert worked.began == ["again"]
    await tasks.close()
