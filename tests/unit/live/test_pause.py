"""When the needle editor may open."""

from __future__ import annotations

from pseudoworker.bridge.pause import LATEST, Pause
from pseudoworker.master.upload_progress import Progress


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def progress(pause: Pause, shown: str, outstanding: int = 0) -> Progress:
    return pause.progress(running="waiting", shown=shown, last="boot", outstanding=outstanding)


def test_a_running_test_is_uploaded_up_to_the_last_module() -> None:
    assert progress(Pause(), "x") == Progress("boot", "waiting", 0, 0)


def test_steps_that_came_since_the_pause_open_the_editor() -> None:
    pause = Pause(Clock())
    pause.changed(paused=True, shown="one step")
    assert progress(pause, "one step").up_to == "boot"
    assert progress(pause, "two steps", outstanding=2) == Progress("waiting", "waiting", 2, 0)
    pause.changed(paused=False, shown="two steps")
    assert progress(pause, "two steps").up_to == "boot"
    pause.changed(paused=True, shown="two steps")
    assert progress(pause, "two steps").up_to == "boot"


def test_a_pause_without_a_step_is_not_waited_for_for_ever() -> None:
    clock = Clock()
    pause = Pause(clock)
    pause.changed(paused=True, shown="")
    clock.now += LATEST + 1
    assert progress(pause, "").up_to == "waiting"
