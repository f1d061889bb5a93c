"""Reads files in a process of its own, with bounded memory and processor time.

`python -m support.hostile.reader` is that process: it reads path after path, until one ends it. A
crash, an endless loop or a gigabyte is then one file's outcome, and the next is read by another.
"""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from support.hostile.outcome import outcome_of
from tbscreen_shared.imaging import ImageLimits

_TESTS: Final = Path(__file__).parents[2]
_STATUS: Final = Path("/proc/self/status")
_FORGET_PEAK: Final = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Bounds:
    """What one file is given.

    Attributes:
        max_pixels: as ImageLimits'.
        memory_mib: as ImageLimits' `max_memory_bytes`; beyond it, the kernel refuses.
        processor_s: beyond it, the process is ended.
    """

    max_pixels: int
    memory_mib: int
    processor_s: float

    @property
    def limits(self) -> ImageLimits:
        return ImageLimits(max_pixels=self.max_pixels, max_memory_bytes=self.memory_mib * 2**20)


@dataclass(frozen=True)
class Reading:
    """How the reading of one file ended.

    Attributes:
        outcome: `read`, an error code, or what must never happen: an exception, a broken
            invariant, or a signal (SIGPROF: the processor time was used up).
        processor_s: user and system time.
        peak_mib: by how much resident memory grew at its most.
    """

    outcome: str
    processor_s: float
    peak_mib: float


class Reader:
    """Reads one file after the other."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._process = self._start()

    def _start(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", __name__, json.dumps(asdict(self._bounds))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # libtiff writes there.
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": str(_TESTS)},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def read(self, path: Path) -> Reading:
        """Reads a file, in the bounds."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if answer:
            return Reading(**json.loads(answer))
        status = self._process.wait()
        self._process.communicate()
        self._process = self._start()
        outcome = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        return Reading(outcome, self._bounds.processor_s, self._bounds.memory_mib)


def _serve(bounds: Bounds) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Not a handler: Python's would wait for the decoder's C code to return.
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    for line in sys.stdin:
        _FORGET_PEAK.write_text("5")
        begun_s, held_mib = time.process_time(), _memory_mib("VmRSS")
        signal.setitimer(signal.ITIMER_PROF, bounds.processor_s)
        outcome = outcome_of(Path(line.rstrip("\n")), bounds.limits)
        signal.setitimer(signal.ITIMER_PROF, 0)
        took_s, peak_mib = time.process_time() - begun_s, _memory_mib("VmHWM")
        print(json.dumps(asdict(Reading(outcome, took_s, peak_mib - held_mib))), flush=True)


def _memory_mib(field: str) -> float:
    found = re.search(rf"^{field}:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


if __name__ == "__main__":
    _serve(Bounds(**json.loads(sys.argv[1])))
