import csv
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from support.films import draw_film
from tbscreen_training.dataset import Sample
from tbscreen_training.near_duplicates import SAME_FILM, find_repeats, report_repeats, shrink

Film = NDArray[np.uint8]
MakeSamples = Callable[..., list[Sample]]


def cropped(film: Film) -> Film:
    side = len(film)
    part = Image.fromarray(film).crop((10, 8, side - 4, side - 12))
    return np.asarray(part.resize((side, side), Image.Resampling.BILINEAR))


def toned(film: Film) -> Film:
    return (255 * (film / 255) ** 1.6 * 0.8 + 20).astype(np.uint8)


def recompressed(film: Film) -> Film:
    stored = io.BytesIO()
    small = Image.fromarray(film).resize((200, 200), Image.Resampling.BILINEAR)
    small.save(stored, "JPEG", quality=40)
    return np.asarray(Image.open(stored).resize(film.shape[::-1], Image.Resampling.BILINEAR))


def shifted(film: Film) -> Film:
    return np.roll(film, (10, -8), axis=(0, 1))


def rotated(film: Film) -> Film:
    return np.asarray(Image.fromarray(film).rotate(2.0, Image.Resampling.BILINEAR))


def blurred(film: Film) -> Film:
    return np.asarray(Image.fromarray(film).filter(ImageFilter.GaussianBlur(2)))


def frames_of(films: list[Film]) -> NDArray[np.uint8]:
    return np.stack([shrink(film[:, :, np.newaxis]) for film in films])


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("vary", [cropped, toned, recompressed, shifted, rotated, blurred])
def test_a_repeat_of_a_film_is_found(vary: Callable[[Film], Film], mirrored: bool) -> None:
    films = [draw_film(seed) for seed in range(12)]
    again = vary(films[7])
    films.insert(3, again[:, ::-1] if mirrored else again)
    (repeat,) = find_repeats(frames_of(films))
    assert (repeat.first, repeat.second) == (3, 8)
    assert repeat.mirrored is mirrored
    assert SAME_FILM <= repeat.score <= 1.0


def test_different_films_are_no_repeats() -> None:
    assert find_repeats(frames_of([draw_film(seed) for seed in range(60)])) == []


def test_blank_frames_are_no_repeats_of_one_another() -> None:
    blank = [np.full((384, 384), level, np.uint8) for level in (0, 0, 128, 255)]
    assert find_repeats(frames_of(blank)) == []


def test_more_frames_than_a_block_are_all_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tbscreen_training.near_duplicates._BLOCK", 4)
    films = [draw_film(seed) for seed in range(11)]
    films += [toned(films[0]), cropped(films[9]), films[0]]
    found = {(repeat.first, repeat.second) for repeat in find_repeats(frames_of(films))}
    assert found == {(0, 11), (0, 13), (9, 12), (11, 13)}


def test_pairs_across_labels_and_sources_are_told(
    tmp_path: Path, make_samples: MakeSamples, caplog: pytest.LogCaptureFixture
) -> None:
    samples = make_samples(
        [("north", "tb", "p1"), ("north", "normal", "p1"), ("south", "tb", ""), ("north", "tb", "")]
    )
    film = draw_film(1)
    repeats = find_repeats(frames_of([film, toned(film), cropped(film), draw_film(2)]))
    samples[3] = replace(samples[3], group="p2")
    report_repeats(tmp_path / "pairs.csv", samples, repeats)
    with (tmp_path / "pairs.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["same_group"], row["same_label"], row["same_source"]) for row in rows] == [
        ("True", "False", "True"),
        ("False", "True", "False"),
        ("False", "False", "False"),
    ]
    assert rows[1]["second_source"] == "south"
    assert "one film under two labels: set/0000.png and set/0001.png" in caplog.text
    assert "one film under two sources: set/0000.png and set/0002.png" in caplog.text
    assert "one film under two labels and sources: set/0001.png" in caplog.text
