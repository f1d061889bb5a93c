import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tbscreen_training.config import SPLITS, DataConfig
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
