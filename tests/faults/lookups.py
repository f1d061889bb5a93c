"""Looks jobs up at a steady rate, in a process of its own: `python -m faults.lookups URL`.

Reads job ids from standard input, one a line, until it ends; then prints one JSON object. A look's
time runs from the moment it was due: one that waits for those before it counts in full.
"""

import argparse
import asyncio
import json
import random
import sys
import threading
import time
from collections import Counter, deque

import httpx

from support.ledger import percentile
from support.sender import connected

_RECENT = 200


class Lookups:
    """Looks at one of the jobs named last, drawn anew each time."""

    def __init__(self, url: str, *, rate_per_s: float) -> None:
        self._url = url
        self._rate_per_s = rate_per_s
        self._ids: deque[str] = deque(maxlen=_RECENT)
        self._ended = threading.Event()
        self._took_ms: list[float] = []
        self._answers: Counter[str] = Counter()

    def report(self) -> dict[str, object]:
        return {
            "looks": len(self._took_ms),
            "answers": dict(self._answers),
            **{
                name: round(percentile(self._took_ms, share), 1)
                for name, share in (("p50_ms", 0.5), ("p95_ms", 0.95), ("p99_ms", 0.99))
            },
            "max_ms": round(max(self._took_ms, default=0.0), 1),
        }

    def read_ids(self) -> None:
        for line in sys.stdin:
            self._ids.append(line.strip())
        self._ended.set()

    async def run(self) -> None:
        draw = random.Random(7)
        looks: set[asyncio.Task[None]] = set()
        async with connected(self._url) as http:

            async def look(job_id: str, due_s: float) -> None:
                try:
                    response = await http.get(f"/v1/jobs/{job_id}")
                except httpx.RemoteProtocolError:
                    # The connection was idle, and closed as the request left: any client asks anew.
                    response = await http.get(f"/v1/jobs/{job_id}")
                self._took_ms.append(1000 * (time.monotonic() - due_s))
                self._answers[str(response.status_code)] += 1

            begun, turn = time.monotonic(), 0
            while not self._ended.is_set():
                due_s = begun + turn / self._rate_per_s
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                turn += 1
                if self._ids:
                    looks.add(asyncio.create_task(look(draw.choice(self._ids), due_s)))
            for outcome in await asyncio.gather(*looks, return_exceptions=True):
                if outcome is not None:
                    self._answers[type(outcome).__name__] += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--rate", type=float, default=20.0)
    arguments = parser.parse_args()
    lookups = Lookups(arguments.url, rate_per_s=arguments.rate)
    threading.Thread(target=lookups.read_ids, daemon=True).start()
    asyncio.run(lookups.run())
    print(json.dumps(lookups.report()))


if __name__ == "__main__":
    main()
