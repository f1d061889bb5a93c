import math
from pathlib import Path

import numpy as np
import pytest

from support.phantom import draw_phantom
from tbscreen_training.localisation import (
    MapCorrelation,
    MapOnLung,
    correlations_when_randomised,
    load_correlations,
    load_on_lung,
    measure_localisation,
    save_table,
    share_on_lung,
)
from tbscreen_training.lungs import FRAME_PX
from tbscreen_training.network import build_network


def test_the_share_on_lung_is_of_the_maps_mass() -> None:
    lungs = np.zeros((32, 32))
    lungs[:, :8] = 1.0  # a quarter of the frame: the first two columns of an 8 x 8 map
    lungs[:, 8:12] = 0.5
    activation_map = np.zeros((8, 8))
    activation_map[3, 0] = 3.0
    activation_map[3, 2] = 2.0
    activation_map[3, 7] = 1.0
    assert share_on_lung(activation_map, lungs) == pytest.approx((3 + 2 * 0.5) / 6)
    assert share_on_lung(np.ones((8, 8)), lungs) == pytest.approx(lungs.mean())
    assert math.isnan(share_on_lung(np.zeros((8, 8)), lungs))


def test_only_the_maps_of_images_called_positive_count() -> None:
    rows = [MapOnLung(f"{n}", f"g{n}", "TB Positive", 0.1 * n, 0.25) for n in range(1, 6)]
    rows.append(MapOnLung("empty", "g9", "TB Positive", math.nan, 0.25))
    measured = measure_localisation(rows, [], frozenset({"2", "4", "empty"}), seed=1)
    assert measured is not None and measured.on_lung is not None
    assert (measured.images, measured.without_aim) == (2, 0.25)
    assert measured.on_lung.value == pytest.approx(0.3)
    assert measure_localisation(rows, [], frozenset(), seed=1) is None


def test_the_tables_read_back_as_they_were_saved(tmp_path: Path) -> None:
    on_lung = [MapOnLung("a.png", "g1", "Normal", 1 / 3, 0.1)]
    correlations = [MapCorrelation("a.png", "g1", "head", -1 / 7)]
    save_table(tmp_path / "on-lung.csv", on_lung)
    save_table(tmp_path / "correlations.csv", correlations)
    save_table(tmp_path / "none.csv", [])
    assert load_on_lung(tmp_path / "on-lung.csv") == on_lung
    assert load_correlations(tmp_path / "correlations.csv") == correlations
    assert load_on_lung(tmp_path / "none.csv") == []


def test_a_map_changes_when_the_layers_above_it_are_drawn_anew() -> None:
    images = [draw_phantom(seed, size=(FRAME_PX, FRAME_PX)) for seed in range(4)]
    tensors = np.stack([np.asarray(image)[:, :, np.newaxis] for image in images])
    found = []
    for _ in range(2):
        network = build_network(classes=2, weights="none", dropout=0.0, seed=1, top_block="mixed5")
        found.append(correlations_when_randomised(network, tensors, 0, seed=5))
    assert list(found[0]) == ["head", "head and mixed5", "head, mixed5 and mixed4"]
    for name, correlations in found[0].items():
        assert correlations.shape == (4,)
        known = correlations[~np.isnan(correlations)]
        assert (np.abs(known) < 0.95).all(), "the map is that of the old weights"
        assert correlations == pytest.approx(found[1][name], nan_ok=True, abs=1e-3)
