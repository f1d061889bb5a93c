"""What a connection may cost: waits for a head, for a reader, for what nobody reads have ends."""

import asyncio
import fcntl
import logging
import struct
import termios
from typing import Any, ClassVar, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from tbscreen_gateway.connection_limits import ConnectionLimits
from tbscreen_gateway.raw_problems import MALFORMED, REFUSED

logger = logging.getLogger(__name__)

HEAD_TIMEOUT_S: Final = 15.0
"""For a request's line and headers, from the connection or from their first byte."""

STALL_TIMEOUT_S: Final = 60.0
"""For a reader that takes nothing of what is there for it."""

_LOOKS: Final = 4
"""How often a connection is looked at within that time."""

_LINGER_S: Final = 1.0
"""For who is refused to read so: closed at once, what they send would cut the answer off."""

LEFTOVER_TIMEOUT_S: Final = 15.0
"""For the rest of a body after its request's answer, from the first byte that comes then."""


class DeadlineProtocol(H11Protocol):
    """uvicorn's protocol, which waits for clients for ever, with ends to the waits.

    A client that opens connections and sends nothing, or a byte a minute, would hold them all; and
    so would one that asks for much and reads none of it.
    """

    limits: ClassVar[ConnectionLimits]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._next_look: asyncio.TimerHandle | None = None
        self._unread_bytes = 0
        self._looks_left = _LOOKS
        self._has_place = False
        self._is_deaf = False
        self._leftover_deadline: asyncio.TimerHandle | None = None

    # A server on TCP is given no other transport.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the first wait, where there is a place left."""
        super().connection_made(transport)
        self._look_again()
        self._has_place = self.limits.take(self._client_address())
        if self._has_place:
            self._expect_head()
            return
        logger.warning("refused a connection", extra={"client": self._client_address()})
        self._dismiss(REFUSED)

    def data_received(self, data: bytes) -> None:
        """Starts a wait with the first byte after an answer; a whole head ends it."""
        if self._is_deaf:
            return
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._head_is_here()
        elif self._deadline is None and not self.transport.is_closing():
            self._expect_head()
        self._bound_leftover()

    def send_400_response(self, msg: str) -> None:
        """Answers what can not be read, and closes."""
        request = self.cycle
        if request is not None and not request.response_complete:
            if not request.more_body:
                # What can not be read came after a whole request: that one's answer is the last.
                request.keep_alive = False
                self.flow.pause_reading()
                return
            if request.response_started:
                self.transport.close()
                return
            # Its own rest: to whoever reads it, the client is gone.
            request.disconnected = True
            request.message_event.set()
        logger.info("refused what is no request", extra={"client": self._client_address()})
        self._head_is_here()
        self._dismiss(MALFORMED)

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the waits, and leaves the place to another."""
        self._head_is_here()
        self._leftover_is_over()
        if self._next_look is not None:
            self._next_look.cancel()
        if self._has_place:
            self.limits.leave(self._client_address())
        super().connection_lost(exc)

    def _dismiss(self, answer: bytes) -> None:
        """Says a last thing, and listens no more."""
        self._is_deaf = True
        self.transport.write(answer)
        self.transport.write_eof()
        self._deadline = self.loop.call_later(_LINGER_S, self.transport.abort)

    def _client_address(self) -> str:
        return self.client[0] if self.client else ""

    def _expect_head(self) -> None:
        self._deadline = self.loop.call_later(HEAD_TIMEOUT_S, self._give_up)

    def _head_is_here(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            logger.info("closed a connection without a request")
            self.transport.close()

    def _look_again(self) -> None:
        self._next_look = self.loop.call_later(STALL_TIMEOUT_S / _LOOKS, self._look)

    def _look(self) -> None:
        """Ends the connection once nothing of what waits for its reader was taken for long enough.

        How long a whole answer takes does not count: a slow line is no fault. A transport that is
        closing is looked at as well, since it waits for its reader first.
        """
        unread_bytes = _unread_bytes(self.transport)
        if not unread_bytes or unread_bytes != self._unread_bytes:
            self._unread_bytes, self._looks_left = unread_bytes, _LOOKS
        else:
            self._looks_left -= 1
        if self._looks_left:
            self._look_again()
            return
        logger.info("closed a connection that reads nothing", extra={"unread_bytes": unread_bytes})
        self.transport.abort()

    def _bound_leftover(self) -> None:
        """Lets a refused upload go on for a while, not to its end, however slowly that comes."""
        answered = self.cycle is not None and self.cycle.response_complete
        if not answered or self.conn.their_state is not h11.SEND_BODY:
            self._leftover_is_over()
        elif self._leftover_deadline is None:
            self._leftover_deadline = self.loop.call_later(LEFTOVER_TIMEOUT_S, self._cut_leftover)

    def _leftover_is_over(self) -> None:
        if self._leftover_deadline is not None:
            self._leftover_deadline.cancel()
            self._leftover_deadline = None

    def _cut_leftover(self) -> None:
        self._leftover_deadline = None
        logger.info("closed a connection that went on with an answered request")
        self.transport.close()


def limited_protocol(limits: ConnectionLimits) -> type[DeadlineProtocol]:
    """Returns the protocol of one server, whose connections share the limits."""
    return type("LimitedProtocol", (DeadlineProtocol,), {"limits": limits})


def _unread_bytes(transport: asyncio.Transport) -> int:
    """Returns how much waits for the reader; 0 while all of it is the system's to send.

    What the system still holds is counted where it tells (Linux): it takes more from us only once
    a good part of that is gone, which on a slow line lasts longer than the wait for any progress.
    """
    ours = transport.get_write_buffer_size()
    connection = transport.get_extra_info("socket")
    if not ours or connection is None:
        return ours
    try:
        told = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0" * 4)
    except OSError:
        return ours
    return ours + int(struct.unpack("i", told)[0])
