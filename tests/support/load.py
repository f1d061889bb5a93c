"""Sends radiographs to a gateway at a steady rate and keeps a ledger of what it was promised.

An upload whose connection breaks before the answer is repeated under its Idempotency-Key until the
answer is seen: so `accepted` is exact, whatever dies meanwhile. Each accepted job is long-polled
until its final state, as a client would.
"""

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.ledger import Entry, Ledger, fingerprint
from support.sender import Sender, connected, upload_body

_SUBMITTED_IN_S = 20.0
"""After the end of a load; whoever has no answer then gets none."""


class Load:
    """A load that runs in a thread of its own; `ledger` may be read at any time.

    Args:
        url: the gateway's.
        radiographs: sent in turn.
        rate_per_s: offered, whether the gateway keeps up or not; None for `senders` that each
            offer the next radiograph when the last has ended.
        callback_url: sent with every upload; empty for none.
        patience_s: how long after the end of the load a promise may stay open.
        most_under_way: beyond so many, radiographs are withheld instead of offered.
        niceness: of the sending thread, 0 to 19; takes Linux.
    """

    def __init__(
        self,
        url: str,
        radiographs: list[Path],
        *,
        rate_per_s: float | None,
        senders: int = 8,
        callback_url: str = "",
        patience_s: float = 120,
        most_under_way: int = 4000,
        niceness: int = 0,
    ) -> None:
        self.ledger = Ledger()
        self.failure: BaseException | None = None
        self._url = url
        self._bodies = [upload_body(path.read_bytes()) for path in radiographs]
        self._rate_per_s = rate_per_s
        self._senders = senders
        self.callback_url = callback_url
        self._patience_s = patience_s
        self._most_under_way = most_under_way
        self._niceness = niceness
        self._stopping = threading.Event()
        self._under_way: set[asyncio.Task[None]] = set()
        self._submitting: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the offering; what is under way goes on."""
        self._stopping.set()

    def settle(self) -> None:
        """Waits until every promise is kept, or `patience_s` is over.

        Raises:
            BaseException: what the load itself failed with.
        """
        self.stop()
        self._thread.join()
        if self.failure is not None:
            raise self.failure

    def _run(self) -> None:
        if self._niceness:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), self._niceness)
        try:
            asyncio.run(self._main())
        except BaseException as error:
            self.failure = error

    async def _main(self) -> None:
        async with connected(self._url) as http:
            sender = Sender(http, self._bodies, self.callback_url)
            offering = asyncio.create_task(
                self._offer_in_turn(sender) if self._rate_per_s is None else self._offer(sender)
            )
            while not self._stopping.is_set() and not offering.done():
                await asyncio.sleep(0.02)
            pending = (offering, *self._under_way)
            await asyncio.wait(pending, timeout=min(_SUBMITTED_IN_S, self._patience_s))
            for task in self._submitting:
                task.cancel()
            _, late = await asyncio.wait(pending, timeout=self._patience_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
            if not offering.cancelled():
                self.failure = self.failure or offering.exception()
        for entry in self.ledger.entries:
            if entry.accepted_s is None and entry.refusal is None:
                entry.unanswered_s = time.monotonic()

    async def _offer(self, sender: Sender) -> None:
        assert self._rate_per_s is not None
        begun, turn = time.monotonic(), 0
        while not self._stopping.is_set():
            # By the schedule, not by the last one: a slow gateway must not slow its load down.
            await asyncio.sleep(max(0.0, begun + turn / self._rate_per_s - time.monotonic()))
            turn += 1
            if self._stopping.is_set():
                return
            if len(self._under_way) >= self._most_under_way:
                self.ledger.withheld += 1
                continue
            task = asyncio.create_task(self._send(sender))
            self._under_way.add(task)
            task.add_done_callback(self._finished)

    async def _offer_in_turn(self, sender: Sender) -> None:
        async def go_on() -> None:
            while not self._stopping.is_set():
                await self._send(sender)

        await asyncio.gather(*(go_on() for _ in range(self._senders)))

    async def _send(self, sender: Sender) -> None:
        entry = Entry(len(self.ledger.entries), time.monotonic())
        self.ledger.entries.append(entry)
        task = asyncio.current_task()
        assert task is not None
        self._submitting.add(task)
        try:
            await sender.submit(entry)
        finally:
            self._submitting.discard(task)
        if entry.accepted_s is not None:
            await sender.follow(entry)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self.failure = error
            self._stopping.set()


@contextmanager
def running_load(load: Load) -> Iterator[Load]:
    """Runs a load for the block, and ends it whatever happens in there."""
    load.start()
    try:
        yield load
    finally:
        load.stop()


def measure_capacity(
    url: str,
    radiographs: list[Path],
    *,
    seconds: float,
    senders: int = 8,
) -> float:
    """Returns how many radiographs a second the gateway and its workers bring to an end.

    Raises:
        RuntimeError: one of them was not answered.
    """
    load = Load(url, radiographs, rate_per_s=None, senders=senders)
    with running_load(load):
        time.sleep(seconds)
    load.settle()
    ended = load.ledger.ended("succeeded")
    if len(ended) < len(load.ledger.entries) or not ended:
        told = dict(load.ledger.refusals() + load.ledger.failures())
        raise RuntimeError(f"{len(load.ledger.entries)} offered, {len(ended)} answered: {told}")
    ends = sorted(entry.ended_s for entry in ended if entry.ended_s is not None)
    # The first ones pay for connections and caches.
    steady = ends[len(ends) // 5 :]
    return (len(steady) - 1) / (steady[-1] - steady[0])


def changed_since(url: str, ledger: Ledger) -> list[Entry]:
    """Looks every finished job up again; returns those whose final state is not what it was."""

    async def look_again() -> list[Entry]:
        changed = []
        async with connected(url) as http:
            sender = Sender(http, [])
            for entry in ledger.entries:
                if entry.ended_s is None:
                    continue
                job = await sender.look_up(entry)
                if job is None or fingerprint(job) != entry.fingerprint:
                    changed.append(entry)
        return changed

    return asyncio.run(look_again())
