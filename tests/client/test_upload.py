from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tbscreen.upload import Upload


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


@pytest.mark.parametrize("make", [lambda path: path, str, Path.read_bytes])
def test_httpx_reads_it_whole_knows_its_length_and_reads_it_again(
    tmp_path: Path, make: Callable[[Path], str | Path | bytes]
) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(bytes(range(256)) * 1000)
    with Upload(make(path)) as upload:
        for _ in range(2):
            request = httpx.Request("POST", "http://g/", files={"file": ("x", upload)})
            # httpx names its stream by a type that need not be iterable; this one is.
            body = b"".join(request.stream)  # type: ignore[arg-type]
            assert path.read_bytes() in body
            assert int(request.headers["content-length"]) == len(body)


def test_a_thousand_files_take_one_descriptor(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(1000)]
    for path in paths:
        path.write_bytes(b"film")
    before, most = open_files(), 0
    files = [("file", ("x", Upload(path))) for path in paths]
    request = httpx.Request("POST", "http://g/", files=files)
    # As above: the stream's type is wider than this stream.
    for _ in request.stream:  # type: ignore[union-attr]
        most = max(most, open_files())
    assert most <= before + 1
    assert open_files() == before


def test_what_can_not_be_read_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Upload(tmp_path / "none.dcm")
    with pytest.raises(IsADirectoryError):
        Upload(tmp_path)
