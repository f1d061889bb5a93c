"""Unpacks a downloaded archive, whatever is in it, into its folder and nowhere else."""

import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Final

from tbscreen_training.errors import TrainingError

_HEADROOM_BYTES: Final = 64 << 20
_APPLE: Final = "__MACOSX"


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks a zip into `folder`, which exists only when all of it is unpacked.

    Raises:
        TrainingError: it is no whole zip, an entry would lie outside the folder or is a link, or
            the disk has no room for it.
    """
    unfinished = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = [e for e in opened.infolist() if not e.filename.startswith(_APPLE)]
            for entry in entries:
                _refuse_escape(archive, entry)
            _require_room(folder.parent, sum(entry.file_size for entry in entries))
            unfinished.mkdir(parents=True)
            for entry in entries:
                opened.extract(entry, unfinished)
        unfinished.replace(folder)
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError) as error:
        # zipfile raises RuntimeError for an encrypted entry.
        raise TrainingError(f"{archive} is no whole zip archive: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _refuse_escape(archive: Path, entry: zipfile.ZipInfo) -> None:
    inner = PurePosixPath(entry.filename.replace("\\", "/"))
    drive = len(inner.parts) > 0 and ":" in inner.parts[0]
    if inner.is_absolute() or ".." in inner.parts or drive:
        raise TrainingError(f"{archive}: the entry {entry.filename!r} lies outside the archive")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise TrainingError(f"{archive}: the entry {entry.filename!r} is a link")


def _require_room(folder: Path, needed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed + _HEADROOM_BYTES:
        raise TrainingError(
            f"{folder} has {free / 1e9:.1f} GB free; {needed / 1e9:.1f} GB are needed to unpack"
        )
