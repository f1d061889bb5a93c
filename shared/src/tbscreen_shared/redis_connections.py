"""Connections that leave a Redis which has become a replica, and wait for a silent one in turns."""

import time
from threading import Lock
from typing import Any, Final

from redis import Connection, SSLConnection
from redis.connection import AbstractConnection
from redis.exceptions import ConnectionError, ResponseError, TimeoutError

_LOOK_EVERY_S: Final = 1.0


class Silence:
    """Whether Redis has left a call of this client without an answer.

    A call to a Redis that hangs holds its thread for the whole time-out. A server that answers all
    its requests out of one pool would soon have no thread left, for what needs no Redis either. So
    once a call has waited in vain, one every `look_every_s` is let through to find out; the others
    fail at once, until the first answer to any of them. With 0 all are let through.
    """

    def __init__(self, look_every_s: float = _LOOK_EVERY_S) -> None:
        self._look_every_s = look_every_s
        self._lock = Lock()
        self._next_look: float | None = None
        self._looking: object = None

    def check(self, caller: object) -> None:
        """Lets a call through, or not. Who was let through to look may go on with all of its steps.

        Raises:
            TimeoutError: Redis did not answer a moment ago.
        """
        with self._lock:
            if self._next_look is None or caller is self._looking:
                return
            now = time.monotonic()
            if now < self._next_look:
                raise TimeoutError("Redis did not answer a moment ago")
            self._next_look, self._looking = now + self._look_every_s, caller

    def begin(self) -> None:
        """Takes note of a call that waited in vain."""
        with self._lock:
            self._next_look, self._looking = time.monotonic() + self._look_every_s, None

    def end(self) -> None:
        """Takes note of an answer."""
        if self._next_look is not None:
            with self._lock:
                self._next_look = self._looking = None


class _AttentiveConnection(AbstractConnection):
    def __init__(self, *args: Any, silence: Silence | None = None, **kwargs: Any) -> None:
        self._silence = silence or Silence(0)
        super().__init__(*args, **kwargs)

    def connect_check_health(
        self, check_health: bool = True, retry_socket_connect: bool = True
    ) -> None:
        if self.is_connected:
            return
        self._silence.check(self)
        try:
            super().connect_check_health(check_health, retry_socket_connect)
        except TimeoutError:
            self._silence.begin()
            raise

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        self._silence.check(self)
        super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            answer = super().read_response(*args, **kwargs)
        except TimeoutError:
            self._silence.begin()
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
