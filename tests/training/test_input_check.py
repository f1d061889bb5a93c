import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from support.phantom import draw_phantom
from tbscreen_shared.input_check import InputCheck, Kind, layout_of
from tbscreen_training.config import INPUT_PX, DataConfig, RunConfig
from tbscreen_training.dataset import Dataset
from tbscreen_training.errors import TrainingError
from tbscreen_training.input_check import step, turned
from tbscreen_training.input_check.examples import DRAWINGS, Examples, gather, origins_of
from tbscreen_training.input_check.familiarity import (
    choose_limit,
    cross_fitted_distances,
    fit_familiarity,
)
from tbscreen_training.input_check.layouts import (
    choose_threshold,
    cross_fitted_shares,
    fit_layouts,
    folds_by_origin,
)
from tbscreen_training.input_check.record import describe
from tbscreen_training.run_directory import RunDirectory
from tbscreen_training.sample import Sample
from tbscreen_training.served import Answer
from tbscreen_training.splits import write_splits
from tbscreen_training.tensors import TensorCache

MakeSamples = Callable[..., list[Sample]]


def frame(seed: int) -> NDArray[np.uint8]:
    return np.asarray(draw_phantom(seed, size=(INPUT_PX, INPUT_PX)))


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Sample], TensorCache]:
    """Twelve phantoms of three sources."""
    root = Path(tmp_path_factory.mktemp("phantoms"))
    samples = []
    for seed in range(12):
        path = root / f"{seed}.png"
        draw_phantom(seed, size=(INPUT_PX, INPUT_PX)).save(path)
        source = ("east", "north", "west")[seed % 3]
        sha256 = f"{seed:064x}"
        samples.append(Sample(path, path.name, source, "Normal", f"g{seed}", "test", sha256))
    return samples, TensorCache(root / "tensors")


@pytest.fixture(scope="module")
def examples(phantoms: tuple[list[Sample], TensorCache]) -> Examples:
    return gather(*phantoms, drawings=5, pictures=None, seed=1)


@pytest.fixture(scope="module")
def shares(examples: Examples) -> NDArray[np.float32]:
    return cross_fitted_shares(examples, folds_by_origin(examples))


@pytest.fixture(scope="module")
def check(examples: Examples) -> InputCheck:
    model = fit_layouts(examples, examples.is_fitted)
    return InputCheck(model, threshold=0.5, familiarity=None)


@pytest.mark.parametrize("name", DRAWINGS)
def test_drawings_fill_the_frame_and_differ_by_seed_alone(name: str) -> None:
    first, again, other = (DRAWINGS[name](np.random.default_rng(seed)) for seed in (1, 1, 2))

    assert (first.mode, first.size) == ("L", (INPUT_PX, INPUT_PX))
    assert np.array_equal(np.asarray(first), np.asarray(again))
    assert not np.array_equal(np.asarray(first), np.asarray(other))


@pytest.mark.parametrize("turn", [turned.vary, *turned.READ_ALL_THE_SAME.values()])
def test_variants_keep_the_frame_and_change_the_levels(turn: turned.Turn) -> None:
    pixels = frame(3)

    changed = turn(pixels, np.random.default_rng(0))

    assert (changed.shape, changed.dtype) == (pixels.shape, np.uint8)
    assert not np.array_equal(changed, pixels)


def test_turning_twice_and_inverting_twice_give_the_radiograph_back() -> None:
    pixels, rng = frame(3), np.random.default_rng(0)

    for turn in (turned.invert, turned.turn_over):
        np.testing.assert_array_equal(turn(turn(pixels, rng), rng), pixels)


def test_no_origin_is_in_two_folds_and_each_source_is_held_out(examples: Examples) -> None:
    folds = folds_by_origin(examples)

    for origin in set(examples.origins):
        assert len(set(folds[examples.origins == origin])) == 1
    assert len({folds[examples.origins == source][0] for source in ("east", "north", "west")}) == 3


