import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.hostile.reader import Bounds, Reader
from tbscreen_shared.errors import ErrorCode, ImageError
from tbscreen_shared.imaging.memory import bounded_memory

MIB = 2**20

# More than the process may have freed and kept: that is used without asking the kernel.
MORE_THAN_THERE_IS = 8192 * MIB

# Some decoders say of memory that they are refused only that they failed.
LARGE = {"image_too_large", "unreadable_image"}


def test_what_is_within_the_allowance_is_given() -> None:
    with bounded_memory(64 * MIB):
        assert np.ones(32 * MIB, dtype=np.uint8).all()


def test_more_than_the_allowance_is_refused_as_an_image_too_large() -> None:
    with pytest.raises(ImageError) as caught, bounded_memory(64 * MIB):
        np.ones(MORE_THAN_THERE_IS, dtype=np.uint8)

    assert caught.value.code is ErrorCode.IMAGE_TOO_LARGE


_KEEPS_FREED_MEMORY = """
from tbscreen_shared.errors import ImageError
from tbscreen_shared.imaging.memory import bounded_memory

MIB = 2**20
pieces = [bytearray(64 * 1024) for _ in range(192 * 16)]
# What lies between pieces in use can not be given back to the kernel, and is used again.
pieces = pieces[::64]
try:
    with bounded_memory(128 * MIB):
        more = [bytearray(64 * 1024) for _ in range(256 * 16)]
except ImageError as error:
    print(error.code)
"""


def test_memory_that_was_freed_and_kept_does_not_add_to_the_allowance() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", _KEEPS_FREED_MEMORY],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == ErrorCode.IMAGE_TOO_LARGE


def test_the_bound_ends_with_the_decoding_however_that_ends() -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)

    with bounded_memory(MIB):
        pass
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    with pytest.raises(KeyError), bounded_memory(MIB):
        raise KeyError
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    with pytest.raises(ImageError), bounded_memory(MIB):
        np.ones(MORE_THAN_THERE_IS, dtype=np.uint8)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_without_an_allowance_memory_is_not_bounded() -> None:
    with bounded_memory(None):
        assert resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY


def test_a_lower_bound_of_the_process_is_left_as_it_is() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    held = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    lower = held + 512 * MIB
    resource.setrlimit(resource.RLIMIT_DATA, (lower, hard))
    try:
        with bounded_memory(4096 * MIB):
            assert resource.getrlimit(resource.RLIMIT_DATA)[0] == lower
        assert resource.getrlimit(resource.RLIMIT_DATA)[0] == lower
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_an_image_that_takes_more_than_is_allowed_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"large.{suffix}"
    options = {"compression": "tiff_adobe_deflate"} if suffix == "tif" else {}
    Image.new("RGB", (6000, 6000)).save(path, **options)

    def outcome(memory_mib: int) -> str:
        with Reader(Bounds(64_000_000, memory_mib, processor_s=30)) as reader:
            return reader.read(path).outcome

    assert outcome(512) == "read"
    assert outcome(24) in LARGE
