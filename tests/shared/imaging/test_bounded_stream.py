import io
import tracemalloc
from pathlib import Path

import pytest

from tbscreen_shared.errors import ErrorCode, ImageError
from tbscreen_shared.imaging.bounded_stream import MAX_READS, BoundedStream

MIB = 2**20


def test_it_reads_as_a_file_does(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(200)))

    with path.open("rb", buffering=0) as file:
        stream = BoundedStream(file)

        assert stream.read(3) == b"\0\1\2"
        assert stream.tell() == 3
        assert stream.seek(-2, io.SEEK_END) == 198
        assert stream.read() == bytes([198, 199])
        assert stream.read(5) == b""
        assert stream.seek(500) == 500
        assert stream.read() == b""
        assert stream.fileno() == file.fileno()


def test_more_than_the_file_holds_is_not_allocated() -> None:
    stream = BoundedStream(io.BytesIO(bytes(100)))

    tracemalloc.start()
    assert len(stream.read(2**32)) == 100
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak_bytes < MIB


def test_it_is_read_so_often_and_no_more() -> None:
    stream = BoundedStream(io.BytesIO(bytes(MAX_READS + 1)))
    for _ in range(MAX_READS):
        stream.read(1)

    with pytest.raises(ImageError) as caught:
        stream.read(1)
    assert caught.value.code is ErrorCode.UNREADABLE_IMAGE
    with pytest.raises(ImageError):
        stream.check_reads_left()


def test_a_header_is_read_so_far_and_the_rest_as_far_as_it_goes() -> None:
    stream = BoundedStream(io.BytesIO(bytes(300)), header_bytes=100)
    stream.read(100)
    stream.end_header()
    assert len(stream.read()) == 200

    stream = BoundedStream(io.BytesIO(bytes(300)), header_bytes=100)
    with pytest.raises(ImageError, match="header"):
        stream.read(101)