def test_a_single_source_is_held_out_in_parts_that_groups_do_not_straddle(
    make_samples: MakeSamples,
) -> None:
    origins = origins_of(make_samples([("only", "Normal", f"g{n // 2}") for n in range(40)]))

    assert set(origins) == {f"only, part {part}" for part in range(1, 6)}
    assert origins[0::2] == origins[1::2]


def test_what_is_measured_only_is_not_learned_from(examples: Examples) -> None:
    for name in turned.READ_ALL_THE_SAME:
        assert not examples.is_fitted[examples.names == name].any()
    assert not examples.is_measured[examples.names == "varied"].any()


def test_the_check_tells_radiographs_from_the_rest(check: InputCheck) -> None:
    rng = np.random.default_rng(9)
    pixels = frame(77)

    assert check.judge(pixels[..., np.newaxis]).kind is Kind.FRONTAL
    for kind in (Kind.INVERTED, Kind.SIDEWAYS, Kind.UPSIDE_DOWN):
        verdict = check.judge(turned.REFUSED[kind](pixels, rng)[..., np.newaxis])
        # Which of them it is, twelve phantoms do not always tell.
        assert verdict.is_refused
        assert verdict.kind is not Kind.FRONTAL
    for name in ("document", "noise", "hand"):
        drawing = np.asarray(DRAWINGS[name](rng))
        assert check.judge(drawing[..., np.newaxis]).is_refused


def test_the_figures_are_those_of_models_that_never_saw_the_origin(
    examples: Examples, check: InputCheck, shares: NDArray[np.float32]
) -> None:
    foreign = {"east": np.array([True, False, False, False])}

    record = describe(examples, shares, check, foreign=foreign)

    kinds = sorted(set(examples.kinds))
    phantoms = examples.names == "radiograph"
    refused = (shares[phantoms, kinds.index("frontal")] < 0.5).sum()
    assert record["false_refusals"]["n"] == 12
    assert record["false_refusals"]["refused"] == refused
    assert set(record["false_refusals_by_source"]) == {"east", "north", "west"}
    assert record["refused_by_kind"]["sideways"]["n"] == 12
    assert record["refused_by_kind"]["document"]["n"] == 5
    assert record["missed_non_radiographs"]["n"] == 12 * 4 + 5 * len(DRAWINGS)
    assert record["out_of_distribution_warnings"]["east"]["share"]["value"] == 0.25
    assert record["milliseconds"] > 0


def test_a_kind_that_a_fold_never_saw_has_no_share_there(
    examples: Examples, shares: NDArray[np.float32]
) -> None:
    lateral = sorted(set(examples.kinds)).index("lateral")

    np.testing.assert_array_equal(shares[examples.kinds == "lateral", lateral], 0)
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-5)


def test_at_most_one_radiograph_in_a_hundred_is_refused_and_never_a_likely_one() -> None:
    many = np.linspace(0.0, 0.999, 1000, dtype=np.float32)

    assert (many < choose_threshold(many)).mean() <= 0.01
    assert choose_threshold(np.full(50, 0.9, np.float32)) == 0.5


def test_pictures_are_taken_by_folder_and_refused_later(
    phantoms: tuple[list[Sample], TensorCache], tmp_path: Path
) -> None:
    rng = np.random.default_rng(5)
    for folder in ("holiday", "office"):
        (tmp_path / folder).mkdir()
        for number in range(3):
            levels = rng.integers(0, 256, (300, 400, 3), dtype=np.uint8)
            Image.fromarray(levels).save(tmp_path / folder / f"{number}.jpg")

    samples, tensors = phantoms
    examples = gather(samples[:1], tensors, drawings=1, pictures=tmp_path, seed=1)

    pictures = examples.is_measured & (examples.names == "picture")
    assert set(examples.origins[pictures]) == {"pictures holiday", "pictures office"}
    assert pictures.sum() == 6
    assert set(examples.kinds[pictures]) == {"other"}


