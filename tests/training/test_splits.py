import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from tbscreen_training.config import LEFT_OUT, SPLITS, DataConfig
from tbscreen_training.dataset import Dataset, Sample
from tbscreen_training.errors import TrainingError
from tbscreen_training.splits import divide, read_splits, write_splits

CONFIG = DataConfig(roots=(Path("unused"),))
MakeSamples = Callable[..., list[Sample]]


def dataset_of(samples: list[Sample]) -> Dataset:
    return Dataset(tuple(samples), ("normal", "tb"), "tb")


def random_rows(seed: int) -> list[tuple[str, str, str]]:
    rng = random.Random(seed)
    rows = []
    for _ in range(300):
        source = rng.choice(["a", "b", "c"])
        label = "tb" if source == "c" else rng.choice(["tb", "normal"])
        group = f"patient-{rng.randrange(90)}" if rng.random() < 0.7 else ""
        rows.append((source, label, group))
    return rows


@pytest.mark.parametrize("seed", range(20))
def test_no_group_straddles_two_splits(make_samples: MakeSamples, seed: int) -> None:
    divided = divide(dataset_of(make_samples(random_rows(seed))), CONFIG, seed=seed)
    sides = defaultdict(set)
    for sample in divided.samples:
        sides[sample.group].add(sample.split)
    assert max(len(splits) for splits in sides.values()) == 1
    assert len(divided.samples) == 300


def test_each_stratum_is_divided_alike(make_samples: MakeSamples) -> None:
    rows = [("a", "tb", "")] * 200 + [("a", "normal", "")] * 100 + [("b", "normal", "")] * 100
    divided = divide(dataset_of(make_samples(rows)), CONFIG, seed=1)
    for source, label, count in (("a", "tb", 200), ("a", "normal", 100), ("b", "normal", 100)):
        for split, share in (("train", 0.7), ("validation", 0.15), ("test", 0.15)):
            found = sum(s.source == source and s.label == label for s in divided.of_split(split))
            assert found == pytest.approx(share * count, abs=1)


def test_the_seed_decides_who_goes_where(make_samples: MakeSamples) -> None:
    samples = make_samples([("a", "tb", ""), ("a", "normal", "")] * 50)

    def splits_with(seed: int) -> list[str]:
        return [s.split for s in divide(dataset_of(samples), CONFIG, seed=seed).samples]

    assert splits_with(1) == splits_with(1)
    assert splits_with(1) != splits_with(2)


def test_identical_files_form_a_group_across_sets(make_samples: MakeSamples) -> None:
    samples = make_samples([("a", "tb", ""), ("a", "normal", "")] * 20)
    twins = [
        replace(sample, name=f"other/{number}", group=f"patient-{number}" if number < 20 else "")
        for number, sample in enumerate(samples)
    ]
    divided = divide(dataset_of(samples + twins), CONFIG, seed=3)
    split_of = {sample.name: sample.split for sample in divided.samples}
    for sample, twin in zip(samples, twins, strict=True):
        assert split_of[sample.name] == split_of[twin.name]


