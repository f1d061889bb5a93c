"""Tells the audit log of wrong keys, and not of each: an attack must fill neither it nor Redis."""

import asyncio
from dataclasses import dataclass
from typing import Final

from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool

from tbscreen_shared.jobs import AuditStream, Requester

_TOLD_EVERY_S: Final = 10


@dataclass
class _Tally:
    """What was not told yet of one key and one reason, and its latest request."""

    by: Requester
    client: str
    count: int = 0


class WrongKeys:
    """Counts them in this process, since every write to Redis is synced.

    The first of a key for a reason is told at once, those that follow every 10 seconds by their
    number. Lives in the event loop.

    Args:
        audit: where they are told.
    """

    def __init__(self, audit: AuditStream) -> None:
        self._audit = audit
        self._tallies: dict[tuple[str, str], _Tally] = {}

    async def note(self, by: Requester, reason: str, client: str) -> None:
        """Counts one, and never fails.

        Args:
            by: the key's id, empty for one that is unknown, and the request.
            reason: why it is worth nothing.
            client: the address it came from.
        """
        tally = self._tallies.get((by.key_id, reason))
        if tally is None:
            tally = self._tallies[by.key_id, reason] = _Tally(by, client, 1)
            await self._tell(reason, tally)
        else:
            tally.by, tally.client, tally.count = by, client, tally.count + 1

    async def run(self) -> None:
        """Tells what was counted, until it is cancelled."""
        while True:
            await asyncio.sleep(_TOLD_EVERY_S)
            await self.flush()

    async def flush(self) -> None:
        """Tells what was counted; what Redis does not take is told the next time."""
        for kind, tally in list(self._tallies.items()):
            if tally.count:
                await self._tell(kind[1], tally)
            else:
                del self._tallies[kind]

    async def _tell(self, reason: str, tally: _Tally) -> None:
        count, tally.count = tally.count, 0
        try:
            await run_in_threadpool(
                lambda: self._audit.record(
                    "key_refused", tally.by, reason=reason, client=tally.client, count=count
                )
            )
        except RedisError:
            tally.count += count
