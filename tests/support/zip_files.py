"""Zips, sound and hostile, made from scratch where zipfile would not write them."""

import io
import struct
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

STORED, DEFLATED, BZIP2 = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2


def zip_of(*files: tuple[str | zipfile.ZipInfo, bytes], method: int = STORED) -> bytes:
    """A sound zip of these files, in this order; a name may come twice."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, data in files:
            info = name if isinstance(name, zipfile.ZipInfo) else zipfile.ZipInfo(name)
            archive.writestr(info, data, compress_type=method)
    return target.getvalue()


@dataclass(frozen=True)
class Entry:
    """What the directory says of an entry, true or not."""

    name: bytes
    offset: int
    packed_bytes: int
    unpacked_bytes: int
    crc: int
    method: int = DEFLATED
    flags: int = 0
    extra: bytes = b""


def local_header(entry: Entry) -> bytes:
    head = struct.pack(
        "<4sHHHHHIIIHH",
        *(b"PK\3\4", 20, entry.flags, entry.method, 0, 0x21),
        *(entry.crc, entry.packed_bytes, entry.unpacked_bytes, len(entry.name), 0),
    )
    return head + entry.name


def directory(entries: Iterable[Entry], at: int) -> bytes:
    """The central directory and the end record of a zip whose directory is at `at`."""
    said = [
        struct.pack(
            "<4sHHHHHHIIIHHHHHII",
            *(b"PK\1\2", 20, 20, entry.flags, entry.method, 0, 0x21),
            *(entry.crc, entry.packed_bytes, entry.unpacked_bytes),
            *(len(entry.name), len(entry.extra), 0, 0, 0, 0, entry.offset),
        )
        + entry.name
        + entry.extra
        for entry in entries
    ]
    size = sum(map(len, said))
    count = min(len(said), 0xFFFF)
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, count, count, size, at, 0)
    return b"".join(said) + end


def deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def shared_kernel_bomb(count: int, unpacked: bytes) -> bytes:
    """All entries are the same bytes: each names the one local header."""
    packed = deflate(unpacked)
    entry = Entry(b"a", 0, len(packed), len(unpacked), zlib.crc32(unpacked))
    body = local_header(entry) + packed
    return body + directory([entry] * count, len(body))


def quoted_bomb(count: int, unpacked: bytes) -> bytes:
    """Fifield's: each file's data quotes the next one's header and goes on with its data."""
    content, data = unpacked, deflate(unpacked)
    entries: list[Entry] = []
    body = b""
    for number in reversed(range(count)):
        entry = Entry(f"{number:05}".encode(), 0, len(data), len(content), zlib.crc32(content))
        header = local_header(entry)
        body = header + data
        entries.insert(0, entry)
        quote = struct.pack("<BHH", 0, len(header), len(header) ^ 0xFFFF)
        content, data = header + content, quote + body
    at = 0
    for number, entry in enumerate(entries):
        entries[number] = replace(entry, offset=at)
        at += len(local_header(entry)) + len(quote)
    return body + directory(entries, len(body))


def boasting_bomb(_: int, unpacked: bytes) -> bytes:
    """One file that says it is packed in as many bytes as it unpacks to: a ratio of one."""
    packed = deflate(unpacked)
    entry = an_entry(unpacked, packed, DEFLATED, packed_bytes=len(unpacked))
    return with_entries((entry, packed))


def of_many_entries(count: int, name: bytes = b"a") -> bytes:
    """Nothing but a directory: entries of no bytes."""
    return directory((Entry(name, 0, 0, 0, 0, STORED) for _ in range(count)), 0)


def with_entries(*files: tuple[Entry, bytes]) -> bytes:
    """A zip whose directory says of each file what its entry does, and where it is."""
    body = b""
    placed = []
    for entry, packed in files:
        placed.append(replace(entry, offset=entry.offset or len(body)))
        body += local_header(entry) + packed
    return body + directory(placed, len(body))


def an_entry(data: bytes, packed: bytes, method: int = STORED, **changes: int | bytes) -> Entry:
    fields: dict[str, object] = {
        "name": b"a",
        "offset": 0,
        "packed_bytes": len(packed),
        "unpacked_bytes": len(data),
        "crc": zlib.crc32(data),
        "method": method,
    }
    return Entry(**{**fields, **changes})  # type: ignore[arg-type]
