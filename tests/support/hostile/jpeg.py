"""Hostile JPEG files."""

import struct
from collections.abc import Iterator
from functools import partial

from support.hostile.case import (
    MIB,
    READ,
    TOO_LARGE,
    UNREADABLE,
    Case,
    case,
    either,
    truncations,
)
from support.hostile.exif import hostile_exifs
from support.hostile.jpeg_file import (
    START_OF_SCAN,
    frame_of,
    many_scans,
    reframed,
    segment,
    segments,
    with_second_frame,
    with_segments,
    without,
)
from support.hostile.seeds import phantom_bytes


def cases() -> Iterator[Case]:
    plain = phantom_bytes("JPEG", 96)
    yield from _bombs(plain)
    yield from _frames(plain)
    yield from _tables(plain)
    yield from _metadata(plain)
    edges = [edge for _, begin, end in segments(plain) for edge in (begin, begin + 4, end)]
    yield from truncations("jpeg", plain, [2, *edges, len(plain) // 2, len(plain) - 2])
    several = phantom_bytes("JPEG", 96, progressive=True)
    scans = [i for i in range(len(several)) if several.startswith(START_OF_SCAN, i)]
    yield from truncations("jpeg of several scans", several, scans)


def _bombs(plain: bytes) -> Iterator[Case]:
    yield case("jpeg of 10,000 scans", partial(many_scans, 1000, 10_000), UNREADABLE)
    yield case("jpeg of ten scans", partial(many_scans, 1000, 0), READ)
    for name, content in (
        ("4 million comments", segment(0xFE) * 4_000_000),
        ("4 million application segments", segment(0xEA) * 4_000_000),
        ("30 MiB of junk", segment(0xFE) + bytes(30 * MIB)),
        ("30 MiB of fill", segment(0xFE) + b"\xff" * (30 * MIB)),
        ("EXIF of 40 MiB", segment(0xE1, b"Exif\0\0" + bytes(65_000)) * 640),
        ("2 million Photoshop blocks", segment(0xED, _photoshop(5_000)) * 400),
    ):
        yield case(f"jpeg {name}", partial(with_segments, plain, content), UNREADABLE)
    exif = segment(0xE1, b"Exif\0\0" + bytes(65_000)) * 10
    yield either("jpeg EXIF of 640 KiB", with_segments(plain, exif))
    yield case("jpeg with 30 MiB behind its end", lambda: plain + bytes(30 * MIB), READ)
    yield case("jpeg with scans behind its end", plain + START_OF_SCAN * 10_000, READ)


def _photoshop(blocks: int) -> bytes:
    return b"Photoshop 3.0\0" + b"8BIM\0\1\0\0\0\0\0\0" * blocks


def _frames(plain: bytes) -> Iterator[Case]:
    change = partial(reframed, plain)
    yield case("jpeg 65,535 x 65,535", change(width=65_535, height=65_535), TOO_LARGE)
    yield case("jpeg of no rows", change(height=0), UNREADABLE)
    yield case("jpeg of no columns", change(width=0), UNREADABLE)
    # libjpeg paints grey what a scan lacks, as long as the file has an end.
    yield case("jpeg taller than its data", change(height=9_000), READ)
    yield case("jpeg shorter than its data", change(height=40), READ)
    for precision in (0, 7, 12, 16, 255):
        yield case(f"jpeg of {precision} bits", change(precision=precision), UNREADABLE)
    for components in (0, 2, 3, 4, 255):
        name = f"jpeg of {components} components, one declared"
        yield case(name, change(components=components), UNREADABLE)
    for sampling in (0x00, 0x01, 0x10, 0x44, 0x55, 0xFF):
        yield either(f"jpeg sampled {sampling:#04x}", change(sampling=sampling))
    for marker in (0xC1, 0xC2, 0xC3, 0xC5, 0xC9, 0xCA, 0xCB, 0xCF):
        yield either(f"jpeg frame marked {marker:#x}", change(marker=marker))
    begin, end = frame_of(plain)
    yield case("jpeg two frames", plain[:end] + plain[begin:end] + plain[end:], UNREADABLE)
    yield case("jpeg a second frame, larger", with_second_frame(plain), TOO_LARGE)
    yield case("jpeg a first frame, larger", with_second_frame(plain, first=True), UNREADABLE)
    yield case("jpeg an empty frame", with_segments(plain, segment(0xC0)), UNREADABLE)


def _tables(plain: bytes) -> Iterator[Case]:
    for name, marker in (("quantisation", 0xDB), ("Huffman", 0xC4)):
        yield either(f"jpeg without {name} tables", without(plain, marker))
        for body in (b"", b"\0", b"\xff" * 17, b"\x0f" + bytes(64), b"\x10" + b"\xff" * 16):
            table = segment(marker, body)
            yield either(f"jpeg {name} table {body[:2].hex()}", with_segments(plain, table))
    yield case("jpeg of start and end", b"\xff\xd8\xff\xd9", UNREADABLE)
    yield case("jpeg of three bytes", b"\xff\xd8\xff", UNREADABLE)
    yield either("jpeg restarts at each block", with_segments(plain, segment(0xDD, b"\0\1")))
    yield either("jpeg only restarts", plain[:-2] + b"\xff\xd0" * 10_000)
    yield either("jpeg segment of length 0", with_segments(plain, b"\xff\xe0\0\0"))


def _metadata(plain: bytes) -> Iterator[Case]:
    for name, block in hostile_exifs():
        exif = segment(0xE1, b"Exif\0\0" + block)
        yield either(f"jpeg EXIF {name}", with_segments(plain, exif))
    for body in (b"Adobe", b"Adobe\0\x64\0\0\0\0\x02", b"Adobe\0\x64\0\0\0\0\xff"):
        name = f"jpeg Adobe marker of {len(body)} bytes, transform {body[-1]}"
        yield either(name, with_segments(plain, segment(0xEE, body)))
    for numbers in (b"", b"\1", b"\0\0", b"\xff\xff", b"\1\1"):
        profile = segment(0xE2, b"ICC_PROFILE\0" + numbers)
        name = f"jpeg colour profile part {numbers.hex() or 'without number'}"
        yield either(name, with_segments(plain, profile))
    for images in (0, 1, 2, 2**32 - 1):
        for listed in (0, 2):
            index = segment(0xE2, b"MPF\0" + _multi_picture_index(images, listed))
            yield either(f"jpeg of {images} images, {listed} listed", with_segments(plain, index))
    packet = b"http://ns.adobe.com/xap/1.0/\0" + b'tiff:Orientation="' * 3_000
    yield case("jpeg open orientations", with_segments(plain, segment(0xE1, packet)), READ)


def _multi_picture_index(images: int, listed: int) -> bytes:
    entries = struct.pack("<IIIHH", 0x20000, 100, 0, 0, 0) * listed
    directory = struct.pack("<H", 2)
    directory += struct.pack("<HHII", 0xB001, 4, 1, images)
    directory += struct.pack("<HHII", 0xB002, 7, len(entries), 8 + 2 + 2 * 12 + 4)
    return b"II*\0\x08\0\0\0" + directory + bytes(4) + entries
