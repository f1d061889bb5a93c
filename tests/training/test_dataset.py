from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tbscreen_training.config import DataConfig
from tbscreen_training.dataset import load_dataset
from tbscreen_training.errors import TrainingError

MakeManifest = Callable[..., Path]


def test_a_folder_for_each_class_is_read(phantom_folders: Path) -> None:
    dataset = load_dataset(DataConfig(roots=(phantom_folders,)))
    assert dataset.labels == ("Normal", "TB Positive")
    assert Counter(s.label for s in dataset.samples) == {"Normal": 10, "TB Positive": 10}
    assert {s.source for s in dataset.samples} == {phantom_folders.name}
    assert all(s.path.is_file() for s in dataset.samples)


def test_a_folder_with_a_manifest_is_read_by_its_manifest(phantom_manifest: Path) -> None:
    dataset = load_dataset(DataConfig(roots=(phantom_manifest.parent,)))
    assert dataset.labels == ("normal", "other", "tuberculosis")
    assert dataset.positive == "tuberculosis"
    assert {s.source for s in dataset.samples} == {"north", "south"}


def test_several_sets_are_joined_and_labels_mapped_to_classes(
    phantom_manifest: Path, phantom_folders: Path
) -> None:
    dataset = load_dataset(
        DataConfig(
            roots=(phantom_manifest, phantom_folders),
            classes={
                "TB Positive": ("tuberculosis", "TB Positive"),
                "Normal": ("normal", "other", "Normal"),
            },
        )
    )
    assert Counter(s.label for s in dataset.samples) == {"TB Positive": 18, "Normal": 26}


def test_of_two_classes_the_positive_one_comes_second(make_manifest: MakeManifest) -> None:
    path = make_manifest([{"label": "Active TB"}, {"label": "Zero findings"}])
    dataset = load_dataset(DataConfig(roots=(path,)))
    assert dataset.labels == ("Zero findings", "Active TB")
    assert dataset.targets(dataset.samples).tolist() == [1, 0]


def test_the_positive_class_must_be_named_where_no_name_tells_it(
    make_manifest: MakeManifest,
) -> None:
    path = make_manifest([{"label": "a"}, {"label": "b"}])
    with pytest.raises(TrainingError, match="--positive"):
        load_dataset(DataConfig(roots=(path,)))
    assert load_dataset(DataConfig(roots=(path,), positive="a")).labels == ("b", "a")


def test_two_sets_in_folders_of_one_name_stay_apart(
    tmp_path: Path, make_manifest: MakeManifest
) -> None:
    path = make_manifest([{"label": "tb"}, {"label": "normal"}])
    dataset = load_dataset(DataConfig(roots=(path, path)))
    assert len({s.name for s in dataset.samples}) == 4


@pytest.mark.parametrize(
    ("rows", "classes", "message"),
    [
        ([{"label": "tb"}, {"label": "tb"}], {}, "two classes or more"),
        (
            [{"label": "tb"}, {"label": "normal"}],
            {"TB": ("tb",), "Normal": ("normal",), "Other": ("other",)},
            "'Other' is empty",
        ),
        ([{"label": "tb"}, {"label": "scar"}], {"TB": ("tb",), "N": ("n",)}, "'scar'"),
        (
            [{"label": "tb", "content": "x"}, {"label": "normal", "content": "x"}],
            {},
            "two labels: .*0.png is 'tb', .*1.png is 'normal'",
        ),
        ([{"label": "tb", "split": "dev"}, {"label": "normal", "split": ""}], {}, "'dev'"),
    ],
)
def test_data_that_can_not_be_learned_from_is_refused(
    make_manifest: MakeManifest,
    rows: list[dict[str, str]],
    classes: dict[str, tuple[str, ...]],
    message: str,
) -> None:
    columns = ["file", "label"] + (["split"] if "split" in rows[0] else [])
    path = make_manifest(rows, columns=columns)
    with pytest.raises(TrainingError, match=message):
        load_dataset(DataConfig(roots=(path,), classes=classes))


def test_a_missing_file_is_named_with_its_line(make_manifest: MakeManifest) -> None:
    path = make_manifest([{"label": "tb"}, {"label": "normal"}])
    (path.parent / "1.png").unlink()
    with pytest.raises(TrainingError, match=r"line 3: there is no file 1\.png"):
        load_dataset(DataConfig(roots=(path,)))


def test_a_manifest_without_labels_is_refused(make_manifest: MakeManifest) -> None:
    path = make_manifest([{"label": "tb"}], columns=["file"])
    with pytest.raises(TrainingError, match="no column 'label'"):
        load_dataset(DataConfig(roots=(path,)))


def test_an_empty_class_folder_is_refused(tmp_path: Path) -> None:
    for name in ("Normal", "TB"):
        (tmp_path / name).mkdir()
    with pytest.raises(TrainingError, match="'Normal' is empty"):
        load_dataset(DataConfig(roots=(tmp_path,)))


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no such folder"):
        load_dataset(DataConfig(roots=(tmp_path / "absent",)))
