"""From a set's name to its unpacked folder, ready to be given as --data."""

import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Final

from tbscreen_shared.bundle.store import sha256_of
from tbscreen_training.errors import TrainingError
from tbscreen_training.fetch.archive import unpack
from tbscreen_training.fetch.download import Progress, download
from tbscreen_training.fetch.registry import DataSet
from tbscreen_training.files import write_atomically
from tbscreen_training.sources import read_samples

_LINE_EVERY_S: Final = 5.0
_REDRAW_EVERY_S: Final = 0.2


def fetch(data_set: DataSet, folder: Path, *, archive: Path | None, url: str | None) -> Path:
    """Downloads, checks and unpacks a set, after showing its licence; what is there is kept.

    Args:
        data_set: which.
        folder: of data sets; the archive and its checksum stay in it, beside the set's folder.
        archive: a copy that was downloaded otherwise; nothing is downloaded then.
        url: a mirror instead of the publisher's address.

    Returns:
        the set's folder.

    Raises:
        TrainingError: no way to download it, no connection, a wrong checksum, no room, or what
            was unpacked is not the set.
    """
    sys.stdout.write(data_set.describe())
    unpacked = folder / data_set.name
    if not unpacked.is_dir():
        file = archive or _downloaded(data_set, folder, url)
        if not file.is_file():
            raise TrainingError(f"there is no file {file}")
        _check(data_set, file, folder, ours=archive is None)
        unpack(file, unpacked)
    counts = Counter(sample.label for sample in read_samples(unpacked, data_set.name, "auto"))
    summary = ", ".join(f"{count} {label}" for label, count in sorted(counts.items()))
    sys.stdout.write(f"{unpacked}: {counts.total()} images ({summary})\n")
    return unpacked


def _downloaded(data_set: DataSet, folder: Path, url: str | None) -> Path:
    file = folder / data_set.archive
    if file.is_file():
        return file
    address = url or data_set.url
    if address is None:
        raise TrainingError(
            f"{data_set.name} can not be downloaded by a program. {data_set.by_hand} Then run this "
            f"command again with --archive {data_set.archive}."
        )
    if data_set.bytes is not None:
        sys.stdout.write(f"  size      {data_set.bytes / 1e6:.0f} MB, before it is unpacked\n")
    download(address, file, progress=_show_progress())
    return file


def _check(data_set: DataSet, file: Path, folder: Path, *, ours: bool) -> None:
    """Compares with the stated checksum, else with the one recorded here at the first download."""
    record = folder / f"{data_set.archive}.sha256"
    found = sha256_of(file)
    stated = data_set.sha256
    if stated is None and record.is_file():
        stated = record.read_text().split()[0]
    if stated is not None and found != stated:
        if ours:
            file.unlink()
        raise TrainingError(
            f"{file.name} has the checksum {found}, not {stated}: it is damaged or another version"
            + (", and was removed. Fetch it again." if ours else ".")
        )
    if stated is None:
        sys.stdout.write(f"  recorded  sha256 {found}, which no one vouches for, in {record}\n")
    record.parent.mkdir(parents=True, exist_ok=True)
    # The form that `sha256sum --check` reads.
    write_atomically(record, f"{found}  {data_set.archive}\n".encode())


def _show_progress() -> Progress:
    drawn = shutil.get_terminal_size().columns if sys.stderr.isatty() else 0
    every_s = _REDRAW_EVERY_S if drawn else _LINE_EVERY_S
    started = last = time.monotonic()
    first: int | None = None

    def show(there: int, total: int | None) -> None:
        nonlocal last, first
        first = there if first is None else first
        now = time.monotonic()
        if now - last < every_s and there != total:
            return
        last = now
        speed = (there - first) / max(now - started, 1e-3)
        share = f" of {total / 1e6:.0f} MB ({there / total:.0%})" if total else " MB"
        line = f"{there / 1e6:.0f}{share}, {speed / 1e6:.1f} MB/s"
        ending = "\n" if not drawn or there == total else ""
        sys.stderr.write(f"\r{line:<{drawn - 1}}{ending}" if drawn else f"{line}{ending}")
        sys.stderr.flush()

    return show
