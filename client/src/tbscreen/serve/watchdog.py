"""Ends the children of a supervisor that was killed and could not do it itself.

Run as a script, in a session of its own, with the supervisor's pipe as standard input. A line
`watch RANK PID GRACE_S` puts the process group of a child in its care, `release RANK` takes it out.
When the pipe ends, the supervisor is gone: what is left is stopped, the highest rank first, each
with SIGTERM and, after its grace, SIGKILL. It holds the data folder's lock through an inherited
descriptor, so that nothing new starts on the data before the old processes are gone.

Only the standard library: it is started with -I -S, to be small and to depend on nothing.
"""

import os
import select
import signal
import sys
import time
from contextlib import suppress

_POLL_S = 0.05
_KILLED_S = 10.0


def main() -> None:
    """Reads orders until the pipe ends, then ends what is left."""
    watched: dict[int, tuple[int, float]] = {}
    for line in sys.stdin:
        order, rank, *rest = line.split()
        if order == "watch":
            watched[int(rank)] = int(rest[0]), float(rest[1])
        else:
            watched.pop(int(rank), None)
    for _, (pid, grace_s) in sorted(watched.items(), reverse=True):
        _end(pid, grace_s)


def _end(pid: int, grace_s: float) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGTERM)
        _await_end(pid, grace_s)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
        # Killed is not gone: who is in the midst of a write to the disk ends after it.
        _await_end(pid, _KILLED_S)


def _await_end(pid: int, timeout_s: float) -> None:
    if hasattr(os, "pidfd_open"):
        # Tells of a process that has ended but that its new parent has not reaped: in a container
        # that may take long.
        descriptor = os.pidfd_open(pid)
        select.select([descriptor], [], [], timeout_s)
        os.close(descriptor)
        return
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        os.kill(pid, 0)
        time.sleep(_POLL_S)


if __name__ == "__main__":
    main()
