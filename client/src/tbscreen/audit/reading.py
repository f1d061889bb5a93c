"""The lines of an audit log, with their places."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tbscreen_shared.audit import file_number, log_files

_WRITING_S: Final = 0.2
"""A gateway that is just writing leaves a line without its end for less than this."""

_LONGEST_LINE_BYTES: Final = 1024 * 1024


class LogError(Exception):
    """There is no log to be read. The message says why."""


@dataclass(frozen=True)
class Source:
    """Where a line is.

    Attributes:
        file: its file.
        number: the line's, from 1.
        text: the line without its line feed.
        is_whole: whether it had one.
    """

    file: Path
    number: int
    text: bytes
    is_whole: bool

    def __str__(self) -> str:
        return f"{self.file.name}, line {self.number}"

    @property
    def is_of_first_file(self) -> bool:
        """Whether the log begins in this file."""
        return file_number(self.file) == 1


def find_files(path: Path) -> list[Path]:
    """Returns the files of a log, oldest first.

    Args:
        path: a file, or the folder of a log.

    Raises:
        LogError: there is none.
    """
    try:
        files = log_files(path) if path.is_dir() else [path]
        if not files or not all(file.is_file() for file in files):
            raise LogError(f"{path} holds no audit log")
    except OSError as error:
        raise LogError(f"{path} can not be read: {error.strerror}") from error
    return files


def read_lines(files: Sequence[Path]) -> Iterator[Source]:
    """Yields every line, oldest first.

    Raises:
        LogError: a file can not be read.
    """
    for file in files:
        try:
            yield from _lines_of(file)
        except OSError as error:
            raise LogError(f"{file} can not be read: {error.strerror}") from error


def _lines_of(file: Path) -> Iterator[Source]:
    number = 0
    with file.open("rb") as stream:
        while line := stream.readline(_LONGEST_LINE_BYTES):
            if not line.endswith(b"\n"):
                time.sleep(_WRITING_S)
                line += stream.readline(_LONGEST_LINE_BYTES)
            number += 1
            is_whole = line.endswith(b"\n")
            yield Source(file, number, line[:-1] if is_whole else line, is_whole)
