"""Where lines go: standard output or a file, below them a progress bar on a terminal."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Output:
    """Takes the lines of a run. Each is flushed, so that a reader follows the run."""

    def __init__(self, stream: TextIO, progress: Progress | None, total: int) -> None:
        self._stream = stream
        self._progress = progress
        self._task = progress.add_task("", total=total) if progress else None

    def write(self, line: str) -> None:
        """Writes a line."""
        if self._progress and self._stream.isatty():
            # A bar is on the same screen: only its own console can write above it.
            self._progress.console.out(line, highlight=False)
        else:
            self._stream.write(line + "\n")
            self._stream.flush()

    def advance(self) -> None:
        """Moves the progress bar by one file."""
        if self._progress and self._task is not None:
            self._progress.advance(self._task)


@contextmanager
def open_output(path: Path | None, total: int) -> Iterator[Output]:
    """Opens the output: the file `path`, or standard output for None.

    Raises:
        OSError: the file can not be written.
    """
    with ExitStack() as stack:
        stream: TextIO = sys.stdout
        if path is not None:
            # newline="": lines end in \n on every system.
            stream = stack.enter_context(path.open("w", encoding="utf-8", newline=""))
        progress = None
        if sys.stderr.isatty():
            progress = stack.enter_context(_make_bar())
        yield Output(stream, progress, total)


def _make_bar() -> Progress:
    return Progress(
        TextColumn("screening"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
