"""Files of a run directory, written so that a killed step leaves the old one or the new one."""

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a path beside `path` to write to; it takes `path`'s place when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Keras tells a weights file by its suffix, so the suffix must stay.
    partial = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a whole file or nothing."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def write_csv(path: Path, columns: list[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Writes a table with a header line, whole or not at all."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode())


def read_csv(path: Path) -> list[dict[str, str]]:
    """Reads a table with a header line."""
    with path.open(newline="", encoding="utf-8-sig") as stream:
        return list(csv.DictReader(stream))
