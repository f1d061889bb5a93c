import io
import struct
from collections.abc import Callable

import pytest

from support.hostile.jpeg_file import many_scans, segment, with_segments
from support.hostile.png import SIGNATURE, chunk, header
from support.hostile.seeds import phantom_bytes
from tbscreen_shared.errors import ErrorCode, ImageError
from tbscreen_shared.imaging.bounded_stream import BoundedStream
from tbscreen_shared.imaging.structure import check_jpeg, check_png, check_tiff


def is_refused(check: Callable[[], None]) -> bool:
    try:
        check()
    except ImageError as error:
        assert error.code is ErrorCode.UNREADABLE_IMAGE
        return True
    return False


@pytest.mark.parametrize(
    ("kind", "many"), [(b"IDAT", 32_768), (b"fdAT", 32_768), (b"tEXt", 255), (b"prVt", 255)]
)
def test_a_png_has_so_many_chunks_and_no_more(kind: bytes, many: int) -> None:
    def check(count: int) -> None:
        content = SIGNATURE + header(64, 64) + chunk(kind, b"x") * count
        check_png(BoundedStream(io.BytesIO(content)))

    assert not is_refused(lambda: check(many))
    assert is_refused(lambda: check(many + 1))


def test_a_jpeg_has_so_many_scans_and_no_more() -> None:
    scans = many_scans(64, 0).count(b"\xff\xda")

    assert not is_refused(lambda: check_jpeg(many_scans(64, 64 - scans)))
    assert is_refused(lambda: check_jpeg(many_scans(64, 65 - scans)))


def test_what_looks_like_scans_elsewhere_in_a_jpeg_is_not_counted() -> None:
    plain = phantom_bytes("JPEG", 64)
    in_a_comment = with_segments(plain, segment(0xFE, b"\xff\xda" * 1_000))
    behind_the_end = plain + b"\xff\xda" * 1_000
    in_a_jpeg_ls_scan = plain[:-2] + b"\xff\x5a" * 100_000 + plain[-2:]

    for data in (in_a_comment, behind_the_end, in_a_jpeg_ls_scan):
        assert not is_refused(lambda data=data: check_jpeg(data))


def test_a_whole_jpeg_has_an_end() -> None:
    plain = phantom_bytes("JPEG", 64)

    assert not is_refused(lambda: check_jpeg(plain, whole=True))
    for cut in (2, 20, len(plain) // 2, len(plain) - 2, len(plain) - 1):
        assert is_refused(lambda cut=cut: check_jpeg(plain[:cut], whole=True))
        assert not is_refused(lambda cut=cut: check_jpeg(plain[:cut]))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("tag", [273, 279, 324, 325])
def test_a_tiff_lists_so_many_strips_and_no_more(tag: int, order: str) -> None:
    def check(count: int) -> None:
        magic = b"II*\0" if order == "<" else b"MM\0*"
        entries = struct.pack(f"{order}HHII", 256, 4, 1, 64)
        entries += struct.pack(f"{order}HHII", tag, 4, count, 0)
        content = magic + struct.pack(f"{order}IH", 8, 2) + entries
        check_tiff(BoundedStream(io.BytesIO(content)))

    assert not is_refused(lambda: check(100_000))
    assert is_refused(lambda: check(100_001))
