"""A receiver of webhooks: a real HTTP server that records, and misbehaves when told to."""

import os
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Delivery:
    """A request as it came, whatever was answered. Header names are in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float


@dataclass(frozen=True)
class Answer:
    """What one request gets.

    Attributes:
        status: 0 closes the connection without an answer.
        hold_s: seconds until the answer begins, or the receiver is released.
        headers: before the body, whose true length they may belie.
        body_bytes: size of the body, as far as the other side reads it.
        drip_s: pause after each byte of the head.
        garbled: what follows the head is no TLS, though the head was.
    """

    status: int = 204
    hold_s: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    body_bytes: int = 0
    drip_s: float = 0.0
    garbled: bool = False


class WebhookReceiver:
    """Answers the queued answers first, then `usual`. `host` is an address of this machine."""

    def __init__(
        self,
        tls: ssl.SSLContext | None = None,
        usual: Answer | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.deliveries: list[Delivery] = []
        self.answers: deque[Answer] = deque()
        self.usual = usual or Answer()
        self.in_hand = 0
        self.most_in_hand = 0
        self.bytes_sent = 0
        self._changed = threading.Condition()
        self._released = threading.Event()
        self._server = ThreadingHTTPServer((host, 0), _handler(self))
        self._server.daemon_threads = True
        self._server.block_on_close = False
        if tls is not None:
            # The handshake is the handler's thread's: a client that refuses must not stop others.
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = int(self._server.server_address[1])
        self.url = f"{'http' if tls is None else 'https'}://{host}:{self.port}"

    def wait_for(self, count: int, timeout_s: float = 10.0) -> list[Delivery]:
        """Returns the deliveries once there are so many."""
        with self._changed:
            came = self._changed.wait_for(lambda: len(self.deliveries) >= count, timeout_s)
        assert came, f"{len(self.deliveries)} of {count} deliveries"
        return self.deliveries

    def receive(self, delivery: Delivery) -> Answer:
        with self._changed:
            self.deliveries.append(delivery)
            self.in_hand += 1
            self.most_in_hand = max(self.most_in_hand, self.in_hand)
            self._changed.notify_all()
            return self.answers.popleft() if self.answers else self.usual

    def hold(self, seconds: float) -> None:
        self._released.wait(seconds)

    def let_go(self) -> None:
        with self._changed:
            self.in_hand -= 1

    def release(self) -> None:
        """Ends every hold, now and from now on."""
        self._released.set()

    @contextmanager
    def running(self) -> Iterator["WebhookReceiver"]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield self
        finally:
            self.release()
            self._server.shutdown()
            self._server.server_close()
            thread.join()


def _handler(receiver: WebhookReceiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = receiver.receive(Delivery(self.path, headers, body, time.monotonic()))
            try:
                receiver.hold(answer.hold_s)
                self._answer(answer)
            finally:
                receiver.let_go()

        do_GET = do_POST

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                self.close_connection = True  # one side has had enough, or trusts the other not
                with suppress(OSError), _unencrypted(self.connection) as connection:
                    # What is closed unread resets the connection, and may overtake a TLS alert.
                    while connection.recv(65536):
                        pass

        def finish(self) -> None:
            with suppress(OSError):
                super().finish()

        def _answer(self, answer: Answer) -> None:
            if answer.status == 0:
                self.close_connection = True
                return
            headers = {"Content-Length": str(answer.body_bytes), **answer.headers}
            head = f"HTTP/1.1 {answer.status} Said\r\n"
            head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            self._write((head + "\r\n").encode(), answer.drip_s)
            if answer.garbled:
                with _unencrypted(self.connection) as connection:
                    connection.sendall(b"no record at all")
                return
            block = bytes(65536)
            for start in range(0, answer.body_bytes, len(block)):
                self._write(block[: answer.body_bytes - start])
                receiver.bytes_sent += len(block)

        def _write(self, data: bytes, drip_s: float = 0.0) -> None:
            if not drip_s:
                self.wfile.write(data)
                return
            for byte in data:
                self.wfile.write(bytes([byte]))
                time.sleep(drip_s)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextmanager
def _unencrypted(connection: socket.socket) -> Iterator[socket.socket]:
    """Yields the socket below a TLS connection, or another of the same one; patient for 5 s."""
    with socket.socket(fileno=os.dup(connection.fileno())) as below:
        below.settimeout(5)
        yield below


@contextmanager
def running_receiver(
    tls: ssl.SSLContext | None = None, usual: Answer | None = None
) -> Iterator[WebhookReceiver]:
    with WebhookReceiver(tls, usual).running() as receiver:
        yield receiver


def until(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Waits for what another thread or process brings about."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)
