"""What the terminal shows: the children's lines behind their names, and the supervisor's own."""

import threading
from contextlib import suppress
from typing import IO, Final, cast

from rich.console import Console
from rich.text import Text

_STYLES: Final = {"gateway": "cyan", "worker": "green", "redis": "magenta"}
_NAME_WIDTH: Final = 8


def lossy(console: Console) -> Console:
    """Returns the console, which from now on loses the lines that it can not print."""
    console.file = cast("IO[str]", _Lossy(console.file))
    return console


class Journal:
    """Prints lines; safe to share between threads. Lines that can not be printed are lost.

    Args:
        console: where to; the styles vanish where it is no terminal. It is `lossy` from now on.
    """

    def __init__(self, console: Console) -> None:
        self._console = lossy(console)
        self._lock = threading.Lock()

    def relay(self, name: str, line: str) -> None:
        """Prints a child's line, unchanged."""
        self._print(name, Text.from_ansi(line), _STYLES.get(name, "blue"))

    def say(self, message: str) -> None:
        """Prints the supervisor's own word."""
        self._print("tbscreen", Text(message, style="bold"), "bold")

    def _print(self, name: str, line: Text, style: str) -> None:
        with self._lock:
            self._console.print(
                Text.assemble((f"{name:<{_NAME_WIDTH}} | ", style), line),
                soft_wrap=True,
                highlight=False,
            )


class _Lossy:
    """A stream that drops what it can not write: a log's full disk must end nothing.

    The console itself would keep it, and exit where a pipe is broken.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)
