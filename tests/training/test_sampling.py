from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tbscreen_training.sample import Sample
from tbscreen_training.sampling import draw_shares


def samples(source: str, label: str, count: int) -> list[Sample]:
    return [Sample(Path("x.png"), "x", source, label, "", "train", "00") for _ in range(count)]


SETS = [
    *samples("hospital", "tb", 10),
    *samples("hospital", "normal", 30),
    *samples("films", "tb", 400),
    *samples("archive", "normal", 100),
    *samples("clinic", "normal", 25),
]


def share_of(shares: NDArray[np.float64], source: str, label: str) -> float:
    pairs = zip(SETS, shares, strict=True)
    return float(sum(share for s, share in pairs if (s.source, s.label) == (source, label)))


def test_without_balance_each_image_is_drawn_alike() -> None:
    shares = draw_shares(SETS, "none", both_class_share=0.5)
    assert shares.min() == shares.max()


def test_classes_are_drawn_alike() -> None:
    shares = draw_shares(SETS, "class", both_class_share=0.5)
    sick = share_of(shares, "hospital", "tb") + share_of(shares, "films", "tb")
    assert sick == pytest.approx(0.5)


def test_a_source_with_every_class_takes_its_share_of_each_class() -> None:
    shares = draw_shares(SETS, "source", both_class_share=0.6)
    assert shares.sum() == pytest.approx(1.0)
    assert share_of(shares, "hospital", "tb") == pytest.approx(0.3)
    assert share_of(shares, "hospital", "normal") == pytest.approx(0.3)
    assert share_of(shares, "films", "tb") == pytest.approx(0.2)
    assert share_of(shares, "archive", "normal") == pytest.approx(0.2 * 10 / 15)
    assert share_of(shares, "clinic", "normal") == pytest.approx(0.2 * 5 / 15)
