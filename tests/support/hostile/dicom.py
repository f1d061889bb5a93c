"""Hostile DICOM files: their structure."""

import struct
import zlib
from collections.abc import Iterator
from functools import partial
from typing import Final

from support.hostile import dicom_file as d
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
from support.hostile.deflate import zeros
from support.hostile.dicom_file import dataset, delimiter, dicom, element, item, meta, text

_PRIVATE: Final = 0x00091010
_SEQUENCE: Final = 0x00081140


def cases() -> Iterator[Case]:
    yield from _deflated()
    yield from _many_elements()
    yield from _nested()
    yield from _lengths()
    yield from _orders()
    yield from _syntaxes()
    plain = dicom()
    yield from truncations("dicom", plain, [128, 132, 300, *_element_edges(plain)])
    nested = meta(d.EXPLICIT) + nested_sequences(3) + dataset()
    begin = len(meta(d.EXPLICIT))
    yield from truncations("dicom, nested", nested, range(begin, begin + 200, 8))
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = meta(d.DEFLATED) + packer.compress(dataset()) + packer.flush()
    begin = len(meta(d.DEFLATED))
    yield from truncations("dicom, deflated", packed, range(begin, len(packed), 8))


def _element_edges(content: bytes) -> Iterator[int]:
    """Where each element, its length and its value begin."""
    for tag in (0x00020000, 0x00020001, 0x00020002, 0x00020010, *d.image_elements()):
        begin = content.index(struct.pack("<HH", tag >> 16, tag & 0xFFFF), 132)
        yield from (begin, begin + 4, begin + 6, begin + 8)


def nested_sequences(depth: int) -> bytes:
    """Sequences within sequences, of undefined length."""
    opening = element(_SEQUENCE, b"SQ", item(b"", length=d.UNDEFINED), length=d.UNDEFINED)
    return opening * depth + (delimiter(d.ITEM_END) + delimiter(d.SEQUENCE_END)) * depth


def _deflated() -> Iterator[Case]:
    bomb = zeros(4096)
    yield case("dicom deflated 4 GiB", meta(d.DEFLATED) + bomb, TOO_LARGE)
    # pydicom heeds the length of the header's first element not at all.
    for lie in (0, 2, 300, 2**31, d.UNDEFINED):
        content = meta(d.DEFLATED, group_length=lie) + bomb
        yield case(f"dicom deflated 4 GiB, group length {lie}", content, TOO_LARGE)
    beyond = len(meta(d.DEFLATED)) - 132 - 12 + len(bomb)
    decoyed = meta(d.DEFLATED, group_length=beyond) + bomb + zeros(1)
    yield case("dicom deflated 4 GiB, the length leads past it", decoyed, TOO_LARGE)
    for name, content in (("nothing", b""), ("junk", b"\xff" * 64), ("half", zeros(1)[:500])):
        yield case(f"dicom deflated {name}", meta(d.DEFLATED) + content, UNREADABLE)


def _many_elements() -> Iterator[Case]:
    opened = element(_SEQUENCE, b"SQ", b"", length=d.UNDEFINED)
    for name, content in (
        ("2 million private elements", element(_PRIVATE, b"LO", b"") * 2_000_000),
        ("2 million items", item(b"") * 2_000_000),
        ("500,000 sequences", nested_sequences(1) * 500_000),
        ("2 million items in a sequence", opened + item(b"") * 2_000_000),
        ("a sequence without an end", opened + element(_PRIVATE, b"LO", b"") * 2_000_000),
    ):
        yield case(f"dicom {name}", meta(d.EXPLICIT) + content + dataset(), UNREADABLE)


def _nested() -> Iterator[Case]:
    for depth in (3, 100, 1_000, 10_000, 300_000):
        content = meta(d.EXPLICIT) + nested_sequences(depth) + dataset()
        yield case(f"dicom sequences {depth} deep", content, READ if depth <= 100 else UNREADABLE)
    for tag in (d.VOI_LUT, d.MODALITY_LUT):
        deep = nested_sequences(2_000)
        renamed = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + deep[4:]
        yield either(f"dicom {tag:#x} 2,000 deep", meta(d.EXPLICIT) + renamed + dataset())
        flat = b""
        for _ in range(400):
            flat = element(_SEQUENCE, b"SQ", item(flat))
        yield either(f"dicom {tag:#x} 400 deep", dicom({tag: (b"SQ", item(flat))}))


