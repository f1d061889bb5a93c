"""The supervisor where its log can not be written, or one more process or thread begun."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

import pytest

from support.supervised import Run, Start, supervised_runs


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with supervised_runs(tmp_path) as begin:
        yield begin


@contextmanager
def unwritable(why: str) -> Iterator[IO[str]]:
    if why == "full disk":
        with Path("/dev/full").open("w") as stream:
            yield stream
    else:
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "w") as stream:
            yield stream


def has_steadied(run: Run, times: int) -> bool:
    return run.events("steady").count("two") == times


@pytest.mark.parametrize("why", ["full disk", "gone reader"])
def test_a_log_that_can_not_be_written_ends_nothing(start: Start, why: str) -> None:
    with unwritable(why) as log:
        run = start(("one", "talkative"), ("two", "plain"), stderr=log).wait_until_ready()
    run.wait_for(lambda: "one" in run.events("steady"))
    for times in (2, 3):
        os.kill(run.pids("two")[-1], signal.SIGKILL)
        run.wait_for(partial(has_steadied, run, times))
    run.process.send_signal(signal.SIGTERM)
    assert run.process.wait(timeout=15) in (0, 120)
    assert run.events("start").count("one") == 1
    assert run.events("term") == ["two", "one"]


def test_a_child_that_overruns_its_grace_is_killed_though_nothing_can_be_said(
    start: Start,
) -> None:
    with unwritable("full disk") as log:
        run = start(("one", "plain"), ("two", "stubborn"), grace_s=1, stderr=log)
    run.wait_until_ready().process.send_signal(signal.SIGTERM)
    run.process.wait(timeout=15)
    assert run.events("term") == ["two", "one"]
    assert run.all_gone()


@pytest.mark.parametrize("what", ["process", "thread"])
def test_a_child_for_which_there_is_no_room_is_started_later(start: Start, what: str) -> None:
    run = start(("one", "plain"), ("two", "plain")).wait_until_ready()
    run.refuse_once(what)
    os.kill(run.pids("two")[0], signal.SIGKILL)
    run.wait_for(lambda: has_steadied(run, 2))
    run.process.send_signal(signal.SIGTERM)
    stderr = run.finish()
    assert "two could not be run: " in stderr and "no room; starting it again in 0.1 s" in stderr
    assert (run.process.returncode, run.all_gone()) == (0, True)
    assert run.events("term") == ["two", "one"]


def test_a_watchdog_for_which_there_is_no_room_is_started_later(start: Start) -> None:
    run = start(("one", "plain"), ("two", "plain")).wait_until_ready()
    (first,) = run.watchdogs()
    run.refuse_once("process")
    os.kill(first, signal.SIGKILL)
    run.wait_for(lambda: run.was_refused("process"))
    # Begun while there is no watchdog: the next one is told of it.
    os.kill(run.pids("two")[0], signal.SIGKILL)
    run.wait_for(lambda: has_steadied(run, 2))
    run.wait_for(lambda: run.watchdogs() not in ([], [first]))
    run.process.send_signal(signal.SIGTERM)
    run.finish()
    assert (run.process.returncode, run.all_gone()) == (0, True)
