"""One file over HTTP, so that an interrupted download continues where it stopped."""

import logging
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import httpx
from pydantic import ValidationError

from tbscreen_shared.contracts import Frozen
from tbscreen_training.errors import TrainingError
from tbscreen_training.files import write_atomically

_log = logging.getLogger(__name__)

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there, and the bytes in all where known."""

_TIMEOUT: Final = httpx.Timeout(30.0, connect=15.0)
_HEADROOM_BYTES: Final = 64 << 20
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class _Origin(Frozen):
    """What a partial file is part of: a server's other version must not be appended to it."""

    url: str
    validator: str | None


def download(url: str, path: Path, *, progress: Progress, attempts: int = 6) -> None:
    """Downloads a file; what an earlier call left in `<path>.part` is continued, if it is the same.

    Args:
        url: where from.
        path: where to; exists only when complete.
        progress: told of each chunk.
        attempts: connections in a row that may bring nothing; the pause between doubles from 1 s.

    Raises:
        TrainingError: no connection, a refusal, or no room on the disk. What was downloaded stays,
            and the next call continues it.
    """
    part = path.with_name(f"{path.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    failures = 0
    with httpx.Client(timeout=_TIMEOUT, follow_redirects=True) as client:
        while True:
            before = _size(part)
            try:
                if _continue_download(client, url, part, progress):
                    break
            except httpx.TransportError as error:
                failures = 1 if _size(part) > before else failures + 1
                if failures >= attempts:
                    raise TrainingError(_explain(url, part, error)) from error
                _log.warning("connection lost after %d bytes: trying again", _size(part))
                time.sleep(2.0 ** (failures - 1))
            except httpx.HTTPStatusError as error:
                status = error.response.status_code
                raise TrainingError(f"{url} answers {status}: is it still there?") from error
    part.replace(path)
    _origin_file(part).unlink(missing_ok=True)


def _continue_download(client: httpx.Client, url: str, part: Path, progress: Progress) -> bool:
    """Takes one connection as far as it goes; returns whether the file is complete."""
    headers = _resume_headers(url, part)
    with client.stream("GET", url, headers=headers) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            _, total = _range_of(response)
            if total == _size(part):
                return True
            part.unlink()
            return False
        response.raise_for_status()
        start, total = 0, _length_of(response)
        if response.status_code == httpx.codes.PARTIAL_CONTENT:
            start, total = _range_of(response)
            if start != _size(part):
                part.unlink(missing_ok=True)
                return False
        _require_room(part, (total or 0) - start)
        validator = _validator_of(response)
        origin = _Origin(url=url, validator=validator)
        write_atomically(_origin_file(part), origin.model_dump_json().encode())
        with part.open("ab" if start else "wb") as stream:
            # As they come: of larger chunks, what came before a break would be lost.
            for chunk in response.iter_raw():
                stream.write(chunk)
                start += len(chunk)
                progress(start, total)
    if total is not None and start != total:
        raise httpx.RemoteProtocolError(f"{start} of {total} bytes came")
    return True


def _resume_headers(url: str, part: Path) -> dict[str, str]:
    # Compressed on the way, a file has no stable offsets to continue at.
    headers = {"Accept-Encoding": "identity"}
    try:
        origin = _Origin.model_validate_json(_origin_file(part).read_bytes())
    except (FileNotFoundError, ValidationError):
        return headers
    if origin.url == url and origin.validator and _size(part):
        # If the server's file has changed since, it sends the whole new one (RFC 9110, 13.1.5).
        headers |= {"Range": f"bytes={_size(part)}-", "If-Range": origin.validator}
    return headers


def _validator_of(response: httpx.Response) -> str | None:
    etag: str | None = response.headers.get("etag")
    if etag and not etag.startswith("W/"):
        return etag
    last_modified: str | None = response.headers.get("last-modified")
    return last_modified


def _length_of(response: httpx.Response) -> int | None:
    length = response.headers.get("content-length")
    return int(length) if length else None


def _range_of(response: httpx.Response) -> tuple[int, int | None]:
    text = response.headers.get("content-range", "")
    if match := _CONTENT_RANGE.fullmatch(text):
        return int(match[1]), None if match[2] == "*" else int(match[2])
    if text.startswith("bytes */"):
        return -1, int(text.removeprefix("bytes */"))
    raise httpx.RemoteProtocolError(f"the server's Content-Range is {text!r}")


def _require_room(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if free < needed + _HEADROOM_BYTES:
        raise TrainingError(
            f"{part.parent} has {free / 1e9:.1f} GB free; {needed / 1e9:.1f} GB more are needed"
        )


def _explain(url: str, part: Path, error: httpx.TransportError) -> str:
    host = httpx.URL(url).host
    kept = f" {_size(part)} bytes are kept; the same command continues." if _size(part) else ""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return (
            f"no connection to {host}: is this machine offline? Download {url} elsewhere and give "
            f"the file with --archive.{kept}"
        )
    return f"{host} breaks off ({type(error).__name__}: {error}).{kept}"


def _origin_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
