"""The file of API keys: JSON, readable by its owner alone, replaced whole."""

import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Self

from pydantic import ValidationError, model_validator

from tbscreen_shared.access.api_keys import ApiKey
from tbscreen_shared.contracts import Frozen


class KeyFileError(Exception):
    """The file can not be read or written. The message names it and quotes nothing of it."""


class _KeyFile(Frozen):
    schema_version: Literal[1] = 1
    keys: tuple[ApiKey, ...]

    @model_validator(mode="after")
    def _each_id_is_one_key(self) -> Self:
        if any(count > 1 for count in Counter(key.id for key in self.keys).values()):
            raise ValueError("two keys have the same id")
        return self


def read_keys(path: Path) -> list[ApiKey]:
    """Returns the keys in the file, in its order.

    Raises:
        FileNotFoundError: there is none.
        KeyFileError: it is damaged, of another schema, or can not be read.
    """
    try:
        return list(_KeyFile.model_validate_json(path.read_bytes()).keys)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise KeyFileError(f"{path} can not be read: {error.strerror}") from error
    except ValidationError as error:
        # Not from the error: its text quotes the file.
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise KeyFileError(f"{path} is damaged: {place or 'the file'}: {first['msg']}") from None


@contextmanager
def edited_keys(path: Path) -> Iterator[list[ApiKey]]:
    """Gives the file's keys to be changed in place, and writes them when the block ends well.

    Where there is no file there are no keys, and one is made. One editor at a time: the next one
    waits. A reader sees the old file or the new one.

    Raises:
        KeyFileError: the file is damaged, or can not be read or written; nothing is changed.
    """
    # POSIX, unlike the rest of this module; only who changes keys needs it.
    import fcntl

    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise KeyFileError(f"{path.parent} can not be used: {error.strerror}") from error
    try:
        # The folder, since the file is replaced; the lock ends with the descriptor.
        fcntl.flock(folder, fcntl.LOCK_EX)
        keys = read_keys(path) if path.exists() else []
        yield keys
        try:
            _replace(path, _KeyFile(keys=tuple(keys)))
            os.fsync(folder)
        except OSError as error:
            raise KeyFileError(f"{path} can not be written: {error.strerror}") from error
    finally:
        os.close(folder)


def _replace(path: Path, content: _KeyFile) -> None:
    # Made with mode 0600.
    handle, name = tempfile.mkstemp(prefix=".keys-", dir=path.parent)
    partial = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(content.model_dump_json(indent=2) + "\n")
            stream.flush()
            _keep_owner(path, stream.fileno())
            os.fsync(stream.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _keep_owner(path: Path, partial: int) -> None:
    """Gives the new file the old one's owner; root's first one, the folder's.

    Made by root for a gateway that is not, it would else be one that the gateway can not read, and
    a revoked key would stay valid.
    """
    if path.exists():
        owner = path.stat()
    elif os.geteuid() == 0:
        owner = path.parent.stat()
    else:
        return
    if owner.st_uid != os.geteuid():
        os.fchown(partial, owner.st_uid, owner.st_gid)
