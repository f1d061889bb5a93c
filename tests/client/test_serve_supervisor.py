"""The supervisor over real child processes. Each test runs it as a process of its own."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.supervised import Start, is_alive, supervised_runs


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with supervised_runs(tmp_path) as begin:
        yield begin


THREE = (("one", "plain"), ("two", "plain"), ("three", "plain"))


def test_starts_in_order_and_stops_in_reverse(start: Start) -> None:
    run = start(*THREE).wait_until_ready()
    run.process.send_signal(signal.SIGTERM)
    stderr = run.finish()
    assert run.process.returncode == 0
    assert run.events("start") == ["one", "two", "three"]
    assert run.events("term") == ["three", "two", "one"]
    assert run.all_gone()
    assert "one      | hello from one" in stderr.splitlines()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_ending_signal_ends_everything(start: Start, number: signal.Signals) -> None:
    run = start(*THREE).wait_until_ready()
    run.process.send_signal(number)
    run.finish()
    assert (run.process.returncode, run.all_gone()) == (0, True)


def test_signal_during_the_start_ends_what_was_started(start: Start) -> None:
    run = start(("one", "plain"), ("two", "unready"), ("three", "plain"))
    run.wait_for(lambda: "two" in run.events("start"))
    run.process.send_signal(signal.SIGTERM)
    run.finish()
    assert run.process.returncode == 0
    assert run.events("start") == ["one", "two"]
    assert run.all_gone()


def test_killed_child_is_named_and_started_again(start: Start) -> None:
    run = start(*THREE).wait_until_ready()
    os.kill(run.pids("two")[0], signal.SIGKILL)
    run.wait_for(lambda: len(run.pids("two")) == 2)
    run.process.send_signal(signal.SIGTERM)
    assert "two was killed by SIGKILL; starting it again in 0.05 s" in run.finish()
    assert run.events("start") == ["one", "two", "three", "two"]
    assert run.events("term") == ["three", "two", "one"]


def test_crash_loop_ends_everything_and_says_so(start: Start) -> None:
    run = start(("one", "plain"), ("two", "crashing"))
    stderr = run.finish()
    assert run.process.returncode == 1
    assert run.events("start").count("two") == 4
    assert "two exited with code 7; starting it again in 0.2 s" in stderr
    assert "gave up: two exited with code 7; that was its death number 4 within 60 s" in stderr
    assert run.all_gone()


def test_child_that_may_crash_on_is_started_again_however_often_it_dies(
    start: Start, tmp_path: Path
) -> None:
    run = start(("two", "crashing on"), ("three", "unready"))
    assert "gave up: two exited" in run.finish(), "not while the whole has not started"
    (tmp_path / "log").unlink()
    room = tmp_path / "log.room"
    room.touch()
    run = start(("one", "plain"), ("two", "crashing on")).wait_until_ready()
    run.wait_for(lambda: "two" in run.events("steady"))
    room.unlink()
    os.kill(run.pids("two")[0], signal.SIGKILL)
    run.wait_for(lambda: len(run.pids("two")) >= 6)
    room.touch()
    # The sixth may look only now, and stay.
    run.wait_for(lambda: run.events("steady").count("two") == 2)
    assert is_alive(run.pids("two")[-1])
    run.process.send_signal(signal.SIGTERM)
    run.finish()
    assert run.process.returncode == 0
    assert run.events("start").count("one") == 1


def test_start_that_takes_too_long_ends_everything(start: Start) -> None:
    run = start(("one", "plain"), ("two", "unready"), start_timeout_s=6.0)
    assert "gave up: two was not ready within 6 s" in run.finish()
    assert run.process.returncode == 1
    assert run.all_gone()


def test_stubborn_child_is_killed_after_its_grace(start: Start) -> None:
    run = start(("one", "plain"), ("two", "stubborn"), grace_s=3).wait_until_ready()
    run.process.send_signal(signal.SIGTERM)
    assert "two did not end within 3 s; killing it" in run.finish()
    assert run.events("term") == ["two", "one"]
    assert (run.process.returncode, run.all_gone()) == (0, True)


def test_second_interrupt_kills(start: Start) -> None:
    run = start(("one", "plain"), ("two", "stubborn"), grace_s=60).wait_until_ready()
    run.process.send_signal(signal.SIGINT)
    run.wait_for(lambda: "two" in run.events("term"))
    time.sleep(0.7)
    assert is_alive(run.pids("two")[0])
    run.process.send_signal(signal.SIGINT)
    run.finish(timeout_s=10)
    assert run.all_gone()


def test_interrupt_that_arrives_twice_at_once_does_not_kill(start: Start) -> None:
    children = ("one", "plain"), ("two", "stubborn")
    run = start(*children, grace_s=2, same_signal_s=60).wait_until_ready()
    run.process.send_signal(signal.SIGINT)
    run.wait_for(lambda: "two" in run.events("term"))
    run.process.send_signal(signal.SIGINT)
    assert "two did not end within 2 s" in run.finish()


def test_children_have_sessions_of_their_own(start: Start) -> None:
    run = start(*THREE).wait_until_ready()
    for name in ("one", "two", "three"):
        (pid,) = run.pids(name)
        assert os.getsid(pid) == pid
    (watchdog,) = run.watchdogs()
    assert os.getsid(watchdog) == watchdog


def test_children_do_not_outlive_a_killed_supervisor(start: Start) -> None:
    run = start(("one", "parent"), ("two", "stubborn"), grace_s=3).wait_until_ready()
    run.wait_for(lambda: bool(run.pids("one-grandchild")))
    run.kill()
    run.wait_for(run.all_gone)
    assert run.events("term") == ["two", "one"]


def test_folder_stays_locked_until_a_killed_supervisors_children_are_gone(start: Start) -> None:
    first = start(("one", "stubborn"), grace_s=5).wait_until_ready()
    started = time.monotonic()
    first.kill()
    second = start(("two", "plain"))
    second.wait_for(lambda: bool(second.pids("two")))
    assert time.monotonic() - started > 4
    assert not is_alive(first.pids("one")[0])


def test_dead_watchdog_is_replaced(start: Start) -> None:
    run = start(*THREE).wait_until_ready()
    (first,) = run.watchdogs()
    os.kill(first, signal.SIGKILL)
    run.wait_for(lambda: run.watchdogs() not in ([], [first]))
    time.sleep(0.5)  # the new one reads its orders
    run.kill()
    run.wait_for(run.all_gone)


def test_dead_childs_own_children_do_not_live_on(start: Start) -> None:
    run = start(("one", "parent")).wait_until_ready()
    run.wait_for(lambda: bool(run.pids("one-grandchild")))
    os.kill(run.pids("one")[0], signal.SIGKILL)
    run.wait_for(lambda: len(run.pids("one")) == 2)
    run.wait_for(lambda: not is_alive(run.pids("one-grandchild")[0]))
