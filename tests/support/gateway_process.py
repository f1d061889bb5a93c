"""The gateway as its own process, as it runs in production."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from support.ports import free_port
from support.redis_server import as_user
from tbscreen_shared.redis_users import RedisUser


class GatewayProcess:
    """`python -m tbscreen_gateway` on loopback."""

    def __init__(self, redis_url: str, directory: Path, **settings: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.blobs_dir = directory / "blobs"
        self.log = directory / "gateway.log"
        self._environment = {
            **{name: value for name, value in os.environ.items() if "TBSCREEN" not in name},
            "REDIS_URL": as_user(redis_url, RedisUser.GATEWAY),
            "TBSCREEN_HOST": "127.0.0.1",
            "TBSCREEN_PORT": str(self.port),
            "TBSCREEN_BLOBS_DIR": str(self.blobs_dir),
            "TBSCREEN_MODELS_DIR": str(directory / "models"),
            "TBSCREEN_AUDIT_DIR": str(directory / "audit"),
            **{f"TBSCREEN_{name.upper()}": value for name, value in settings.items()},
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tbscreen_gateway"],
                env=self._environment,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                httpx.get(f"{self.url}/livez", timeout=1)
                return
            except httpx.TransportError:
                time.sleep(0.05)
        raise RuntimeError(f"the gateway did not start:\n{self.log.read_text()}")

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def rss_bytes(self) -> int:
        """Resident memory now; Linux only."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) * 1024


@contextmanager
def gateway_process(redis_url: str, directory: Path, **settings: str) -> Iterator[GatewayProcess]:
    gateway = GatewayProcess(redis_url, directory, **settings)
    gateway.start()
    try:
        yield gateway
    finally:
        gateway.stop()
