"""What the master is told at the end."""

from __future__ import annotations

import pytest

from pseudoworker.bridge import endings
from pseudoworker.bridge.endings import Ending
from pseudoworker.bridge.lifecycle import Stop
from pseudoworker.openqa import states

URL = "http://slave/tests/7"
RESTARTING = ' [Auto-restarting because reason matches the configured "auto_clone_regex".]'
NOT_RESTARTING = " [Not restarting because job has been restarted already 20 times.]"


@pytest.mark.parametrize("result", sorted(states.COMPLETE_RESULTS))
def test_a_complete_result_explains_itself(result: str) -> None:
    assert endings.of_slave(result, None, URL) == Ending(result)


@pytest.mark.parametrize("result", sorted(states.RESULTS - states.COMPLETE_RESULTS - {states.NONE}))
def test_another_result_without_a_reason_names_the_slave_job(result: str) -> None:
    assert endings.of_slave(result, None, URL) == Ending(result, f"{result} on the slave: {URL}")
    own = None if result in states.ENDED_BY_OTHERS else f"{result} on the slave: {URL}"
    assert endings.of_slave(result, None, URL, related=True) == Ending(result, own)
    assert endings.of_slave(result, "backend died", URL) == Ending(result, "backend died")


@pytest.mark.parametrize("result", ["none", "", "brilliant"])
def test_what_is_no_result(result: str) -> None:
    ending = endings.of_slave(result, None, URL)
    assert ending.result == "incomplete"
    assert URL in (ending.reason or "")


@pytest.mark.parametrize("note", [RESTARTING, NOT_RESTARTING])
def test_the_slave_s_word_on_its_restarts_is_its_own(note: str) -> None:
    assert endings.of_slave("incomplete", f"cache failure: x{note}", URL) == Ending(
        "incomplete", "cache failure: x"
    )


def test_which_reasons_announce_a_restart() -> None:
    assert endings.announces_restart(f"x{RESTARTING}")
    assert not endings.announces_restart(f"x{NOT_RESTARTING}")
    assert not endings.announces_restart("Auto-restarting")
    assert not endings.announces_restart(None)


@pytest.mark.parametrize("stop", [stop for stop in Stop if stop is not Stop.LEASE_LOST])
@pytest.mark.parametrize("url", [URL, None])
def test_every_stop_has_an_end(stop: Stop, url: str | None) -> None:
    ending = endings.of_stop(stop, url)
    assert ending.result in states.RESULTS - states.OK_RESULTS
    if stop in (Stop.QUEUE_TIMEOUT, Stop.RUN_TIMEOUT, Stop.SLAVE_LOST):
        assert (URL in (ending.reason or "")) is (url is not None)


def test_a_deleted_job() -> None:
    ending = endings.deleted(URL)
    assert ending.result == "incomplete"
    assert URL in (ending.reason or "")
