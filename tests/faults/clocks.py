"""Shifts containers' wall clocks, and makes sure that their services go by the shifted ones."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime

import httpx

from faults.scene import Scene, living_workers
from support.containers import docker
from support.waits import wait_until

_SHIFT_S = 3600
_SHIFTED_FOR_S = 10.0
_TOLERANCE_S = 15.0
"""A worker's newest beat may be some seconds old, and a loaded machine adds to them."""


def shift_clock(scene: Scene, *services: str) -> float:
    """Moves services' clocks an hour ahead, two hours back, and to the true time.

    Of one service its first container's, of several all containers', as a step of the host's clock.

    Raises:
        AssertionError: the clock did not move, or its service does not go by it.
    """
    try:
        for offset_s in (_SHIFT_S, -_SHIFT_S):
            _set(scene, services, offset_s)
            _check(scene, services, offset_s)
            time.sleep(_SHIFTED_FOR_S)
    finally:
        _set(scene, services, 0)
    righted = time.monotonic()
    _check(scene, services, 0)
    named = ", ".join(services)
    scene.note(f"own clock seen an hour ahead, an hour back, and right again: {named}")
    return righted


def _set(scene: Scene, services: Sequence[str], offset_s: int) -> None:
    for container in _shifted(scene, services):
        docker("exec", container, "sh", "-c", f"echo {offset_s} > /tmp/clock-offset-s")


def _shifted(scene: Scene, services: Sequence[str]) -> list[str]:
    if len(services) == 1:
        return [scene.container(services[0])]
    return [container for service in services for container in scene.containers(service)]


def _check(scene: Scene, services: Sequence[str], offset_s: int) -> None:
    for service in services:
        _check_one(scene, service, offset_s)


def _check_one(scene: Scene, service: str, offset_s: int) -> None:
    container = scene.container(service)
    seen_s = float(docker("exec", container, "date", "+%s")) - time.time()
    assert _is(seen_s, offset_s), f"{service}: `date` is {seen_s:+.0f} s off, not {offset_s:+}"

    def serves_it() -> bool:
        told_s = _CLOCKS[service](scene)
        return told_s is not None and _is(told_s - time.time(), offset_s)

    what = f"the {service} to go by a clock that is {offset_s:+} s off"
    wait_until(serves_it, timeout_s=20, every_s=0.2, what=what)


def _is(seen_s: float, offset_s: int) -> bool:
    return abs(seen_s - offset_s) < _TOLERANCE_S


def _worker_clock(scene: Scene) -> float | None:
    """Returns when the victim's newest beat was made, by itself."""
    # A container's host name, with which its workers' names begin.
    host = scene.container("worker")[:12]
    beats = [
        datetime.fromisoformat(worker["at"]).timestamp()
        for worker in living_workers(scene.stack)
        if worker["name"].startswith(f"{host}/")
    ]
    return beats[0] if beats else None


def _gateway_clock(scene: Scene) -> float | None:
    response = httpx.get(f"{scene.stack.url}/livez", timeout=5, trust_env=False)
    return parsedate_to_datetime(response.headers["date"]).timestamp()


def _redis_clock(scene: Scene) -> float | None:
    return float(scene.stack.redis_cli("TIME").split()[0])


_CLOCKS: dict[str, Callable[[Scene], float | None]] = {
    "worker": _worker_clock,
    "gateway": _gateway_clock,
    "redis": _redis_clock,
}