def _lengths() -> Iterator[Case]:
    yield case("dicom of nothing", d.PREAMBLE + b"DICM", UNREADABLE)
    yield case("dicom without a dataset", meta(d.EXPLICIT), UNREADABLE)
    for length in (0, 1, 2**31, d.UNDEFINED):
        content = meta(d.EXPLICIT, group_length=length) + dataset()
        yield case(f"dicom header of {length} bytes", content, READ)
    for vr in (b"OB", b"UN", b"SQ", b"UT"):
        for length in (2**31, d.UNDEFINED - 1, d.UNDEFINED):
            content = meta(d.EXPLICIT) + element(_PRIVATE, vr, b"", length=length) + dataset()
            yield case(f"dicom {vr.decode()} of length {length:#x}", content, UNREADABLE)
    for length in (1, 2**31, d.UNDEFINED):
        pixels = element(d.PIXELS, b"OW", bytes(4096), length=length)
        content = meta(d.EXPLICIT) + dataset({d.PIXELS: None}) + pixels
        yield either(f"dicom pixels of length {length:#x}", content)
    yield either("dicom 20 MiB behind the pixels", partial(bytes.__add__, dicom(), bytes(20 * MIB)))


def _orders() -> Iterator[Case]:
    backwards = reversed(d.image_elements().items())
    reverse = b"".join(element(tag, *value) for tag, value in backwards)
    yield either("dicom elements out of order", meta(d.EXPLICIT) + reverse)
    huge = dataset({d.PIXELS: None, **d.sized(65_535, 65_535)})
    yield either("dicom another size behind the pixels", dicom() + huge)
    yield case("dicom another size before", meta(d.EXPLICIT) + huge + dataset(), READ)
    yield either("dicom pixels twice", dicom() + element(d.PIXELS, b"OW", b"ab"))
    odd = element(_PRIVATE, b"ZZ", b"ab")
    yield case("dicom an unknown representation", meta(d.EXPLICIT) + odd + dataset(), READ)
    command = element(0x00000002, b"UI", b"1.2")
    yield either("dicom a message's command", meta(d.EXPLICIT) + command + dataset())
    yield either("dicom a sequence that is text", dicom({d.VOI_LUT: text("LO", "abcd")}))
    unknown = dicom({d.VOI_LUT: (b"UN", item(b"abcd"))})
    yield either("dicom a sequence of unknown kind", unknown)


def _syntaxes() -> Iterator[Case]:
    for uid in ("", "1", "1.2.3.4", "x" * 64, "1.2.840.10008.1.2.4.100", "../../etc/passwd"):
        name = f"dicom transfer syntax {uid[:30] or 'empty'}"
        yield case(name, dicom(syntax=uid), UNREADABLE)
    for uid in (d.IMPLICIT, d.BIG, d.DEFLATED, d.JPEG_2000, d.RUN_LENGTHS):
        yield either(f"dicom explicit that says {uid}", dicom(syntax=uid))
    above = item(element(0x00041500, *text("CS", "..\\..\\..\\ETC\\PASSWD")))
    listing = element(0x00041220, b"SQ", above)
    yield case("dicom a directory of files above it", meta(d.EXPLICIT) + listing, UNREADABLE)
    yield case("dicom a directory in an image", meta(d.EXPLICIT) + listing + dataset(), READ)
    no_syntax = meta(d.EXPLICIT)[: -len(element(0x00020010, *text("UI", d.EXPLICIT)))]
    yield case("dicom no transfer syntax", no_syntax + dataset(), UNREADABLE)
    yield case("dicom no header", d.PREAMBLE + b"DICM" + dataset(), UNREADABLE)
