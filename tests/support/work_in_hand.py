"""Catches a worker with a job in its hands: only then does its loss cost anything.

For workers with one pool process each.
"""

import subprocess
import time
from collections.abc import Callable

from support.compose import ComposeStack
from support.containers import docker, signal_child

_TRIED_FOR_S = 60.0
_BETWEEN_S = 0.1

_HOLDERS = """
local found = {}
for _, key in ipairs(redis.call('KEYS', 'tbscreen:lease:*')) do
  local holder = redis.call('GET', key)
  if holder then
    found[#found + 1] = string.sub(key, #'tbscreen:lease:' + 1)
    found[#found + 1] = holder
  end
end
return found
"""


def catch_child(stack: ComposeStack, container: str, program: str) -> str:
    """Stops a worker's pool process (SIGSTOP) while it has a job; returns the job's id.

    It stays stopped, for what is to happen to it.

    Raises:
        AssertionError: it had no job whenever it was stopped.
    """
    return _caught(
        stack,
        container,
        lambda: signal_child(container, program, "SIGSTOP"),
        lambda: signal_child(container, program, "SIGCONT"),
    )


def catch_container(stack: ComposeStack, container: str) -> str:
    """Pauses a worker's container while it has a job; returns the job's id.

    Raises:
        AssertionError: it had no job whenever it was paused.
    """

    def pause() -> int | None:
        docker("pause", container)
        return None

    return _caught(stack, container, pause, lambda: docker("unpause", container))


def _caught(
    stack: ComposeStack,
    container: str,
    stop: Callable[[], int | None],
    go_on: Callable[[], object],
) -> str:
    # Found once: a stopped worker waits for each look.
    look = stack.redis_command("EVAL", _HOLDERS, "0")
    deadline = time.monotonic() + _TRIED_FOR_S
    while time.monotonic() < deadline:
        pid = stop()
        try:
            caught = _jobs_of(look, container, pid)
        except BaseException:
            go_on()
            raise
        # What it told Redis before it was stopped has arrived: no command here is as fast.
        if caught:
            return caught[0]
        go_on()
        time.sleep(_BETWEEN_S)
    raise AssertionError(f"no job in the hands of {container[:12]} in {_TRIED_FOR_S:.0f} s")


def _jobs_of(look: list[str], container: str, pid: int | None) -> list[str]:
    """Returns the jobs whose leases name a container's process: that one, or any."""
    # A container's host name, with which its workers' names begin.
    prefix = f"{container[:12]}/" + ("" if pid is None else f"{pid}-")
    done = subprocess.run(
        look, stdin=subprocess.DEVNULL, check=True, capture_output=True, text=True, timeout=30
    )
    told = done.stdout.split()
    holders = zip(told[::2], told[1::2], strict=True)
    return [job_id for job_id, holder in holders if holder.startswith(prefix)]
