"""What the terminal shows: the children's lines behind their names, and the supervisor's own."""

import threading
from typing import Final

from rich.console import Console
from rich.text import Text

_STYLES: Final = {"gateway": "cyan", "worker": "green", "redis": "magenta"}
_NAME_WIDTH: Final = 8


class Journal:
    """Prints lines; safe to share between threads.

    Args:
        console: where to; the styles vanish where it is no terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
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
