"""A real HTTP server of one file: ranges, entity tags, and the faults a download meets."""

import hashlib
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_CHUNK = 16384


class RangeServer(ThreadingHTTPServer):
    """Serves `content` at every path; what it does badly is set from outside.

    Attributes:
        content: the file.
        break_after: bytes after which a connection is cut, once for each entry, in this order.
        pause_s: between chunks of 16 KiB.
        requests: the Range header of each request, None without one.
        failing_with: a status for every request instead of the file.
    """

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = content
        self.break_after: list[int] = []
        self.pause_s = 0.0
        self.requests: list[str | None] = []
        self.failing_with: int | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/set.zip"

    @property
    def etag(self) -> str:
        return f'"{hashlib.sha256(self.content).hexdigest()[:16]}"'


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RangeServer

    def do_GET(self) -> None:
        server = self.server
        wanted = self.headers.get("Range")
        server.requests.append(wanted)
        if server.failing_with is not None:
            self.send_error(server.failing_with)
            return
        content, start = server.content, 0
        match = re.fullmatch(r"bytes=(\d+)-", wanted or "")
        if match and self.headers.get("If-Range") == server.etag:
            start = int(match[1])
        if start >= len(content) > 0 and start:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", server.etag)
        self.end_headers()
        self._send(content[start:])

    def _send(self, body: bytes) -> None:
        limit = self.server.break_after.pop(0) if self.server.break_after else len(body)
        for low in range(0, min(limit, len(body)), _CHUNK):
            try:
                self.wfile.write(body[low : min(low + _CHUNK, limit)])
            except OSError:
                self.close_connection = True
                return
            time.sleep(self.server.pause_s)
        if limit < len(body):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def running_range_server(content: bytes) -> Iterator[RangeServer]:
    """Serves until the block ends, on an ephemeral port of this machine."""
    with RangeServer(content) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
