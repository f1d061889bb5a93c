import hashlib
import random
import stat
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from support import zip_files
from support.gateway_app import JPEG, PNG
from support.unpacking import LIMITS, refusal, unpack
from support.zip_files import BZIP2, DEFLATED, STORED, an_entry, deflate, with_entries, zip_of
from tbscreen_gateway.batches.draft import BatchLimits
from tbscreen_gateway.problems import Refusal
from tbscreen_shared.blobs import BlobStore
from tbscreen_shared.errors import ErrorCode

MIB = 2**20
DICOM = bytes(128) + b"DICM" + bytes(500)


async def only_error(data: bytes, blobs: BlobStore, limits: BatchLimits = LIMITS) -> str:
    """The code with which the first file is refused; the second is taken all the same."""
    draft = await unpack(data, blobs, limits)
    first, second = draft.items
    assert second.upload is not None
    assert first.upload is None and first.error is not None
    return first.error.code


@pytest.mark.parametrize("method", [STORED, DEFLATED])
async def test_each_file_is_stored_as_it_was_packed(
    blobs: BlobStore, left_behind: Callable[[], list[Path]], method: int
) -> None:
    files = [PNG, JPEG, DICOM, PNG + random.Random(1).randbytes(MIB)]
    draft = await unpack(zip_of(*((f"{n}", data) for n, data in enumerate(files))), blobs)
    stored = [Path(blobs.path(upload.blob)).read_bytes() for upload in draft.uploads]
    assert stored == files
    assert [u.sha256 for u in draft.uploads] == [hashlib.sha256(data).hexdigest() for data in files]
    assert [upload.format for upload in draft.uploads] == ["png", "jpeg", "dicom", "png"]
    assert len(left_behind()) == 4, "the archive itself is gone"


async def test_names_lead_nowhere(blobs: BlobStore, tmp_path: Path) -> None:
    names = [
        "../../evil.png",
        "/etc/evil.png",
        "..\\evil.png",
        "C:\\evil.png",
        "a\0b.png",
        "x" * 500,
    ]
    before = {path for path in tmp_path.rglob("*") if "evil" in path.name}
    draft = await unpack(zip_of(*((name, PNG) for name in names)), blobs)
    assert len(draft.uploads) == len(names)
    assert {path for path in tmp_path.rglob("*") if "evil" in path.name} == before == set()


async def test_a_name_that_comes_twice_is_two_files(blobs: BlobStore) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = zip_of(("a.png", PNG), ("a.png", JPEG))
    draft = await unpack(data, blobs)
    assert [upload.format for upload in draft.uploads] == ["png", "jpeg"]


async def test_folders_and_what_systems_leave_are_skipped_and_leave_gaps_in_the_indices(
    blobs: BlobStore,
) -> None:
    draft = await unpack(
        zip_of(
            ("visit/", b""),
            ("visit/1.dcm", DICOM),
            ("visit/DICOMDIR", DICOM),
            ("visit/.DS_Store", b"\0\0\0\1Bud1"),
            ("__MACOSX/visit/._1.dcm", b"\0\5\x16\7"),
            ("visit/._1.dcm", b"\0\5\x16\7"),
            ("visit/Thumbs.db", b"x"),
            ("desktop.ini", b"x"),
            ("visit/2.dcm", DICOM),
        ),
        blobs,
    )
    assert [item.index for item in draft.items] == [1, 8]
    assert draft.skipped == 7


async def test_files_that_are_no_radiographs_are_refused_one_by_one(blobs: BlobStore) -> None:
    nested = zip_of(("inner.png", PNG))
    data = zip_of(
        ("a.txt", b"notes" * 100), ("b.png", b""), ("c.zip", nested), ("d", PNG + bytes(5 * MIB))
    )
    with pytest.raises(Refusal) as caught:
        await unpack(data, blobs)
    assert caught.value.code is ErrorCode.NO_FILE_ACCEPTED
    assert [(problem.location, problem.code) for problem in caught.value.errors or ()] == [
        ("items.0", "unsupported_media_type"),
        ("items.1", "empty_upload"),
        ("items.2", "unsupported_media_type"),
        ("items.3", "file_too_large"),
    ]


