"""Unpacks a zip as the gateway does, onto a volume of its own."""

import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from support import zip_files
from support.blob_files import blob_files
from support.hostile.case import READ
from support.hostile.seeds import phantom_bytes
from tbscreen_gateway.batches.archive import Archive
from tbscreen_gateway.batches.draft import BatchDraft, BatchLimits
from tbscreen_gateway.problems import Refusal
from tbscreen_shared.blobs import BlobStore
from tbscreen_shared.errors import ErrorCode

OUTCOMES: Final = frozenset(
    {READ, ErrorCode.BATCH_TOO_LARGE, ErrorCode.UNREADABLE_ARCHIVE, ErrorCode.NO_FILE_ACCEPTED}
)
_LIMITS: Final = BatchLimits(
    max_files=8,
    max_request_bytes=2**20,
    max_file_bytes=2**20,
    max_unpacked_bytes=4 * 2**20,
    max_ratio=100,
)
_ONE_CHUNK_BYTES: Final = 256 * 1024
"""What is unpacked is counted after each."""


def outcome_of_archive(path: Path) -> str:
    """Returns `read`, the error's code, or in words what must never happen."""
    directory = path.with_suffix(".blobs")
    draft = BatchDraft(BlobStore(directory), _LIMITS, lambda _: None)
    try:
        with path.open("rb") as stream:
            archive = Archive(stream, _LIMITS)
            for index, entry in archive.files:
                for _ in archive.unpack(index, entry, draft):
                    pass
        draft.check_any_accepted()
        outcome = next(_broken_invariants(draft, archive, directory), READ)
    except Refusal as refusal:
        outcome = str(refusal.code)
    except BaseException as error:
        outcome = f"{type(error).__module__}.{type(error).__name__}: {error}"
    draft.erase()
    return outcome if not blob_files(directory) else f"{outcome}, and files are left"


def _broken_invariants(draft: BatchDraft, archive: Archive, directory: Path) -> Iterator[str]:
    if [item.index for item in draft.items] != [index for index, _ in archive.files]:
        yield "not every file was stored or refused"
    sizes = [path.stat().st_size for path in blob_files(directory)]
    if len(sizes) != len(draft.uploads) or max(sizes) > _LIMITS.max_file_bytes:
        yield f"files of {sizes} bytes"
    if sum(sizes) > _LIMITS.max_unpacked_bytes + _ONE_CHUNK_BYTES:
        yield f"{sum(sizes)} bytes in all"


def repair_zip(data: bytes) -> bytes:
    """Puts right each stored file's checksum, where the directory leads to one."""
    repaired = bytearray(data)
    for place in islice(_places(data, b"PK\1\2"), 16):
        fields = data[place : place + 46]
        if len(fields) < 46:
            break
        method = int.from_bytes(fields[10:12], "little")
        size = int.from_bytes(fields[20:24], "little")
        header = int.from_bytes(fields[42:46], "little")
        named = int.from_bytes(data[header + 26 : header + 28], "little")
        extra = int.from_bytes(data[header + 28 : header + 30], "little")
        begin = header + 30 + named + extra
        content = _unpacked(data[begin : begin + size], method)
        repaired[place + 16 : place + 20] = zlib.crc32(content).to_bytes(4, "little")
    return bytes(repaired)


def _unpacked(packed: bytes, method: int) -> bytes:
    if method != zip_files.DEFLATED:
        return packed
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, 2**21)
    except zlib.error:
        return b""


def _places(data: bytes, mark: bytes) -> Iterator[int]:
    place = data.find(mark)
    while place >= 0:
        yield place
        place = data.find(mark, place + 1)


def archive_seeds() -> Iterator[bytes]:
    picture = phantom_bytes("PNG", 64)
    for method in (zip_files.STORED, zip_files.DEFLATED, zip_files.BZIP2):
        yield zip_files.zip_of(("a.png", picture), ("b/c.dcm", b"no radiograph"), method=method)
    yield zip_files.zip_of(("folder/", b""), ("__MACOSX/._a.png", b"x"), ("a", picture))
    yield zip_files.zip_of(*((str(index), picture[:200]) for index in range(8)))
    yield zip_files.zip_of(("zeros", bytes(2**18)), method=zip_files.DEFLATED)
    yield zip_files.shared_kernel_bomb(4, picture)
    yield zip_files.quoted_bomb(4, picture)
    yield zip_files.of_many_entries(40)
    for flags in (0x1, 0x8, 0x800):
        entry = zip_files.an_entry(picture, picture, flags=flags)
        yield zip_files.with_entries((entry, picture))
    zip64 = b"\1\0\x18\0" + bytes(24)
    yield zip_files.with_entries((zip_files.an_entry(picture, picture, extra=zip64), picture))
