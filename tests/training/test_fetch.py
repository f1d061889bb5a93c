import hashlib
import io
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from support.phantom import draw_phantom
from support.range_server import RangeServer, running_range_server
from tbscreen_training.cli import main
from tbscreen_training.errors import TrainingError
from tbscreen_training.fetch import DataSet, fetch, load_registry
from tbscreen_training.fetch.archive import unpack
from tbscreen_training.fetch.download import download


def set_archive() -> bytes:
    """A small Montgomery set, zipped as its publisher does, with a file that does not compress."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for seed, label in ((1, 0), (2, 0), (3, 1)):
            image = io.BytesIO()
            draw_phantom(seed, size=(64, 64)).save(image, format="PNG")
            name = f"MontgomerySet/CXR_png/MCUCXR_{seed:04d}_{label}.png"
            archive.writestr(name, image.getvalue())
        archive.writestr("MontgomerySet/NLM-MontgomeryCXRSet-ReadMe.pdf", os.urandom(600_000))
        archive.writestr("__MACOSX/MontgomerySet/._CXR_png", b"resource fork")
    return packed.getvalue()


@pytest.fixture(scope="module")
def archive() -> bytes:
    return set_archive()


@pytest.fixture
def server(archive: bytes) -> Iterator[RangeServer]:
    with running_range_server(archive) as running:
        yield running


def data_set(*, url: str | None, sha256: str | None = None) -> DataSet:
    known = load_registry()["montgomery"].model_dump()
    return DataSet.model_validate({**known, "url": url, "sha256": sha256, "bytes": None})


def no_progress(there: int, total: int | None) -> None:
    pass


def test_a_set_is_downloaded_checked_unpacked_and_counted(
    tmp_path: Path, server: RangeServer, archive: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = data_set(url=server.url, sha256=hashlib.sha256(archive).hexdigest())
    folder = fetch(wanted, tmp_path, archive=None, url=None)
    assert folder == tmp_path / "montgomery"
    assert len(list(folder.rglob("MCUCXR_*.png"))) == 3
    assert not list(folder.rglob("__MACOSX"))
    shown = capsys.readouterr()
    assert shown.out.index("licence") < shown.out.index("3 images (2 normal, 1 tuberculosis)")
    assert "Jaeger" in shown.out
    assert "100%" in shown.err


def test_what_is_there_is_not_downloaded_again(tmp_path: Path, server: RangeServer) -> None:
    for _ in range(2):
        fetch(data_set(url=server.url), tmp_path, archive=None, url=None)
    assert len(server.requests) == 1


def test_a_broken_connection_continues_where_it_stopped(
    tmp_path: Path, server: RangeServer, archive: bytes
) -> None:
    server.break_after = [100_000, 200_000]
    download(server.url, tmp_path / "set.zip", progress=no_progress)
    assert (tmp_path / "set.zip").read_bytes() == archive
    starts = [int(re.findall(r"\d+", wanted)[0]) for wanted in server.requests if wanted]
    assert server.requests[0] is None
    assert starts == sorted(starts)
    assert starts[0] > 0
    assert len(starts) == 2


def test_a_killed_fetch_continues_where_it_stopped(
    tmp_path: Path, server: RangeServer, archive: bytes
) -> None:
    server.pause_s = 0.05
    command = [sys.executable, "-m", "tbscreen_training", "fetch", "montgomery"]
    command += ["--to", str(tmp_path), "--url", server.url]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    part = tmp_path / "NLM-MontgomeryCXRSet.zip.part"
    deadline = time.monotonic() + 120
    while not (part.is_file() and part.stat().st_size > 100_000):
        assert process.poll() is None, "the fetch ended before it could be killed"
        assert time.monotonic() < deadline, "the fetch brought nothing"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    there = part.stat().st_size
    server.pause_s = 0.0
    download(server.url, tmp_path / "NLM-MontgomeryCXRSet.zip", progress=no_progress)
    assert server.requests == [None, f"bytes={there}-"]
    assert (tmp_path / "NLM-MontgomeryCXRSet.zip").read_bytes() == archive


def test_a_file_that_changed_meanwhile_is_not_appended_to(
    tmp_path: Path, server: RangeServer
) -> None:
    (tmp_path / "set.zip.part").write_bytes(b"old" * 1000)
    (tmp_path / "set.zip.part.json").write_text(f'{{"url":"{server.url}","validator":"\\"old\\""}}')
    download(server.url, tmp_path / "set.zip", progress=no_progress)
    assert server.requests == ["bytes=3000-"]
    assert (tmp_path / "set.zip").read_bytes() == server.content


def test_a_complete_part_is_taken_as_it_is(tmp_path: Path, server: RangeServer) -> None:
    (tmp_path / "set.zip.part").write_bytes(server.content)
    etag = server.etag.replace('"', '\\"')
    (tmp_path / "set.zip.part.json").write_text(f'{{"url":"{server.url}","validator":"{etag}"}}')
    download(server.url, tmp_path / "set.zip", progress=no_progress)
    assert (tmp_path / "set.zip").read_bytes() == server.content


def test_a_damaged_download_is_refused_and_removed(tmp_path: Path, server: RangeServer) -> None:
    with pytest.raises(TrainingError, match=r"not 0{64}: it is damaged.*Fetch it again"):
        fetch(data_set(url=server.url, sha256="0" * 64), tmp_path, archive=None, url=None)
    assert not (tmp_path / "montgomery").exists()
    assert not (tmp_path / "NLM-MontgomeryCXRSet.zip").exists()


def test_without_a_stated_checksum_the_first_one_is_recorded_and_then_binds(
    tmp_path: Path, server: RangeServer, archive: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch(data_set(url=server.url), tmp_path, archive=None, url=None)
    record = tmp_path / "NLM-MontgomeryCXRSet.zip.sha256"
    checksum = hashlib.sha256(archive).hexdigest()
    assert record.read_text() == f"{checksum}  NLM-MontgomeryCXRSet.zip\n"
    assert "which no one vouches for" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "montgomery")
    (tmp_path / "NLM-MontgomeryCXRSet.zip").unlink()
    server.content = set_archive()
    with pytest.raises(TrainingError, match=f"not {checksum}"):
        fetch(data_set(url=server.url), tmp_path, archive=None, url=None)


def test_offline_says_so_and_how_to_go_on(
    tmp_path: Path, archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with running_range_server(archive) as gone:
        url = gone.url
    with pytest.raises(TrainingError, match=r"is this machine offline\?.*--archive"):
        fetch(data_set(url=url), tmp_path, archive=None, url=None)


def test_a_connection_that_always_breaks_keeps_what_came(
    tmp_path: Path, server: RangeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    server.break_after = [50_000, *[0] * 20]
    with pytest.raises(TrainingError, match=r"50000 bytes are kept; the same command continues"):
        download(server.url, tmp_path / "set.zip", progress=no_progress)
    assert not (tmp_path / "set.zip").exists()


def test_a_set_that_has_moved_names_its_address(tmp_path: Path, server: RangeServer) -> None:
    server.failing_with = 404
    with pytest.raises(TrainingError, match=r"set\.zip answers 404"):
        download(server.url, tmp_path / "set.zip", progress=no_progress)


def test_a_disk_without_room_is_told_before_a_byte_is_written(
    tmp_path: Path, server: RangeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(TrainingError, match=r"0\.0 GB free"):
        download(server.url, tmp_path / "set.zip", progress=no_progress)
    assert not (tmp_path / "set.zip.part").exists()


def test_a_copy_downloaded_otherwise_is_checked_and_unpacked(
    tmp_path: Path, archive: bytes
) -> None:
    copy = tmp_path / "usb" / "montgomery.zip"
    copy.parent.mkdir()
    copy.write_bytes(archive)
    with pytest.raises(TrainingError, match="another version"):
        fetch(data_set(url=None, sha256="0" * 64), tmp_path, archive=copy, url=None)
    assert copy.read_bytes() == archive
    fetch(data_set(url=None), tmp_path, archive=copy, url=None)
    assert (tmp_path / "montgomery" / "MontgomerySet").is_dir()


def test_a_set_that_needs_a_browser_says_where_and_what_then(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fetch", "tbx11k", "--to", str(tmp_path)]) == 1
    shown = capsys.readouterr()
    assert "https://mmcheng.net/tb/" in shown.out
    assert "--archive TBX11K.zip" in shown.err


@pytest.mark.parametrize("name", ["../outside.png", "/outside.png", "a\\..\\..\\outside.png"])
def test_an_entry_outside_the_archive_is_refused(tmp_path: Path, name: str) -> None:
    evil = tmp_path / "evil.zip"
    with zipfile.ZipFile(evil, "w") as opened:
        opened.writestr("fine.png", b"fine")
        opened.writestr(name, b"outside")
    with pytest.raises(TrainingError, match="lies outside"):
        unpack(evil, tmp_path / "in" / "set")
    assert {path.name for path in tmp_path.rglob("*")} <= {"evil.zip", "in"}


def test_a_link_in_an_archive_is_refused(tmp_path: Path) -> None:
    evil = tmp_path / "evil.zip"
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(evil, "w") as opened:
        opened.writestr(link, "/etc")
    with pytest.raises(TrainingError, match="'link' is a link"):
        unpack(evil, tmp_path / "set")


def test_a_cut_archive_is_refused_and_leaves_nothing(tmp_path: Path, archive: bytes) -> None:
    cut = tmp_path / "cut.zip"
    cut.write_bytes(archive[: len(archive) // 2])
    with pytest.raises(TrainingError, match="no whole zip"):
        unpack(cut, tmp_path / "set")
    assert [path.name for path in tmp_path.iterdir()] == ["cut.zip"]


def test_a_damaged_entry_is_refused_and_leaves_nothing(tmp_path: Path, archive: bytes) -> None:
    spoiled = bytearray(archive)
    spoiled[len(spoiled) // 2] ^= 0xFF
    path = tmp_path / "spoiled.zip"
    path.write_bytes(spoiled)
    with pytest.raises(TrainingError, match="no whole zip"):
        unpack(path, tmp_path / "set")
    assert [path.name for path in tmp_path.iterdir()] == ["spoiled.zip"]


def test_every_known_set_states_licence_citation_and_a_way_to_get_it() -> None:
    for known in load_registry().values():
        assert known.licence
        assert known.citations
        assert known.url or known.by_hand
        assert (known.sha256 is None) == (known.sha256_source is None)
