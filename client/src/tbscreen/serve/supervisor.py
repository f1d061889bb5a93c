"""Keeps a list of children running: in order up, in reverse order down."""

import asyncio
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tbscreen.serve.child import Child, ChildSpec, describe_exit
from tbscreen.serve.errors import ServeError
from tbscreen.serve.journal import Journal
from tbscreen.serve.leash import Leash

_POLL_S: Final = 0.1
_WATCHDOG_CHECK_S: Final = 0.5
# `make` and `uv run` pass the terminal's Ctrl-C on to a child that the terminal has told as well.
_SAME_SIGNAL_S: Final = 0.5


@dataclass(frozen=True)
class RestartPolicy:
    """When to start a dead child again, and when to give up.

    Attributes:
        first_delay_s: pause after a first death; it doubles with each further one.
        longest_delay_s: bound of that pause.
        deaths: this many deaths of one child within `window_s` seconds end everything, unless it
            `may_crash_on`. One that could not even be started counts.
        window_s: see `deaths`.
    """

    first_delay_s: float = 0.25
    longest_delay_s: float = 8.0
    deaths: int = 6
    window_s: float = 60.0


class Supervisor:
    """Runs children until a signal, a crash loop or a failed start ends them.

    Args:
        specs: what to run, in the order of start.
        leash: the watchdog.
        journal: where events are told.
        policy: how to deal with deaths.
        start_timeout_s: the longest a start may take.
    """

    def __init__(
        self,
        specs: Sequence[ChildSpec],
        *,
        leash: Leash,
        journal: Journal,
        policy: RestartPolicy | None = None,
        start_timeout_s: float = 180.0,
    ) -> None:
        self._children = [
            Child(spec, rank=rank, leash=leash, journal=journal) for rank, spec in enumerate(specs)
        ]
        self._leash = leash
        self._journal = journal
        self._policy = policy or RestartPolicy()
        self._start_timeout_s = start_timeout_s
        self._end = asyncio.Event()
        self._has_started = False
        self._failure: BaseException | None = None
        self._asked_at: float | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self, when_started: Callable[[], Awaitable[None]]) -> None:
        """Starts the children, awaits `when_started`, keeps them until the end is asked for.

        SIGINT, SIGTERM and SIGHUP ask for the end; a second one kills.

        Raises:
            ServeError: a child died again and again, or the start took too long. All children
                have been ended.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_signal)
        self._spawn(self._keep_watchdog())
        starting = self._spawn(self._start(when_started))
        await self._end.wait()
        starting.cancel()
        for child in reversed(self._children):
            await child.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._failure is not None:
            raise self._failure

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        task.add_done_callback(self._note)
        self._tasks.append(task)
        return task

    def _note(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._failure = self._failure or failure
            self._end.set()

    def _on_signal(self) -> None:
        now = time.monotonic()
        if self._asked_at is None:
            self._asked_at = now
            if not self._end.is_set():
                self._journal.say("finishing what is in hand; Ctrl-C once more kills")
            self._end.set()
        elif now - self._asked_at > _SAME_SIGNAL_S:
            self._journal.say("killing")
            for child in self._children:
                child.kill()

    async def _start(self, when_started: Callable[[], Awaitable[None]]) -> None:
        waiting_for = ""
        try:
            async with asyncio.timeout(self._start_timeout_s):
                for child in self._children:
                    waiting_for = child.spec.name
                    self._spawn(self._keep(child))
                    while child.spec.is_ready is not None and not await child.spec.is_ready():
                        await asyncio.sleep(_POLL_S)
                waiting_for = "the whole"
                await when_started()
            self._has_started = True
        except TimeoutError as error:
            raise ServeError(
                f"{waiting_for} was not ready within {self._start_timeout_s:g} s"
            ) from error

    async def _keep(self, child: Child) -> None:
        deaths: deque[float] = deque()
        policy, name = self._policy, child.spec.name
        while not self._end.is_set():
            try:
                how = describe_exit(await child.run())
            except (OSError, RuntimeError) as error:
                # Memory, processes and threads may run short for a moment.
                how = f"could not be run: {error}"
            if self._end.is_set():
                return
            now = time.monotonic()
            deaths.append(now)
            while now - deaths[0] > policy.window_s:
                deaths.popleft()
            tolerated = child.spec.may_crash_on and self._has_started
            if len(deaths) >= policy.deaths and not tolerated:
                raise ServeError(
                    f"{name} {how}; that was its death number {len(deaths)} within "
                    f"{policy.window_s:g} s: giving up. Its lines above say why."
                )
            delay_s = min(policy.first_delay_s * 2 ** (len(deaths) - 1), policy.longest_delay_s)
            self._journal.say(f"{name} {how}; starting it again in {delay_s:g} s")
            await asyncio.sleep(delay_s)

    async def _keep_watchdog(self) -> None:
        is_watched = True
        while True:
            try:
                self._leash.renew()
            except OSError as error:
                if is_watched:
                    self._journal.say(f"the watchdog can not be started: {error.strerror}")
                is_watched = False
            else:
                is_watched = True
            await asyncio.sleep(_WATCHDOG_CHECK_S)
