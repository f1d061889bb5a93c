"""What is tried before anything is started, so that a mistake costs one line and no process."""

import errno
import fcntl
import os
import socket
import time
from pathlib import Path
from typing import Final

from tbscreen.serve.errors import ServeError

_LOCK: Final = "lock"
_POLL_S: Final = 0.2


def check_port(host: str, port: int) -> None:
    """Checks that `host`:`port` can be listened on.

    Raises:
        ServeError: it is taken, forbidden, or the host is not this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise ServeError(f"no such host: {host} (choose another with --host)") from error
    with socket.socket(family, kind, protocol) as probe:
        # As the server does: a port that an ended server leaves in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise ServeError(_why_not(error, host, port)) from error


def _why_not(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} on {host} is in use: stop what listens there, or choose another with "
            "--port"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this machine: choose another with --host"
    if error.errno == errno.EACCES:
        return f"port {port} may not be listened on by this user: choose one above 1023"
    return f"can not listen on {host}, port {port}: {error.strerror}"


def check_bundle(models_dir: Path) -> None:
    """Checks that a model is published in `models_dir`.

    Raises:
        ServeError: there is none.
    """
    try:
        version = (models_dir / "current").read_text(encoding="utf-8").strip()
        if version and (models_dir / version / "manifest.json").is_file():
            return
    except (OSError, ValueError):  # none, not to be read, or no text
        pass
    raise ServeError(
        f"no model is published in {models_dir}. Name the folder that holds one with --models-dir "
        "or TBSCREEN_MODELS_DIR: the repository's models/ has the default model, and training "
        "publishes to it"
    )


def make_private(folder: Path) -> Path:
    """Creates a folder, with its parents, that only this user can read; returns it.

    Raises:
        ServeError: it can not be created.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:
        raise ServeError(f"can not use {folder} as a data folder: {error.strerror}") from error
    return folder


def lock_folder(folder: Path, *, patience_s: float) -> int:
    """Takes the folder for this process and returns the lock's descriptor.

    Where the last holder was killed, its watchdog keeps the lock until its processes have ended;
    that is waited for.

    Args:
        folder: existing folder.
        patience_s: the longest wait for a killed holder's processes.

    Raises:
        ServeError: another `tbscreen serve` has it.
    """
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError as error:
            holder = os.pread(lock, 32, 0).decode(errors="replace").strip()
            if _is_alive(holder) or time.monotonic() > deadline:
                os.close(lock)
                raise ServeError(
                    f"another `tbscreen serve` (process {holder or 'unknown'}) uses {folder}: stop "
                    "it, or choose another folder with --data-dir"
                ) from error
            time.sleep(_POLL_S)
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (ValueError, PermissionError):
        # Not yet written, or another user's.
        return True
    return True
