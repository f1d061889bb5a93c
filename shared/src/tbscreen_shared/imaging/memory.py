"""A bound on the memory that decoding one image may take."""

import ctypes
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tbscreen_shared.errors import ErrorCode, ImageError

_STATM: Final = Path("/proc/self/statm")
_DATA_AND_STACK: Final = 5
"""Its place in statm (proc_pid_statm(5)), in pages."""


class _Mallinfo2(ctypes.Structure):
    """mallinfo(3); glibc 2.33 or newer."""

    _fields_ = [  # ctypes' way to declare a struct
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


@contextmanager
def bounded_memory(allowance_bytes: int | None) -> Iterator[None]:
    """Refuses this process more than an allowance beyond what is in use at the beginning.

    The kernel then refuses a decoder memory instead of killing a process for it, this one or
    another. The bound is the whole process's, so a thread beside the decoding may be refused as
    well; and it needs Linux: elsewhere nothing is bounded.

    Args:
        allowance_bytes: of writable memory of its own; None for no bound.

    Raises:
        ImageError: `image_too_large`, when more was asked for.
    """
    if allowance_bytes is None or not _STATM.exists():
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bound = _used_bytes() + allowance_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (_least(bound, soft, hard), hard))
    try:
        yield
    except MemoryError:
        raise ImageError(
            ErrorCode.IMAGE_TOO_LARGE, "reading the image takes more memory than is allowed"
        ) from None
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _used_bytes() -> int:
    mapped = int(_STATM.read_text().split()[_DATA_AND_STACK]) * resource.getpagesize()
    return mapped - _kept_bytes()


def _kept_bytes() -> int:
    """What glibc keeps of freed memory: a decoder is given that first, and the kernel not asked."""
    try:
        mallinfo2 = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        return 0
    mallinfo2.restype = _Mallinfo2
    return int(mallinfo2().fordblks)


def _least(*limits: int) -> int:
    return min(limit for limit in limits if limit != resource.RLIM_INFINITY)
