"""What an archive may unpack to, and say of itself."""

import random
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from support import zip_files
from support.gateway_app import PNG
from support.sent_form import SentRequest, form, split
from support.unpacking import LIMITS, refusal, unpack
from support.zip_files import DEFLATED, an_entry, deflate, with_entries, zip_of
from tbscreen_gateway.batches.form import receive_batch
from tbscreen_gateway.problems import Refusal
from tbscreen_shared.blobs import BlobStore
from tbscreen_shared.errors import ErrorCode

MIB = 2**20


async def test_a_file_that_unpacks_to_a_thousand_times_its_size_is_not_unpacked(
    blobs: BlobStore, left_behind: Callable[[], list[Path]]
) -> None:
    bomb = PNG[:8] + bytes(4 * MIB)
    packed = deflate(bomb)
    assert len(bomb) / len(packed) > 1000
    sound = (an_entry(PNG, PNG), PNG)
    draft = await unpack(with_entries((an_entry(bomb, packed, DEFLATED), packed), sound), blobs)
    assert draft.items[0].error is not None
    assert draft.items[0].error.code is ErrorCode.FILE_TOO_LARGE
    assert "100 times" in draft.items[0].error.message
    assert [path.stat().st_size for path in left_behind()] == [len(PNG)]
    # A small one may be as even as it likes.
    even = PNG + bytes(900_000)
    packed = deflate(even)
    draft = await unpack(with_entries((an_entry(even, packed, DEFLATED), packed), sound), blobs)
    assert len(draft.uploads) == 2


async def test_what_all_files_unpack_to_is_bounded_refused_ones_among_them(
    blobs: BlobStore, left_behind: Callable[[], list[Path]]
) -> None:
    film = PNG + random.Random(1).randbytes(3 * MIB)
    limits = replace(LIMITS, max_unpacked_bytes=10 * MIB, max_file_bytes=2 * MIB)
    data = zip_of(*((str(n), film) for n in range(6)), method=DEFLATED)
    assert (await refusal(data, blobs, limits)).code is ErrorCode.BATCH_TOO_LARGE
    assert left_behind() == []


@pytest.mark.parametrize(
    "bomb", [zip_files.shared_kernel_bomb, zip_files.quoted_bomb, zip_files.boasting_bomb]
)
async def test_entries_that_reach_beyond_their_bytes_are_refused_before_any_is_unpacked(
    blobs: BlobStore, left_behind: Callable[[], list[Path]], bomb: Callable[[int, bytes], bytes]
) -> None:
    data = bomb(15, PNG + bytes(100_000))
    assert len(data) < 3000
    refused = await refusal(data, blobs)
    assert (refused.code, refused.detail) == (
        "unreadable_archive",
        "Its entries overlap, or reach into its directory.",
    )
    assert left_behind() == []


def test_the_quoted_bomb_of_these_tests_is_one() -> None:
    """Else the test above would pass for another reason."""
    data = zip_files.quoted_bomb(15, PNG + bytes(100_000))
    packed, unpacked = data[: data.index(b"PK\1\2")], 0
    at = 0
    for _ in range(15):
        name_bytes = int.from_bytes(packed[at + 26 : at + 28], "little")
        start = at + 30 + name_bytes
        unpacked += len(zlib.decompress(packed[start:], -15))
        at = start + 5
    assert unpacked > 15 * 100_000


@pytest.mark.parametrize(
    "data",
    [
        zip_files.of_many_entries(100_000),
        zip_files.of_many_entries(30_000),
        zip_files.of_many_entries(300, name=b"a" * 60_000),
    ],
    ids=["many", "fewer, of as many bytes as a large batch's", "long names"],
)
async def test_a_huge_directory_is_refused_without_being_taken_into_memory(
    blobs: BlobStore, data: bytes
) -> None:
    limits = replace(LIMITS, max_files=1000)
    sent = SentRequest(split(form(data, "archive"), 100_000))
    tracemalloc.start()
    try:
        with pytest.raises(Refusal) as caught:
            await receive_batch(sent.request, blobs, limits, lambda _: None)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.code is ErrorCode.BATCH_TOO_LARGE
    assert peak_bytes < 5 * MIB


async def test_a_directory_of_more_files_than_a_batch_holds_is_refused(blobs: BlobStore) -> None:
    twenty = zip_of(*((str(number), PNG) for number in range(20)))
    assert len((await unpack(twenty, blobs)).uploads) == 20
    more = zip_of(*((str(number), PNG) for number in range(21)))
    assert (await refusal(more, blobs)).code is ErrorCode.BATCH_TOO_LARGE
    crowded = zip_of(*((f"{number}/", b"") for number in range(10_000)), ("a", PNG))
    assert (await refusal(crowded, blobs)).code is ErrorCode.BATCH_TOO_LARGE
