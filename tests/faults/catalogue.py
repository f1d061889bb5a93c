"""The faults. Each does its damage and returns the moment from which recovery counts.

That is the injection itself for what happens at once, and the end of the fault for what lasts.
"""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from faults.bundles import corrupt_new_bundle
from faults.clocks import shift_clock
from faults.images import bomb
from faults.scene import GATEWAY, WORKER, Scene
from support.containers import (
    docker,
    kill_main,
    kill_redis,
    networks_of,
    run_python,
    signal_child,
    started_at,
    wait_until_restarted,
)
from support.waits import wait_until
from support.work_in_hand import catch_child, catch_container

_STACKS = Path(__file__).parent / "stacks"
CALLBACKS = _STACKS / "callbacks.yml"
SMALL_DISK = _STACKS / "small-disk.yml"
SMALL_MEMORY = _STACKS / "small-memory.yml"
CLOCKS = _STACKS / "clocks.yml"

_PAUSE_S = 30.0
_ISOLATION_S = 40.0
"""Longer than the visibility timeout: the job in hand is given to another meanwhile."""
_SHORTAGE_S = 15.0


@dataclass(frozen=True)
class Fault:
    """One way to break the stack.

    Attributes:
        name: on the command line and in the tables.
        does: for the reader of the table.
        inject: does it; returns the moment from which recovery counts.
        override: what must be laid over the compose file for it; None is the stack as it ships.
        expected_failures: jobs that may end as failed in each run.
        recovers_in_s: until all is as before, at the most; some three times what was measured.
        answers_in_s: from a radiograph's offer to its answer, at the most.
    """

    name: str
    does: str
    inject: Callable[[Scene], float]
    override: Path | None = None
    expected_failures: int = 0
    recovers_in_s: float = 15.0
    answers_in_s: float = 15.0


def _kill_worker_child(scene: Scene) -> float:
    container = scene.container("worker")
    scene.in_hand.append(catch_child(scene.stack, container, WORKER))
    signal_child(container, WORKER, "SIGKILL")
    return time.monotonic()


def _kill_and_see_restarted(scene: Scene, service: str, kill: Callable[[str], None]) -> float:
    container = scene.container(service)
    before = started_at(container)
    kill(container)
    killed = time.monotonic()
    wait_until_restarted(container, before)
    return killed


def _kill_worker(scene: Scene) -> float:
    scene.in_hand.append(catch_child(scene.stack, scene.container("worker"), WORKER))
    return _kill_and_see_restarted(scene, "worker", lambda it: kill_main(it, WORKER))


def _kill_gateway(scene: Scene) -> float:
    return _kill_and_see_restarted(scene, "gateway", lambda it: kill_main(it, GATEWAY))


def _kill_redis(scene: Scene) -> float:
    return _kill_and_see_restarted(scene, "redis", kill_redis)


def _pause_redis(scene: Scene) -> float:
    container = scene.container("redis")
    docker("pause", container)
    return _thaw_after(container, _PAUSE_S)


def _freeze_worker(scene: Scene) -> float:
    container = scene.container("worker")
    scene.in_hand.append(catch_container(scene.stack, container))
    return _thaw_after(container, _ISOLATION_S)


def _thaw_after(container: str, seconds: float) -> float:
    try:
        time.sleep(seconds)
    finally:
        docker("unpause", container)
    return time.monotonic()


def _cut_worker_off(scene: Scene) -> float:
    container = scene.container("worker")
    networks = networks_of(container)
    scene.in_hand.append(catch_container(scene.stack, container))
    try:
        for network in networks:
            docker("network", "disconnect", network, container)
    finally:
        docker("unpause", container)
    try:
        time.sleep(_ISOLATION_S)
    finally:
        for network in networks:
            docker("network", "connect", "--alias", "worker", network, container)
    return time.monotonic()


_FILL = """
import errno, os, sys
with open("/var/lib/tbscreen/blobs/.filler", "wb", buffering=0) as filler:
    try:
        while True:
            filler.write(bytes(2**16))
    except OSError as error:
        assert error.errno == errno.ENOSPC, error
"""
_EMPTY = "import os; os.unlink('/var/lib/tbscreen/blobs/.filler')"


