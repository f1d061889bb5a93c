from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tbscreen_training import folds
from tbscreen_training.config import DataConfig, RunConfig
from tbscreen_training.dataset import Dataset
from tbscreen_training.errors import TrainingError
from tbscreen_training.folds import planned_folds, shuffle_labels
from tbscreen_training.run_directory import RunDirectory
from tbscreen_training.sample import Sample
from tbscreen_training.splits import write_splits


def dataset() -> Dataset:
    rows = [
        *[("hospital", "tb"), ("hospital", "normal")] * 20,
        *[("films", "tb")] * 30,
        *[("archive", "normal")] * 30,
    ]
    splits = ("train", "train", "train", "validation", "test")
    return Dataset(
        tuple(
            Sample(Path("x.png"), f"{n}", source, label, f"{n}", splits[n // 2 % 5], f"{n:04x}")
            for n, (source, label) in enumerate(rows)
        ),
        ("normal", "tb"),
        "tb",
    )


def test_each_source_with_both_classes_is_left_out_in_turn() -> None:
    planned = planned_folds(dataset(), {})
    assert set(planned) == {"hospital"}
    left = planned["hospital"].of_split("left_out")
    assert {sample.source for sample in left} == {"hospital"}
    assert len(left) == 40


def test_named_folds_leave_out_what_they_name() -> None:
    planned = planned_folds(dataset(), {"others": ("films", "archive")})
    assert Counter(s.source for s in planned["others"].of_split("left_out")) == {
        "films": 30,
        "archive": 30,
    }


def test_what_repeats_an_image_that_is_scored_is_not_trained_on() -> None:
    before = dataset()
    film = next(s for s in before.samples if s.source == "films")
    repeat = next(s for s in before.of_split("train") if s.source == "hospital")
    samples = tuple(
        replace(s, group=film.group) if s.name == repeat.name else s for s in before.samples
    )
    planned = planned_folds(replace(before, samples=samples), {"films": ("films",)})["films"]
    assert repeat.name not in {s.name for s in planned.of_split("train")}
    assert (
        len(planned.of_split("train"))
        == len(planned_folds(before, {"films": ("films",)})["films"].of_split("train")) - 1
    )


def test_a_fold_that_takes_a_whole_class_away_is_refused() -> None:
    with pytest.raises(TrainingError, match="no image left"):
        planned_folds(dataset(), {"sick": ("films", "hospital")})


@pytest.mark.parametrize("name", ["label-shuffle", "this model"])
def test_a_fold_can_not_take_the_name_of_another_table(name: str) -> None:
    with pytest.raises(TrainingError, match="choose another"):
        planned_folds(dataset(), {name: ("films",)})


def test_a_fold_of_an_unknown_source_is_refused() -> None:
    with pytest.raises(TrainingError, match="have the sources"):
        planned_folds(dataset(), {"x": ("elsewhere",)})


def test_shuffled_labels_are_alike_in_every_source_and_the_test_split_keeps_its_own() -> None:
    before, shuffled = dataset(), shuffle_labels(dataset(), seed=1)
    assert shuffled.of_split("test") == before.of_split("test")
    train = shuffled.of_split("train")
    assert Counter(s.label for s in train) == Counter(s.label for s in before.of_split("train"))
    for source in ("hospital", "films", "archive"):
        labels = [sample.label for sample in train if sample.source == source]
        assert 0.35 < labels.count("tb") / len(labels) < 0.65


def test_folds_are_trained_again_when_what_decides_them_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []

    def train(run: RunDirectory, name: str, *_: object) -> None:
        checkpoint = run.fold(name) / "checkpoints" / "last.npz"
        assert not checkpoint.exists(), "continued from another recipe's checkpoint"
        checkpoint.parent.mkdir()
        checkpoint.touch()
        (run.fold(name) / "predictions.csv").touch()
        trained.append(name)

    monkeypatch.setattr(folds, "_train_and_score", train)
    config = RunConfig(data=DataConfig(roots=(tmp_path,)), label_shuffles=2)
    write_splits(tmp_path, dataset())

    def step(**changes: Any) -> list[str]:
        trained.clear()
        folds.train_folds(RunDirectory(tmp_path, config.model_copy(update=changes)))
        return sorted(trained)

    named = {"north/south": ("films",)}
    assert step(folds=named) == ["label-shuffle", "north/south"]
    assert step(folds=named) == []
    assert step(folds=named, label_shuffles=3) == ["label-shuffle"]
    assert step(folds={"north/south": ("archive",)}, label_shuffles=3) == ["north/south"]
    other = config.fit.model_copy(update={"dropout": 0.1})
    assert step(folds={"films": ("films",)}, fit=other) == ["films", "label-shuffle"]
    assert {path.name for path in (tmp_path / "folds").iterdir()} == {"films", "label-shuffle"}