def test_pictures_that_can_not_be_used_are_named(
    phantoms: tuple[list[Sample], TensorCache], tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="no folder of pictures"):
        gather(*phantoms, drawings=5, pictures=tmp_path, seed=1)

    (tmp_path / "office").mkdir()
    (tmp_path / "office" / "letter.txt").write_text("Dear all")
    with pytest.raises(TrainingError, match=r"letter\.txt can not be read"):
        gather(*phantoms, drawings=5, pictures=tmp_path, seed=1)


def test_a_distance_is_that_of_mahalanobis() -> None:
    rng = np.random.default_rng(2)
    rows = (rng.normal(size=(5000, 3)) @ np.diag([1.0, 5.0, 20.0]) + 7).astype(np.float32)

    familiarity = fit_familiarity(rows, ("lungs",))

    point = np.array([[8.0, 7.0, 7.0], [7.0, 12.0, 7.0], [7.0, 7.0, 47.0]], np.float32)
    # One, one and two standard deviations along one of three axes.
    np.testing.assert_allclose(
        familiarity.distances(point), np.array([1, 1, 2]) / np.sqrt(3), rtol=0.05
    )


def test_the_limit_is_exceeded_by_two_in_a_hundred_of_what_was_held_out() -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(400, 4)).astype(np.float32)
    origins = np.array(["east", "west"] * 200)

    distances = cross_fitted_distances(rows, origins, ("lungs",))
    limit = choose_limit(distances)

    assert 0 < (distances > limit).mean() <= 0.02
    far = fit_familiarity(rows, ("lungs",), limit=limit).distances(np.full((1, 4), 9, np.float32))
    assert far[0] > limit


def test_a_source_of_its_own_kind_is_foreign_when_held_out() -> None:
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(300, 4)).astype(np.float32)
    origins = np.array(["east", "north", "west"] * 100)
    rows[origins == "west"] += 6

    distances = cross_fitted_distances(rows, origins, ("lungs",))

    assert distances[origins == "west"].min() > np.median(distances[origins != "west"])


class FakeServedModel:
    """Gives features that depend on the frame's brightness alone."""

    def __init__(self, path: Path) -> None:
        assert path.name == "model.tflite"

    def answer(self, tensor: NDArray[np.uint8]) -> Answer:
        features = np.array([tensor.mean(), tensor.std()], np.float32)
        empty = np.zeros((1, 8, 8), np.float32)
        return Answer(empty[0, 0, :1], empty, empty[0], features, features[:1])


def test_the_step_leaves_the_check_and_its_record_in_the_run(
    phantoms: tuple[list[Sample], TensorCache],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    samples = [
        replace(sample, split="left_out" if n < 2 else "test")
        for n, sample in enumerate(phantoms[0])
    ]
    config = RunConfig(data=DataConfig(roots=(tmp_path,)), drawings=5, check_from=10)
    run = RunDirectory(tmp_path, config)
    write_splits(tmp_path, Dataset(tuple(samples), ("Normal", "TB Positive"), "TB Positive"))
    with pytest.raises(TrainingError, match="run the step `export` first"):
        step.fit_check(run)
    run.export_record.write_text("{}")
    monkeypatch.setattr(step, "ServedModel", FakeServedModel)

    step.fit_check(run)

    check = InputCheck.read(run.input_check)
    record = json.loads(run.input_check_record.read_text())
    assert check.judge(frame(0)[..., np.newaxis]).kind is Kind.FRONTAL
    assert check.familiarity is not None
    assert check.familiarity.parts == ("frame_features", "lung_features")
    assert record["threshold"] == check.threshold
    assert record["false_refusals"]["n"] == len(samples)
    warned = record["out_of_distribution_warnings"]
    assert sum(row["n"] for row in warned.values()) == len(samples)

    step.fit_check(RunDirectory(tmp_path, config.model_copy(update={"check_from": 13})))

    assert "takes 13 radiographs" in caplog.text
    assert not run.input_check.exists()
    assert not run.input_check_record.exists()


def test_layouts_of_variants_come_from_the_pixels(examples: Examples) -> None:
    first = examples.layouts[examples.names == "radiograph"][0]

    np.testing.assert_array_equal(first, layout_of(frame(0)[..., np.newaxis]))
