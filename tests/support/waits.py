"""Waiting for what another thread or process does."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    look: Callable[[], T | None],
    *,
    timeout_s: float = 60,
    every_s: float = 0.05,
    what: str = "it",
) -> T:
    """Returns what `look` sees, as soon as that is something.

    Raises:
        AssertionError: it was nothing, zero or empty for `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited {timeout_s:.0f} s in vain for {what}"
        time.sleep(every_s)
    return found
