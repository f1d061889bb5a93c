"""More come at once than the queue has places for: who obeys Retry-After is soon taken.

`-s` prints the figures that docs/adr/0033-the-rate-of-the-busiest-ten-seconds.md has.
"""

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from support.radiographs import radiograph_files
from support.serving import running_serve
from tbscreen import Client

_CLIENTS = 100
_PLACES = {"TBSCREEN_MAX_QUEUE_LENGTH": "10"}
_AT_ONCE = 20
"""Connections: what is looked at is who comes when, and no crowd of sockets."""


@dataclass
class _Crowd:
    """What happened to clients with a radiograph each.

    Attributes:
        told_s: every Retry-After.
        requests: how many each client needed.
        took_s: until each was accepted.
    """

    told_s: list[int] = field(default_factory=list)
    requests: list[int] = field(default_factory=list)
    took_s: list[float] = field(default_factory=list)

    async def send(self, http: httpx.AsyncClient, radiograph: Path) -> None:
        began, requests = time.monotonic(), 0
        while True:
            requests += 1
            answer = await http.post("/v1/jobs", files={"file": radiograph.read_bytes()})
            if answer.status_code == 202:
                break
            assert answer.json()["code"] == "queue_full", answer.text
            self.told_s.append(int(answer.headers["retry-after"]))
            await asyncio.sleep(self.told_s[-1])
        self.requests.append(requests)
        self.took_s.append(time.monotonic() - began)

    async def come(self, url: str, radiographs: list[Path]) -> None:
        limits = httpx.Limits(max_connections=_AT_ONCE)
        async with httpx.AsyncClient(base_url=url, limits=limits, timeout=60) as http:
            await asyncio.gather(
                *(self.send(http, radiographs[n % len(radiographs)]) for n in range(_CLIENTS))
            )


@pytest.mark.parametrize("earlier", [1, 8])
def test_a_crowd_after_a_quiet_minute_is_in_as_soon_as_there_is_room(
    earlier: int, tmp_path: Path
) -> None:
    (tmp_path / "drawn").mkdir()
    radiographs = radiograph_files(tmp_path / "drawn")
    crowd = _Crowd()
    with running_serve(tmp_path, environment=_PLACES) as serving:
        with Client(serving.url) as client:
            for n in range(earlier):
                assert client.predict(radiographs[n % len(radiographs)]).prediction
        asyncio.run(crowd.come(serving.url, radiographs))
    print(
        f"\n{earlier} read before: all in after {max(crowd.took_s):.1f} s,"
        f" {sum(crowd.requests)} requests, {max(crowd.requests)} at most of one client,"
        f" told {min(crowd.told_s)} to {max(crowd.told_s)} s"
    )
    assert len(crowd.took_s) == _CLIENTS
    # One place at one radiograph in ten seconds, the least that can have been seen: the quiet
    # minute's mean would make it 61.
    assert max(crowd.told_s) <= 10
    assert max(crowd.took_s) < 60
