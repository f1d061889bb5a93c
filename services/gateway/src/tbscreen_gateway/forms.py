"""Reads a multipart form as it arrives: its parts go to their targets, nothing is kept."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final

from fastapi import Request
from streaming_form_data import StreamingFormDataParser
from streaming_form_data.parser import ParseFailedException, UnexpectedPartException
from streaming_form_data.targets import BaseTarget

from tbscreen_gateway.problems import Refusal
from tbscreen_gateway.upload_threads import run_for_upload
from tbscreen_shared.errors import ErrorCode

MAX_OVERHEAD_BYTES: Final = 16 * 1024
"""What a form may hold beside its files: boundaries and part headers, which the parser buffers."""

_BATCH_BYTES: Final = 256 * 1024
"""What one trip to the thread pool writes; a trip costs some 50 µs."""

_IDLE_S: Final = 60.0
"""A client that sends nothing for so long holds its partial upload no longer."""

_SLOWEST_BYTES_S: Final = 4096
"""Nor one that sends less on average, after the first `_IDLE_S`: a modem's 33.6 kbit/s."""

_LONGEST_S: Final = 6 * 3600.0
"""Nor one that is not through by then: the largest batch at 100 kB/s. At the slowest rate alone it
would hold its place among the uploads for six days."""

_BROKEN_HEADER: Final = b"\rx"
"""Between parts: an error before the closing boundary, and ignored after it."""


class PartTarget(BaseTarget):  # type: ignore[misc]  # the parser has no types
    """Where the parser puts the parts of one name, one after the other. Lives in the thread pool.

    Attributes:
        begun: how many parts have come.
        is_open: whether the latest is still coming.
    """

    def __init__(self) -> None:
        super().__init__()
        self.begun = 0
        self.is_open = False

    def on_start(self) -> None:
        """Called by the parser."""
        self.begun += 1
        self.is_open = True
        self.begin()

    def on_data_received(self, chunk: bytes) -> None:
        """Called by the parser."""
        self.take(chunk)

    def on_finish(self) -> None:
        """Called by the parser."""
        self.is_open = False
        self.end()

    def begin(self) -> None:
        """A part begins; `begun` counts it already."""

    def take(self, chunk: bytes) -> None:
        """More of it."""

    def end(self) -> None:
        """It is whole."""


async def read_form(
    request: Request,
    targets: Mapping[str, PartTarget],
    *,
    check: Callable[[int], None],
    is_impatient: Callable[[], bool] = lambda: False,
) -> None:
    """Feeds the request's form to the targets, in the thread pool, up to its closing boundary.

    Args:
        request: its body is read.
        targets: by the name of the form's field.
        check: told after each trip how many bytes came so far; raises to stop.
        is_impatient: whether each chunk is wanted at once, so that a refusal comes early.

    Raises:
        Refusal: `unsupported_media_type` when it is no form; `invalid_request` when the form is
            malformed, cut short, stalled, or has a field that is no target's; and whatever the
            targets and `check` raise.
        ClientDisconnect: the client left.
    """
    parser = _make_parser(request.headers.get("content-type", ""), targets)
    received, waiting = 0, bytearray()
    async for chunk in _chunks(request):
        received += len(chunk)
        waiting += chunk
        if is_impatient() or len(waiting) >= _BATCH_BYTES:
            await run_for_upload(_feed, parser, bytes(waiting), targets)
            waiting.clear()
            check(received)
    await run_for_upload(_feed, parser, bytes(waiting), targets)
    check(received)
    if any(target.is_open for target in targets.values()) or not _has_ended(parser):
        raise invalid_form("The form ends before its closing boundary.")


def invalid_form(detail: str) -> Refusal:
    """The answer to a form that is not as the API's documentation says."""
    return Refusal(ErrorCode.INVALID_REQUEST, detail)


def _make_parser(content_type: str, targets: Mapping[str, PartTarget]) -> StreamingFormDataParser:
    if content_type.partition(";")[0].strip().lower() != "multipart/form-data":
        raise Refusal(
            ErrorCode.UNSUPPORTED_MEDIA_TYPE,
            f"Send radiographs as multipart/form-data, in a field named {_either(targets)}.",
        )
    try:
        parser = StreamingFormDataParser({"content-type": content_type}, strict=True)
    except (ParseFailedException, ValueError) as error:
        raise invalid_form("The Content-Type names no usable boundary.") from error
    for name, target in targets.items():
        parser.register(name, target)
    return parser


def _feed(parser: StreamingFormDataParser, data: bytes, targets: Mapping[str, PartTarget]) -> None:
    try:
        parser.data_received(data)
    except UnexpectedPartException as error:
        raise invalid_form(f"The form has a field other than {_either(targets)}.") from error
    except (ParseFailedException, UnicodeDecodeError) as error:
        raise invalid_form("The form is not well-formed multipart/form-data.") from error


def _has_ended(parser: StreamingFormDataParser) -> bool:
    try:
        parser.data_received(_BROKEN_HEADER)
    except ParseFailedException:
        return False
    return True


def _either(targets: Mapping[str, PartTarget]) -> str:
    return " or ".join(map(repr, targets))


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    stream = aiter(request.stream())
    begun, received = time.monotonic(), 0
    while True:
        try:
            async with asyncio.timeout(_IDLE_S):
                chunk = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise invalid_form(f"The upload stalled for {_IDLE_S:.0f} seconds.") from error
        received += len(chunk)
        if received < (time.monotonic() - begun - _IDLE_S) * _SLOWEST_BYTES_S:
            raise invalid_form(f"The upload came at less than {_SLOWEST_BYTES_S} bytes a second.")
        if time.monotonic() - begun > _LONGEST_S:
            raise invalid_form(f"The upload took longer than {_LONGEST_S / 3600:g} hours.")
        yield chunk