def test_splits_that_the_manifest_names_are_kept(make_samples: MakeSamples) -> None:
    samples = make_samples([("a", "tb", ""), ("a", "normal", "")] * 15)
    named = [replace(s, split=SPLITS[n // 2 % 3]) for n, s in enumerate(samples)]
    divided = divide(dataset_of(named), CONFIG, seed=1)
    assert {s.name: s.split for s in divided.samples} == {s.name: s.split for s in named}


def test_a_group_that_the_manifest_puts_on_both_sides_is_refused(
    make_samples: MakeSamples,
) -> None:
    samples = make_samples([("a", "tb", "p1"), ("a", "normal", "p1")])
    named = [replace(samples[0], split="train"), replace(samples[1], split="test")]
    with pytest.raises(TrainingError, match=r"group p1 is on both sides.*0001\.png in test"):
        divide(dataset_of(named), CONFIG, seed=1)


def test_too_few_groups_for_three_splits_are_refused(make_samples: MakeSamples) -> None:
    samples = make_samples([("a", "normal", "")] * 9 + [("a", "tb", "p1")] * 9)
    with pytest.raises(TrainingError, match=r"no image of \['tb'\].*at least three groups"):
        divide(dataset_of(samples), CONFIG, seed=1)


def test_the_table_of_splits_reads_back_as_it_was_written(
    tmp_path: Path, make_samples: MakeSamples
) -> None:
    divided = divide(dataset_of(make_samples(random_rows(1))), CONFIG, seed=1)
    write_splits(tmp_path, divided)
    assert read_splits(tmp_path) == divided


def test_a_table_edited_so_that_a_group_straddles_is_refused(
    tmp_path: Path, make_samples: MakeSamples
) -> None:
    rows = [("a", label, f"p{n}") for n in range(20) for label in ("tb", "normal")]
    write_splits(tmp_path, divide(dataset_of(make_samples(rows)), CONFIG, seed=1))
    table = tmp_path / "split.csv"
    head, *lines = table.read_text().splitlines()
    moved = next(n for n, line in enumerate(lines) if ",train," in line)
    lines[moved] = lines[moved].replace(",train,", ",test,")
    table.write_text("\n".join([head, *lines]) + "\n")
    with pytest.raises(TrainingError, match="both sides"):
        read_splits(tmp_path)


def test_repeats_of_a_film_stay_together_and_join_their_groups(make_samples: MakeSamples) -> None:
    rows = [("a", label, f"patient-{n}") for n in range(20) for label in ("tb", "normal")]
    repeats = [(0, 10), (10, 21), (5, 33)]
    for seed in range(10):
        divided = divide(dataset_of(make_samples(rows)), CONFIG, seed=seed, repeats=repeats)
        by_name = {sample.name: sample for sample in divided.samples}
        places = [by_name[f"set/{place:04d}.png"] for place in range(40)]
        for first, second in repeats:
            assert places[first].group == places[second].group
            assert places[first].split == places[second].split
        # Patients 0, 5 and 10 are one group now, the others' images with them.
        assert {places[n].split for n in (0, 1, 10, 11, 20, 21)} == {places[0].split}


def test_groups_joined_by_repeats_are_read_back_joined(
    tmp_path: Path, make_samples: MakeSamples
) -> None:
    rows = [("a", label, "") for _ in range(10) for label in ("tb", "normal")]
    divided = divide(dataset_of(make_samples(rows)), CONFIG, seed=1, repeats=[(0, 2), (2, 7)])
    write_splits(tmp_path, divided)
    assert read_splits(tmp_path) == divided
    assert len({sample.group for sample in divided.samples}) == 18


def test_a_source_left_out_is_in_no_other_split(make_samples: MakeSamples) -> None:
    samples = make_samples(random_rows(4))
    config = CONFIG.model_copy(update={"leave_out": ("b",)})
    divided = divide(dataset_of(samples), config, seed=1)
    assert {s.source for s in divided.of_split(LEFT_OUT)} == {"b"}
    assert {s.source for split in SPLITS for s in divided.of_split(split)} == {"a", "c"}
    kept = {s.group for split in SPLITS for s in divided.of_split(split)}
    assert kept.isdisjoint(s.group for s in divided.of_split(LEFT_OUT))


def test_an_image_that_repeats_one_of_a_left_out_source_is_dropped(
    make_samples: MakeSamples, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [("a", label, "") for _ in range(10) for label in ("tb", "normal")]
    samples = make_samples([*rows, ("b", "tb", ""), ("b", "normal", "")])
    config = CONFIG.model_copy(update={"leave_out": ("b",)})
    divided = divide(dataset_of(samples), config, seed=1, repeats=[(4, 20)])
    names = {sample.name for sample in divided.samples}
    assert "set/0004.png" not in names
    assert len(names) == 21
    assert "dropped: set/0004.png shares a group" in caplog.text


def test_hospitals_to_calibrate_on_hold_both_kinds_and_are_left_out(
    make_samples: MakeSamples,
) -> None:
    rows = [("a", label, "") for _ in range(10) for label in ("tb", "normal")]
    samples = make_samples([*rows, ("b", "tb", ""), ("c", "normal", "")])
    both = {"leave_out": ("b", "c"), "calibrate_on": ("b", "c")}
    divided = divide(dataset_of(samples), CONFIG.model_copy(update=both), seed=1)
    assert len(divided.of_split(LEFT_OUT)) == 2
    one = {"leave_out": ("b", "c"), "calibrate_on": ("b",)}
    with pytest.raises(TrainingError, match="b to calibrate on hold one kind"):
        divide(dataset_of(samples), CONFIG.model_copy(update=one), seed=1)
    with pytest.raises(ValidationError, match="must be left out"):
        DataConfig(roots=(Path(),), calibrate_on=("b",))


def test_leaving_out_a_source_that_is_not_there_is_refused(make_samples: MakeSamples) -> None:
    samples = make_samples([("a", "tb", ""), ("a", "normal", "")] * 9)
    config = CONFIG.model_copy(update={"leave_out": ("mars",)})
    with pytest.raises(TrainingError, match=r"no source \['mars'\].*\['a'\]"):
        divide(dataset_of(samples), config, seed=1)


def test_a_samples_mask_is_kept_through_the_table(
    tmp_path: Path, make_samples: MakeSamples
) -> None:
    samples = make_samples([("a", "tb", ""), ("a", "normal", "")] * 9)
    samples[0] = replace(samples[0], mask=tmp_path / "mask.png")
    write_splits(tmp_path, divide(dataset_of(samples), CONFIG, seed=1))
    masks = {s.name: s.mask for s in read_splits(tmp_path).samples}
    assert masks.pop("set/0000.png") == tmp_path / "mask.png"
    assert set(masks.values()) == {None}
