"""Takes single radiographs to a gateway, and notes what was promised and what became of it."""

import asyncio
import time
import uuid
from typing import Any

import httpx

from support.ledger import BUSY, FINAL, Entry, Refusal
from tbscreen_shared.errors import ErrorCode

_BOUNDARY = "tbscreen-load-5f1d7c"
_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 2.0
_HELD_S = 20
_TIMEOUT = httpx.Timeout(30.0, read=30.0 + _HELD_S)


def upload_body(content: bytes) -> bytes:
    """Returns the multipart form of one upload, made once for many requests."""
    head = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="radiograph"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return head.encode() + content + f"\r\n--{_BOUNDARY}--\r\n".encode()


class Sender:
    """Takes radiographs to their final states.

    Args:
        http: connected to the gateway.
        bodies: made by `upload_body`; used in turn.
        callback_url: told of each job's end; empty for nobody.
    """

    def __init__(
        self, http: httpx.AsyncClient, bodies: list[bytes], callback_url: str = ""
    ) -> None:
        self._http = http
        self._bodies = bodies
        self._query = {"callback_url": callback_url} if callback_url else None

    async def submit(self, entry: Entry) -> None:
        """Offers a radiograph until it is known whether it is accepted."""
        headers = {
            "Content-Type": f"multipart/form-data; boundary={_BOUNDARY}",
            "Idempotency-Key": uuid.uuid4().hex,
        }
        body = self._bodies[entry.number % len(self._bodies)]
        while True:
            try:
                response = await self._http.post(
                    "/v1/jobs", params=self._query, content=body, headers=headers
                )
            except httpx.TransportError:
                entry.broken_posts += 1
                pause_s = _PAUSE_S
            else:
                # 200: a repeat, whose job has ended meanwhile.
                if response.status_code in (200, 202):
                    entry.job_id = response.json()["id"]
                    entry.accepted_s = time.monotonic()
                    return
                refusal = _refusal_of(response)
                # It may have been accepted unseen, as after a broken connection: ask again.
                entry.broken_posts += refusal.code == ErrorCode.SERVER_STOPPING
                if not entry.broken_posts or refusal.status not in BUSY:
                    entry.refusal = refusal
                    return
                pause_s = min(refusal.retry_after_s or _PAUSE_S, _LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s)

    async def follow(self, entry: Entry) -> None:
        """Waits for the final state of an accepted one."""
        while True:
            job = await self.look_up(entry, wait_s=_HELD_S)
            if entry.missing:
                return
            if job is None:
                await asyncio.sleep(_PAUSE_S)
            elif job["status"] in FINAL:
                entry.close(job)
                return

    async def look_up(self, entry: Entry, *, wait_s: int = 0) -> dict[str, Any] | None:
        """Returns the entry's job, or None when it could not be had this time."""
        try:
            response = await self._http.get(
                f"/v1/jobs/{entry.job_id}", params={"wait": wait_s} if wait_s else None
            )
        except httpx.TransportError:
            return None
        if response.status_code == 200:
            return dict(response.json())
        if response.status_code == 404:
            entry.missing = True
        elif response.status_code not in BUSY:
            entry.faulty_looks += 1
        return None


def _refusal_of(response: httpx.Response) -> Refusal:
    code = ""
    if response.headers.get("content-type", "").startswith("application/problem+json"):
        code = str(response.json().get("code", ""))
    retry_after = response.headers.get("retry-after", "")
    return Refusal(
        at_s=time.monotonic(),
        status=response.status_code,
        code=code,
        retry_after_s=float(retry_after) if retry_after.isdigit() else None,
    )


def connected(url: str) -> httpx.AsyncClient:
    """Returns a client for as many requests at once as are wanted; proxies are not asked."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
    return httpx.AsyncClient(base_url=url, limits=limits, timeout=_TIMEOUT, trust_env=False)
