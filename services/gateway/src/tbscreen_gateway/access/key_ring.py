"""The keys, read again when their file changes, so that none is made or revoked by a restart."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from tbscreen_shared.access import ApiKey, KeyFileError, KeyState, read_keys, recognise

logger = logging.getLogger(__name__)

_Stamp = tuple[int, int, int, int]


class KeyRing:
    """The keys that are in a file now, looked at each time one is asked for.

    A file that is damaged or gone leaves the keys that were read before it as they were: `check`
    then says so. Safe to use from several threads.

    Args:
        path: the file; None for no keys at all.

    Raises:
        KeyFileError: it is there and can not be read; there are no keys before it to go on with.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._keys: Mapping[str, ApiKey] = {}
        self._stamp: _Stamp | None = None
        self._problem: str | None = None
        with suppress(FileNotFoundError):
            self._read()

    @property
    def has_file(self) -> bool:
        """Whether there is a file to look at, even if nobody has made it yet."""
        return self._path is not None

    def keys(self) -> Sequence[ApiKey]:
        """Returns every key, whatever its state."""
        self._refresh()
        return list(self._keys.values())

    def recognise(self, token: str) -> ApiKey | None:
        """Returns the key that the token is of, whatever its state."""
        self._refresh()
        return recognise(token, self._keys)

    def find_valid(self, key_id: str) -> ApiKey | None:
        """Returns the key with this id, if it is valid now."""
        self._refresh()
        key = self._keys.get(key_id)
        return key if key is not None and key.state(datetime.now(UTC)) is KeyState.VALID else None

    def check(self) -> str | None:
        """Returns why the file, as it is now, is not what decides; None where it does."""
        self._refresh()
        return self._problem

    def _refresh(self) -> None:
        try:
            if self._read():
                self._problem = None
                logger.info("read the API keys anew", extra={"keys": len(self._keys)})
        except FileNotFoundError:
            if self._keys:
                self._complain(f"{self._path} is gone")
        except KeyFileError as error:
            self._complain(str(error))

    def _read(self) -> bool:
        """Reads the file if it is not the one that was read; returns whether it was not."""
        if self._path is None:
            return False
        # Before the file is read: what is written in between is then seen the next time.
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return False
        self._keys = {key.id: key for key in read_keys(self._path)}
        self._stamp = stamp
        return True

    def _complain(self, problem: str) -> None:
        # The file is looked at with every request until it is mended.
        self._stamp = None
        if problem != self._problem:
            self._problem = problem
            logger.error("the API keys read before still hold", extra={"problem": problem})


def _stamp(path: Path) -> _Stamp:
    try:
        found = path.stat()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise KeyFileError(f"{path} can not be read: {error.strerror}") from error
    # The time of the inode's change as well: a file that becomes readable has no other mark.
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
