"""Connections that leave a Redis which has become a replica, and wait for a silent one in turns."""

# redis-py's connections are typed in part, hence what is ignored below.
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, Final

from redis import Connection, SSLConnection
from redis.connection import AbstractConnection
from redis.exceptions import ConnectionError, RedisError, ResponseError, TimeoutError

_LOOK_EVERY_S: Final = 1.0


class RedisSilentError(RedisError):
    """Redis did not answer others a moment ago, so this call was not made.

    No TimeoutError, which redis-py would make again, on a new connection, in the caller's time.
    """


class Silence:
    """Whether Redis leaves the calls of a client without an answer.

    A call to a Redis that hangs holds its thread for the whole time-out. A server that answers all
    its requests out of one pool would soon have no thread left, for what needs no Redis either. So
    once a call has waited in vain, one every `look_every_s` is let through to find out; the others
    fail at once, until the first answer to any of them. With 0 all are let through.
    """

    def __init__(self, look_every_s: float = _LOOK_EVERY_S) -> None:
        self._look_every_s = look_every_s
        self._lock = Lock()
        self._next_look: float | None = None
        self._answered_at = 0.0
        self._repeats: object = None

    @property
    def lasts(self) -> bool:
        """Whether calls fail at once."""
        return self._next_look is not None and self._look_every_s > 0

    def check(self, caller: object) -> None:
        """Lets a call through, or not.

        Raises:
            RedisSilentError: it is not this one's turn.
        """
        if not self.lasts:
            return
        with self._lock:
            now = time.monotonic()
            if self._next_look is None:
                return
            if self._repeats is caller:
                self._repeats = None
            elif now < self._next_look:
                raise RedisSilentError("Redis did not answer a moment ago")
            else:
                self._next_look = now + self._look_every_s

    def begin(self, caller: object, asked_at: float) -> None:
        """Takes note of a call that waited in vain since `asked_at`.

        Where others were answered since, it was its connection that died. Otherwise redis-py's
        repetition on a new one is the first look.
        """
        with self._lock:
            if self._next_look is None and self._answered_at < asked_at:
                self._next_look = time.monotonic() + self._look_every_s
                self._repeats = caller

    def end(self) -> None:
        """Takes note of an answer."""
        self._answered_at = time.monotonic()
        if self._next_look is not None:
            with self._lock:
                self._next_look = self._repeats = None


class _AttentiveConnection(AbstractConnection):
    def __init__(self, *args: Any, silence: Silence | None = None, **kwargs: Any) -> None:
        self._silence = silence or Silence(0)
        self._is_asking = False
        self._asked_at = 0.0
        super().__init__(*args, **kwargs)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Lets a call through as a whole: what it says to connect and log in is part of it."""
        if self._is_asking:
            yield
            return
        self._silence.check(self)
        self._is_asking, self._asked_at = True, time.monotonic()
        try:
            yield
        except TimeoutError:
            self._silence.begin(self, self._asked_at)
            raise
        finally:
            self._is_asking = False

    def connect_check_health(
        self, check_health: bool = True, retry_socket_connect: bool = True
    ) -> None:
        if self.is_connected:
            return
        with self._asking():
            # The call itself is repeated, in its turn; so nothing within it is.
            super().connect_check_health(check_health, retry_socket_connect=False)

    def check_health(self) -> None:
        if not self.health_check_interval or time.monotonic() <= self.next_health_check:
            return
        # What is ignored here and below: these calls of redis-py have no types.
        try:
            self._send_ping()  # type: ignore[no-untyped-call]
        except (ConnectionError, TimeoutError) as error:
            self.disconnect(error=error, health_check_failed=True)  # type: ignore[no-untyped-call]
            raise

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        with self._asking():
            super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            answer = super().read_response(*args, **kwargs)
        except TimeoutError:
            self._silence.begin(self, self._asked_at)
            raise
        except ResponseError as error:
            self._silence.end()
            # After a fail-over the former master may live on: it answers PING, so nobody would
            # connect anew, and refuses each write for ever. Redis 6.2 wraps an error within a
            # script in one of another type.
            if "READONLY" in str(error):
                raise ConnectionError("this Redis has become a replica") from error
            raise
        self._silence.end()
        return answer


class MasterConnection(_AttentiveConnection, Connection):
    """A connection that counts as broken when Redis says that it may not be written to."""


class MasterSSLConnection(_AttentiveConnection, SSLConnection):
    """The same over TLS."""
