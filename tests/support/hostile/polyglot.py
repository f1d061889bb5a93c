"""Files of two formats at once, and files under another format's name."""

import io
import zipfile
from collections.abc import Iterator

from support.hostile import dicom_file as d
from support.hostile.case import READ, UNREADABLE, UNSUPPORTED, Case, case, either
from support.hostile.jpeg_file import segment, with_segments
from support.hostile.png import chunk, png
from support.hostile.seeds import phantom_bytes
from support.hostile.tiff_file import tiff

_PAGE = b"<html><script>alert(1)</script></html>"


def cases() -> Iterator[Case]:
    jpeg, archive = phantom_bytes("JPEG", 96), _zip()
    yield case("polyglot png and zip", png() + archive, READ)
    yield case("polyglot png with a zip in a chunk", png(chunk(b"prVt", archive)), READ)
    yield case("polyglot jpeg and page", with_segments(jpeg, segment(0xFE, _PAGE)), READ)
    yield case("polyglot jpeg and zip", jpeg + archive, READ)
    yield case("polyglot tiff and zip", tiff() + archive, READ)
    yield case("polyglot zip first", archive + png(), UNSUPPORTED)
    yield case("polyglot page first", _PAGE + png(), UNSUPPORTED)
    yield from _preambles(jpeg)
    yield from _half(jpeg)


def _zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("../../evil.sh", "#!/bin/sh")
    return stream.getvalue()


def _preambles(jpeg: bytes) -> Iterator[Case]:
    """DICOM leaves its first 128 bytes to whom they may serve."""
    whole = d.dicom()
    for name, other in (("tiff", tiff()), ("png", png()), ("jpeg", jpeg), ("page", _PAGE)):
        preamble = other[:128].ljust(128, b"\0")
        yield case(f"polyglot dicom with a {name} before it", preamble + whole[128:], READ)
    # A TIFF whose directory and pixels stand behind the DICOM object.
    shifted = b"II*\0" + (len(whole)).to_bytes(4, "little")
    yield case("polyglot dicom and tiff", shifted.ljust(128, b"\0") + whole[128:] + tiff(), READ)


def _half(jpeg: bytes) -> Iterator[Case]:
    """One format's beginning before another's whole."""
    files = {"png": png(), "jpeg": jpeg, "tiff": tiff(), "dicom": d.dicom()}
    for first, head in files.items():
        begin = head[:132] if first == "dicom" else head[:8]
        for second, body in files.items():
            yield either(f"polyglot {first} magic before a {second}", begin + body)
    for name, content in (
        ("gif", b"GIF89a" + bytes(200)),
        ("pdf", b"%PDF-1.7\n" + jpeg),
        ("svg", b"<svg/>" * 50),
        ("bmp", b"BM" + bytes(200)),
        ("webp", b"RIFF\0\0\0\0WEBPVP8 " + bytes(200)),
        ("jpeg 2000", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(200)),
        ("zeros", bytes(300)),
    ):
        yield case(f"polyglot none of ours: {name}", content, UNSUPPORTED)
    yield case("polyglot none of ours: one byte", b"\x89", UNSUPPORTED)
    yield case("polyglot dicom of two bytes more", d.PREAMBLE + b"DICM\0\0", UNREADABLE)
