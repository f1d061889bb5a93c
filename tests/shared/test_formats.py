import pytest

from tbscreen_shared.contracts import ImageFormat
from tbscreen_shared.formats import SNIFF_BYTES, sniff


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(200), ImageFormat.PNG),
        (b"\xff\xd8\xff\xe0" + bytes(200), ImageFormat.JPEG),
        (b"II*\x00" + bytes(200), ImageFormat.TIFF),
        (b"MM\x00*" + bytes(200), ImageFormat.TIFF),
        (bytes(128) + b"DICM", ImageFormat.DICOM),
        (b"II*\x00" + bytes(124) + b"DICM", ImageFormat.DICOM),
        (b"GIF89a" + bytes(200), None),
        (b"%PDF-1.7", None),
        (b"", None),
        (b"\x89PN", None),
    ],
)
def test_the_content_tells_the_format(head: bytes, expected: ImageFormat | None) -> None:
    assert sniff(head[:SNIFF_BYTES]) is expected
