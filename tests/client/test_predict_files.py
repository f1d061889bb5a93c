import os
from pathlib import Path

import pytest

from tbscreen.predict import find_radiographs

PNG = b"\x89PNG\r\n\x1a\n"


def names(paths: list[Path], root: Path, *, recursive: bool = True) -> list[str]:
    found = find_radiographs(paths, recursive=recursive)
    return [str(item.path.relative_to(root)) for item in found]


def write(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_folder_is_walked_in_order_and_by_suffix_or_content(tmp_path: Path) -> None:
    write(tmp_path / "b.PNG")
    write(tmp_path / "a.dcm")
    write(tmp_path / "notes.txt", b"text")
    write(tmp_path / "sub" / "IM0001", bytes(128) + b"DICM")
    write(tmp_path / "sub" / "photo", b"\xff\xd8\xff\xe0")
    write(tmp_path / "sub" / "short", b"")
    assert names([tmp_path], tmp_path) == ["a.dcm", "b.PNG", "sub/IM0001", "sub/photo"]


def test_folders_of_a_folder_can_be_left_out(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    write(tmp_path / "sub" / "b.png")
    assert names([tmp_path], tmp_path, recursive=False) == ["a.png"]


def test_hidden_files_and_dicomdir_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    write(tmp_path / "._a.png")
    write(tmp_path / ".cache" / "b.png")
    write(tmp_path / "DICOMDIR", bytes(128) + b"DICM")
    assert names([tmp_path], tmp_path) == ["a.png"]


def test_named_file_is_taken_whatever_it_is(tmp_path: Path) -> None:
    assert names([write(tmp_path / "notes.txt")], tmp_path) == ["notes.txt"]


def test_link_that_leads_back_ends(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "gone.png").symlink_to(tmp_path / "nothing")
    assert names([tmp_path], tmp_path) == ["a.png"]


def test_empty_folder_and_missing_path_are_errors(tmp_path: Path) -> None:
    write(tmp_path / "notes.txt", b"text")
    with pytest.raises(ValueError, match="no PNG, JPEG, TIFF or DICOM file"):
        find_radiographs([tmp_path], recursive=True)
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        find_radiographs([tmp_path / "none"], recursive=True)


def test_pipe_is_neither_file_nor_folder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="neither a file nor a folder"):
        find_radiographs([tmp_path / "pipe"], recursive=True)


def test_heat_maps_never_share_a_name(tmp_path: Path) -> None:
    write(tmp_path / "one" / "sub" / "a.png", PNG)
    write(tmp_path / "one" / "a.jpg")
    write(tmp_path / "two" / "sub" / "a.png", PNG)
    found = find_radiographs([tmp_path / "one", tmp_path / "two"], recursive=True)
    assert [str(item.heatmap) for item in found] == [
        "a.jpg.heatmap.png",
        "sub/a.png.heatmap.png",
        "sub/a.png.heatmap-2.png",
    ]


def test_name_that_is_no_utf8_can_be_printed(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    write(path)
    (found,) = find_radiographs([path], recursive=True)
    assert found.name.encode().endswith("caf�.png".encode())
    assert found.path.read_bytes() == b"x"
