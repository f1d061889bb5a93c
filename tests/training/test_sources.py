import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.phantom import draw_phantom
from tbscreen_training.config import DataConfig
from tbscreen_training.dataset import load_dataset
from tbscreen_training.errors import TrainingError
from tbscreen_training.sources import read_samples, recognise
from tbscreen_training.sources.masks import open_mask, read_mask

CLASSES = {"TB Positive": ("tuberculosis",), "Normal": ("normal", "other")}


def write_images(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        draw_phantom(zlib.crc32(name.encode()), size=(32, 32)).save(root / name)


def write_mask(path: Path, box: tuple[int, int, int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = Image.new("1", (64, 32))
    mask.paste(1, box)
    mask.save(path)


@pytest.fixture
def shenzhen(tmp_path: Path) -> Path:
    root = tmp_path / "shenzhen"
    write_images(
        root,
        "ChinaSet_AllFiles/CXR_png/CHNCXR_0001_0.png",
        "ChinaSet_AllFiles/CXR_png/CHNCXR_0002_0.png",
        "ChinaSet_AllFiles/CXR_png/CHNCXR_0327_1.png",
    )
    (root / "ChinaSet_AllFiles/CXR_png/Thumbs.db").write_bytes(b"not an image")
    write_mask(root / "ChinaSet_AllFiles/mask/CHNCXR_0001_0_mask.png", (0, 0, 8, 8))
    return root


@pytest.fixture
def montgomery(tmp_path: Path) -> Path:
    root = tmp_path / "montgomery" / "MontgomerySet"
    write_images(root, "CXR_png/MCUCXR_0001_0.png", "CXR_png/MCUCXR_0104_1.png")
    write_mask(root / "ManualMask/leftMask/MCUCXR_0001_0.png", (40, 4, 60, 28))
    write_mask(root / "ManualMask/rightMask/MCUCXR_0001_0.png", (4, 4, 24, 28))
    write_mask(root / "ManualMask/leftMask/MCUCXR_0104_1.png", (40, 4, 60, 28))
    return root


@pytest.fixture
def tbx11k(tmp_path: Path) -> Path:
    root = tmp_path / "TBX11K"
    write_images(
        root,
        *("imgs/health/h0001.png", "imgs/health/h0002.png", "imgs/sick/s0001.png"),
        *("imgs/tb/tb0001.png", "imgs/test/t0001.png", "imgs/test/t0002.png"),
        *("imgs/extra/da+db/train/n1.png", "imgs/extra/da+db/val/p2.png"),
        *("imgs/extra/da+db/train/nx1.jpg", "imgs/extra/da+db/train/px12.jpg"),
        "imgs/extra/mc+shenzhen/train/CHNCXR_0001_0.png",
    )
    (root / "lists").mkdir()
    (root / "lists" / "TBX11K_train.txt").write_text("health/h0001.png\n")
    return root


def test_shenzhen_is_recognised_and_its_names_tell_label_and_patient(shenzhen: Path) -> None:
    assert recognise(shenzhen) == "nlm"
    samples = list(read_samples(shenzhen, "zip", "auto"))
    assert [s.label for s in samples] == ["normal", "normal", "tuberculosis"]
    assert {s.source for s in samples} == {"shenzhen"}
    assert [s.group for s in samples] == ["CHNCXR_0001", "CHNCXR_0002", "CHNCXR_0327"]
    assert samples[0].name == "zip/ChinaSet_AllFiles/CXR_png/CHNCXR_0001_0.png"
    assert [s.mask.name if s.mask else None for s in samples] == [
        "CHNCXR_0001_0_mask.png",
        None,
        None,
    ]


def test_the_nlm_images_alone_are_recognised_by_their_names(shenzhen: Path) -> None:
    samples = list(read_samples(shenzhen / "ChinaSet_AllFiles" / "CXR_png", "png", "auto"))
    assert len(samples) == 3
    assert samples[0].mask is not None


def test_both_nlm_sets_below_one_folder_are_read_together(shenzhen: Path, montgomery: Path) -> None:
    samples = read_samples(shenzhen.parent, "nlm", "auto")
    assert Counter(s.source for s in samples) == {"shenzhen": 3, "montgomery": 2}


def test_montgomerys_two_masks_are_joined_to_one(montgomery: Path) -> None:
    samples = list(read_samples(montgomery, "mc", "auto"))
    assert {s.source for s in samples} == {"montgomery"}
    assert samples[0].mask is not None
    mask = np.asarray(open_mask(samples[0].mask)) > 0
    assert mask.shape == (32, 64)
    assert mask.sum() == 2 * 20 * 24
    assert read_mask(samples[0], 64).mean() == pytest.approx(mask.mean(), abs=0.02)
    # Half a pair is no mask of the lungs.
    assert samples[1].mask is None


def test_masks_of_two_sizes_are_refused(montgomery: Path) -> None:
    sample = next(read_samples(montgomery, "mc", "auto"))
    right = montgomery / "ManualMask/rightMask/MCUCXR_0001_0.png"
    Image.new("1", (10, 10)).save(right)
    with pytest.raises(TrainingError, match=r"MCUCXR_0001_0.*masks are \(64, 32\) and \(10, 10\)"):
        read_mask(sample, 64)


def test_an_image_whose_name_tells_no_label_is_named(shenzhen: Path) -> None:
    write_images(shenzhen / "ChinaSet_AllFiles/CXR_png", "CHNCXR_0003.png", "copy of 0001_0.png")
    with pytest.raises(TrainingError, match=r"CHNCXR_0003\.png, copy of 0001_0\.png"):
        list(read_samples(shenzhen, "zip", "auto"))


def test_tbx11k_is_recognised_and_its_folders_tell_the_label(tbx11k: Path) -> None:
    assert recognise(tbx11k) == "tbx11k"
    assert recognise(tbx11k.parent) == "tbx11k"
    samples = list(read_samples(tbx11k, "tbx", "auto"))
    assert Counter((s.source, s.label) for s in samples) == {
        ("tbx11k", "normal"): 2,
        ("tbx11k", "other"): 1,
        ("tbx11k", "tuberculosis"): 1,
        ("tbx11k_da", "normal"): 1,
        ("tbx11k_da", "tuberculosis"): 1,
        ("tbx11k_db", "normal"): 1,
        ("tbx11k_db", "tuberculosis"): 1,
    }


def test_what_tbx11k_has_no_label_for_is_counted(
    tbx11k: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    list(read_samples(tbx11k, "tbx", "auto"))
    assert "2 images of test are left out" in caplog.text
    assert "1 images of extra/mc+shenzhen are left out" in caplog.text


@pytest.mark.parametrize("stray", ["imgs/odd/1.png", "imgs/1.png", "imgs/extra/da+db/val/q1.png"])
def test_an_image_that_tbx11k_does_not_have_is_named(tbx11k: Path, stray: str) -> None:
    write_images(tbx11k, stray)
    with pytest.raises(TrainingError, match=Path(stray).name):
        list(read_samples(tbx11k, "tbx", "auto"))


def test_publishers_layouts_become_classes_together(shenzhen: Path, tbx11k: Path) -> None:
    dataset = load_dataset(DataConfig(roots=(shenzhen, tbx11k), classes=CLASSES))
    assert dataset.labels == ("Normal", "TB Positive")
    assert Counter(s.label for s in dataset.samples) == {"Normal": 7, "TB Positive": 4}


def test_a_named_format_is_not_guessed_against(shenzhen: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    folders = read_samples(shenzhen / "ChinaSet_AllFiles", "zip", "folders")
    assert {s.label for s in folders} == {"CXR_png", "mask"}
    with pytest.raises(TrainingError, match="no folder imgs"):
        list(read_samples(shenzhen, "zip", "tbx11k"))
    with pytest.raises(TrainingError, match="CHNCXR_0001_0"):
        list(read_samples(empty, "none", "nlm"))
    with pytest.raises(TrainingError, match=r"holds no manifest\.csv"):
        list(read_samples(empty, "none", "manifest"))


def test_a_manifest_gives_masks_and_misses_none(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png", "b.png", "mask/a.png")
    (tmp_path / "manifest.csv").write_text("file,label,mask\na.png,tb,mask/a.png\nb.png,normal,\n")
    samples = list(read_samples(tmp_path, "set", "auto"))
    assert [s.mask for s in samples] == [tmp_path / "mask" / "a.png", None]
    (tmp_path / "mask" / "a.png").unlink()
    with pytest.raises(TrainingError, match=r"line 2: there is no file mask/a\.png"):
        list(read_samples(tmp_path, "set", "auto"))