def _fill_disk(scene: Scene) -> float:
    gateway = scene.container("gateway")
    deadline = time.monotonic() + _SHORTAGE_S
    while time.monotonic() < deadline:
        # Again and again: each answered radiograph leaves a gap for the next.
        run_python(gateway, _FILL)
        time.sleep(1)
    run_python(gateway, _EMPTY)
    return time.monotonic()


def _exhaust_redis(scene: Scene) -> float:
    before = scene.stack.redis_cli("CONFIG", "GET", "maxmemory").split()[-1]
    scene.stack.redis_cli("CONFIG", "SET", "maxmemory", "1mb")
    try:
        time.sleep(_SHORTAGE_S)
    finally:
        scene.stack.redis_cli("CONFIG", "SET", "maxmemory", before)
    return time.monotonic()


def _poison(scene: Scene) -> float:
    entry = scene.send(bomb(), timeout_s=90)
    lifted = time.monotonic()
    end = f"{entry.status or 'unfinished'} {entry.error_code} after {entry.attempts} attempts"
    assert end == "failed worker_lost after 3 attempts", f"the poison image is {end}"
    dead = scene.stack.redis_cli("ZSCORE", "tbscreen:dead", entry.job_id)
    assert dead, "the poison image is not on the dead-letter list"
    scene.note(f"poison: {end}, on the dead-letter list")
    return lifted


def _restart_everything(scene: Scene) -> float:
    for service, grace_s in (("worker", 30), ("gateway", 20), ("redis", 10)):
        for container in scene.containers(service):
            docker("restart", "--time", str(grace_s), container, timeout_s=90)
            wait_until(
                functools.partial(_is_healthy, container),
                timeout_s=90,
                every_s=0.2,
                what=f"a healthy {service}",
            )
    return time.monotonic()


def _is_healthy(container: str) -> bool:
    return docker("inspect", "--format", "{{.State.Health.Status}}", container) == "healthy"


# A lost worker's job waits some 7 s until it is given to another.
_loss = functools.partial(Fault, recovers_in_s=25.0, answers_in_s=25.0)

FAULTS = (
    _loss("kill-child", "SIGKILL for a worker's child in mid-job", _kill_worker_child),
    _loss("kill-worker", "SIGKILL for a worker's main process", _kill_worker),
    Fault("kill-gateway", "SIGKILL for the gateway", _kill_gateway),
    Fault("kill-redis", "SIGKILL for Redis", _kill_redis),
    Fault(
        "pause-redis",
        "Redis stands still for 30 s",
        _pause_redis,
        answers_in_s=_PAUSE_S + 20,
    ),
    _loss("freeze-worker", "a worker stands still for 40 s", _freeze_worker),
    _loss("cut-worker", "a worker is off the network for 40 s", _cut_worker_off),
    Fault(
        "corrupt-bundle",
        "three damaged bundles are activated, then a sound one, damaged in use",
        corrupt_new_bundle,
    ),
    Fault(
        "redis-memory",
        "Redis has no memory left for 15 s",
        _exhaust_redis,
        # What was accepted a moment before is begun when there is memory again.
        answers_in_s=_SHORTAGE_S + 15,
    ),
    Fault("rolling-restart", "every container is restarted, one by one", _restart_everything),
    Fault("full-disk", "the uploads' disk is full for 15 s", _fill_disk, SMALL_DISK),
    Fault(
        "poison",
        "an image that exhausts its worker's memory",
        _poison,
        SMALL_MEMORY,
        expected_failures=1,
        answers_in_s=45.0,
    ),
    Fault(
        "clock-worker",
        "a worker's clock jumps 1 h ahead, 2 h back",
        lambda scene: shift_clock(scene, "worker"),
        CLOCKS,
    ),
    Fault(
        "clock-gateway",
        "the gateway's clock jumps likewise",
        lambda scene: shift_clock(scene, "gateway"),
        CLOCKS,
    ),
    Fault(
        "clock-redis",
        "Redis' clock jumps likewise",
        lambda scene: shift_clock(scene, "redis"),
        CLOCKS,
    ),
    Fault(
        "clock-all",
        "all clocks jump likewise, together",
        lambda scene: shift_clock(scene, "redis", "gateway", "worker"),
        CLOCKS,
    ),
)
