import os
import resource
import shutil
import signal
import sys
from pathlib import Path

import pytest

from support.blob_files import blob_files
from support.interning import watch_interning
from tbscreen_shared.blob_writing import BlobWriter
from tbscreen_shared.blobs import BlobStore, BlobStoreMissingError
from tbscreen_shared.errors import BlobError, ErrorCode


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


def test_a_committed_blob_reads_back(store: BlobStore) -> None:
    with store.open_writer() as writer:
        writer.write(b"radio")
        writer.write(b"graph")
        key = writer.commit()
    with store.open(key) as stream:
        assert stream.read() == b"radiograph"


def test_an_abandoned_blob_leaves_nothing(store: BlobStore, tmp_path: Path) -> None:
    with store.open_writer() as writer:
        writer.write(b"half")
        assert not Path(store.path(writer.key)).exists()
    assert blob_files(tmp_path / "blobs") == []


def test_a_failure_while_writing_leaves_nothing(store: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), store.open_writer() as writer:
        writer.write(b"half")
        raise RuntimeError("client went away")
    assert blob_files(tmp_path / "blobs") == []


def test_a_spool_reads_back_counts_as_stored_and_is_gone_after(
    store: BlobStore, tmp_path: Path
) -> None:
    with store.open_spool() as spool:
        assert blob_files(tmp_path / "blobs") == []
        count, stored_bytes = store.usage()
        spool.write(b"arch")
        spool.write(b"ive" * 10_000)
        assert spool.rewind().read() == b"arch" + b"ive" * 10_000
        assert store.usage() == (count + 1, stored_bytes + 30_004)
        assert store.keys(older_than_s=-1) == []
    assert blob_files(tmp_path / "blobs") == []


def test_a_spool_that_a_killed_process_left_is_a_partial(store: BlobStore, tmp_path: Path) -> None:
    spool = store.open_spool()
    spool.write(b"archive")
    spool.rewind()
    for partial in store.partials():
        store.erase_partial(partial)
    assert blob_files(tmp_path / "blobs") == []
    with spool:  # its stream is still open
        pass


def test_a_volume_that_fills_up_under_a_spool_is_told_as_such(
    store: BlobStore, tmp_path: Path
) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full on this system")
    with store.open_spool() as spool:
        os.dup2(os.open(full, os.O_WRONLY), spool.rewind().fileno())
        with pytest.raises(BlobError) as caught:
            spool.write(bytes(10**6))
    assert caught.value.code is ErrorCode.STORAGE_FULL
    assert blob_files(tmp_path / "blobs") == []


def test_erasing_twice_is_no_error(store: BlobStore) -> None:
    with store.open_writer() as writer:
        key = writer.commit()
    store.erase(key)
    store.erase(key)
    with pytest.raises(FileNotFoundError), store.open(key):
        pass


@pytest.mark.parametrize("key", ["", "../../etc/passwd", "a" * 31, "A" * 32, "a" * 32 + "\n"])
def test_a_key_can_not_lead_out_of_the_store(store: BlobStore, key: str) -> None:
    with pytest.raises(ValueError, match="not a blob key"):
        store.path(key)


def test_a_full_volume_is_told_as_such(store: BlobStore, tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full on this system")
    writer = store.open_writer()
    with pytest.raises(BlobError) as caught, writer:
        assert writer._stream is not None
        os.dup2(os.open(full, os.O_WRONLY), writer._stream.fileno())
        writer.write(b"x" * 100)
        writer.commit()
    assert caught.value.code is ErrorCode.STORAGE_FULL
    assert blob_files(tmp_path / "blobs") == []


def test_a_volume_that_fails_otherwise_is_unavailable(store: BlobStore) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(BlobError) as caught, store.open_writer() as writer:
            writer.write(b"x" * 100_000)
            writer.commit()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert caught.value.code is ErrorCode.STORAGE_UNAVAILABLE


def test_a_writable_store_passes_its_probe_and_keeps_nothing(
    store: BlobStore, tmp_path: Path
) -> None:
    store.check_writable()
    assert blob_files(tmp_path / "blobs") == []


def test_a_vanished_volume_fails_its_probe(store: BlobStore, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "blobs")
    with pytest.raises(BlobError):
        store.check_writable()


def test_a_full_volume_fails_its_probe(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full on this system")
    enter = BlobWriter.__enter__

    def enter_full(opened: BlobWriter) -> BlobWriter:
        enter(opened)
        assert opened._stream is not None
        os.dup2(os.open(full, os.O_WRONLY), opened._stream.fileno())
        return opened

    monkeypatch.setattr(BlobWriter, "__enter__", enter_full)
    with pytest.raises(BlobError) as caught:
        store.check_writable()
    assert caught.value.code is ErrorCode.STORAGE_FULL


def test_a_store_that_another_process_made_is_present(store: BlobStore, tmp_path: Path) -> None:
    with store.open_writer() as writer:
        writer.write(b"radiograph")
        key = writer.commit()
    seen = BlobStore.existing(tmp_path / "blobs")
    seen.check_present()
    assert Path(seen.path(key)).read_bytes() == b"radiograph"


def test_a_directory_that_is_no_store_is_told_from_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for wrong in ("empty", "missing"):
        with pytest.raises(BlobStoreMissingError, match=wrong):
            BlobStore.existing(tmp_path / wrong).check_present()
    assert not (tmp_path / "missing").exists()


def test_a_linked_blob_outlives_the_first_key(store: BlobStore) -> None:
    with store.open_writer() as writer:
        writer.write(b"radiograph")
        key = writer.commit()
    twin, size_bytes = store.link(key)
    assert (twin != key, size_bytes) == (True, 10)
    store.erase(key)
    with store.open(twin) as stream:
        assert stream.read() == b"radiograph"
    with pytest.raises(FileNotFoundError):
        store.link(key)


def test_no_name_is_interned_for_good(
    store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interned = watch_interning(monkeypatch)
    with store.open_writer() as writer, store.open_spool() as spool:
        spool.write(b"archive")
        for partial in store.partials():
            store.erase_partial(partial)
        with pytest.raises(BlobError):
            writer.commit()
    with store.open_writer() as writer:
        key = writer.commit()
    with store.open(key):
        store.touch(key)
    twin, _ = store.link(key)
    assert {key, twin} == set(store.keys(older_than_s=-1))
    assert store.usage()[0] == 3
    store.check_present()
    store.check_writable()
    for one in (key, twin):
        store.erase(one)
    assert interned == []
    os.fspath(tmp_path / key)
    # Where this interpreter's pathlib interns at all.
    assert (key in interned) == (sys.version_info < (3, 14))