async def test_links_encrypted_files_and_other_methods_are_refused(blobs: BlobStore) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    assert await only_error(zip_of((link, b"/etc/passwd"), ("b", PNG)), blobs) == "unreadable_entry"
    sound = (an_entry(PNG, PNG), PNG)
    encrypted = (an_entry(PNG, PNG, flags=0x1), PNG)
    assert await only_error(with_entries(encrypted, sound), blobs) == "unreadable_entry"
    for method in (BZIP2, 14, 9, 99):
        other = (an_entry(PNG, PNG, method), PNG)
        assert await only_error(with_entries(other, sound), blobs) == "unreadable_entry"


async def test_a_file_whose_bytes_are_not_what_the_archive_says_is_refused(
    blobs: BlobStore,
) -> None:
    packed = deflate(PNG)
    sound = (an_entry(PNG, PNG), PNG)
    for broken in (
        (an_entry(PNG, packed, DEFLATED, crc=1), packed),
        (an_entry(PNG, packed, DEFLATED), b"\xff" * len(packed)),
        (an_entry(PNG, packed[:-20], DEFLATED), packed[:-20]),
        (an_entry(PNG, packed, DEFLATED, unpacked_bytes=9), packed),
        (an_entry(PNG, PNG, name=b"other"), PNG),
    ):
        data = with_entries(broken, sound)
        if broken[0].name == b"other":
            data = data.replace(b"other", b"local", 1)
        assert await only_error(data, blobs) == "unreadable_entry"


async def test_a_file_is_measured_by_what_comes_out_of_it_and_not_by_what_is_said(
    blobs: BlobStore,
) -> None:
    limits = replace(LIMITS, max_file_bytes=MIB)
    sound = (an_entry(PNG, PNG), PNG)
    long = PNG + random.Random(1).randbytes(2 * MIB)
    packed = deflate(long)
    modest = (an_entry(long, packed, DEFLATED, unpacked_bytes=500), packed)
    assert await only_error(with_entries(modest, sound), blobs, limits) == "unreadable_entry"
    honest = (an_entry(long, packed, DEFLATED), packed)
    assert await only_error(with_entries(honest, sound), blobs, limits) == "file_too_large"
    zip64 = (2**40).to_bytes(8, "little") * 2
    extra = b"\1\0" + len(zip64).to_bytes(2, "little") + zip64
    boaster = an_entry(PNG, PNG, extra=extra, unpacked_bytes=2**32 - 1, packed_bytes=2**32 - 1)
    assert (await refusal(with_entries((boaster, PNG), sound), blobs)).code == "unreadable_archive"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK",
        b"no zip" * 1000,
        b"\x1f\x8b" + bytes(100),
        zip_of(("a", PNG))[:-10],
        zip_of(("a", PNG))[200:],
        zip_files.directory([an_entry(PNG, PNG, offset=2**31)], 0),
        b"PK\5\6" + b"\xff" * 18,
        b"PK\6\7" + b"\xff" * 16 + b"PK\5\6" + b"\xff" * 18,
    ],
)
async def test_what_is_no_sound_zip_is_refused(
    blobs: BlobStore, left_behind: Callable[[], list[Path]], data: bytes
) -> None:
    assert (await refusal(data, blobs)).code in ("unreadable_archive", "no_file_accepted")
    assert left_behind() == []


async def test_an_archive_without_files_is_refused(blobs: BlobStore) -> None:
    refused = await refusal(zip_of(("folder/", b"")), blobs)
    assert (refused.code, refused.errors) == (ErrorCode.NO_FILE_ACCEPTED, [])


async def test_no_damage_to_an_archive_is_more_than_a_refusal(
    blobs: BlobStore, left_behind: Callable[[], list[Path]]
) -> None:
    """Single bytes, mostly of the headers, are changed; whatever zipfile thinks of them."""
    dice = random.Random(7)
    small = [(f"{n}.png", PNG[: 20 + n]) for n in range(4)]
    sound = zip_of(*small, method=DEFLATED)
    outcomes = set()
    for _ in range(400):
        data = bytearray(sound)
        for _ in range(dice.choice((1, 1, 2, 6))):
            data[dice.randrange(len(data))] = dice.choice((0, 1, 0x7F, 0x80, 0xFF))
        try:
            draft = await unpack(bytes(data), blobs)
            draft.erase()
            outcomes.add(f"{len(draft.uploads)} taken")
        except Refusal as refused:
            outcomes.add(str(refused.code))
    assert left_behind() == []
    assert {"unreadable_archive", "3 taken", "4 taken"} <= outcomes
