"""A running `tbscreen serve` that is sent a patient's data wherever a request may carry them."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx
from redis import Redis

from support.blob_files import blob_files
from support.serving import Serving
from tbscreen_shared.queue import connect_redis

HEADERS = {
    "User-Agent": "Zqagentname",
    "Cookie": "name=Zqcookiejar",
    "Referer": "https://ris.example/Zqreferer",
    "X-Forwarded-For": "Zqforwarded",
    "X-Patient": "Zqheadername",
    # Not one of the ids that are taken over: it holds a space.
    "X-Request-ID": "Zqrequestid of a patient",
    "Prefer": "respond-async, Zqpreference",
    "If-None-Match": '"Zqetagvalue"',
}


def part(data: bytes, name: str = "Zqfilename^Ñusta.dcm") -> Any:
    return (name, data, "image/png; charset=Zqpartcharset", {"X-Part": "Zqpartheader"})


class Site:
    """A running `tbscreen serve` and its Redis."""

    def __init__(self, serving: Serving, temporary: Path) -> None:
        self.serving = serving
        self.temporary = temporary
        self.http = httpx.Client(base_url=serving.url, timeout=60)
        self.redis = self._connect()
        self.answers: list[bytes] = []

    def _connect(self) -> "Redis":
        directory = self.serving.data_dir / "redis"
        lines = (directory / "redis.conf").read_text().splitlines()
        port = dict(line.split(" ", 1) for line in lines)["port"]
        password = (directory / "secrets" / "redis" / "admin").read_text().strip()
        return connect_redis(f"redis://admin:{password}@127.0.0.1:{port}/0")

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        answer = self.http.request(method, path, **options)
        self.answers.append(answer.content + str(answer.headers).encode())
        return answer

    def submit(self, data: bytes, *, key: str = "") -> str:
        return str(self.send("/v1/jobs", ("file", part(data)), key=key)["id"])

    def send(self, path: str, *parts: tuple[str, Any], key: str = "", query: str = "") -> Any:
        answer = self.ask(
            "POST",
            f"{path}?patient=Zqquerytext{query}",
            files=parts,
            headers={**HEADERS, "Idempotency-Key": f"Zqidempotency-{key or time.monotonic_ns()}"},
        )
        assert answer.status_code in (200, 202), answer.text
        return answer.json()

    def uploads_at_rest(self) -> list[Path]:
        return blob_files(self.serving.data_dir / "blobs")

    def freeze_worker(self, number: signal.Signals) -> None:
        leader = self.serving.leader("worker")
        for pid in (leader, *self.serving.pool_of_worker()):
            os.kill(pid, number)


def dump_redis(redis: "Redis") -> dict[str, bytes]:
    """Every key with its value."""
    readers: dict[str, Any] = {
        "string": redis.get,
        "hash": redis.hgetall,
        "set": redis.smembers,
        "zset": lambda key: redis.zrange(key, 0, -1, withscores=True),
        "list": lambda key: redis.lrange(key, 0, -1),
        "stream": redis.xrange,
    }
    return {
        key: repr((key, readers[str(redis.type(key))](key))).encode()
        for key in redis.scan_iter(count=1000)
    }
