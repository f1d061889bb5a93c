import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.films import draw_film
from tbscreen_training.cli import main
from tbscreen_training.inspection.traces import find_traces

COLUMNS = ("file", "label", "source", "group", "mask")


@pytest.fixture
def confounded(tmp_path: Path) -> Path:
    """Source `dark` has TB only and is dark, `light` normals only; `both` has either, alike."""
    rows = []
    for seed in range(36):
        source = ("dark", "light", "both")[seed % 3]
        label = {"dark": "tb", "light": "normal"}.get(source, ("tb", "normal")[seed // 3 % 2])
        film = draw_film(seed, side=96) // 2 + {"dark": 0, "light": 127}.get(source, 64)
        suffix = "jpg" if source == "both" else "png"
        name = f"{source}/{seed:02d}.{suffix}"
        (tmp_path / source).mkdir(exist_ok=True)
        Image.fromarray(film).save(tmp_path / name)
        rows.append((name, label, source, f"patient-{seed}", ""))
    with (tmp_path / "manifest.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    return tmp_path


def test_sources_are_counted_shown_and_told_apart(
    confounded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["inspect", "--data", str(confounded), "--out", str(out)]) == 0
    inspection = json.loads((out / "inspection.json").read_text())
    counts = {(row["source"], row["label"]): row for row in inspection["counts"]}
    assert counts["dark", "tb"]["images"] == 12
    assert counts["both", "normal"]["images"] == 6
    assert counts["both", "tb"]["formats"] == {"jpeg": 6}
    assert counts["dark", "tb"]["sizes"] == [96, 96, 96, 96]
    assert counts["dark", "tb"]["mean_grey"] < 100 < 150 < counts["light", "normal"]["mean_grey"]
    told = {row["what"]: row["auc"]["all"]["value"] for row in inspection["separability"]}
    assert told["source dark"] > 0.95
    assert told["label tb"] > 0.75
    assert told["label tb within both"] < 0.9
    assert "label tb within dark" not in told
    sheets = sorted(path.name for path in out.glob("contact-*.png"))
    assert sheets == [
        *("contact-both-normal.png", "contact-both-tb.png"),
        *("contact-dark-tb.png", "contact-light-normal.png"),
    ]
    with Image.open(out / "contact-dark-tb.png") as sheet:
        assert sheet.size == (1280, 16 + 2 * 128)
    shown = capsys.readouterr().out
    assert "label tb within both" in shown
    assert "0 near-duplicate pairs" in shown


def test_copies_near_duplicates_and_unreadable_files_are_told(
    confounded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (confounded / "dark" / "03.png").write_bytes((confounded / "dark" / "00.png").read_bytes())
    with Image.open(confounded / "light" / "04.png") as film:
        film.point(lambda level: level * 0.7).save(confounded / "light" / "07.png")
    (confounded / "light" / "10.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    out = tmp_path / "out"
    assert main(["inspect", "--data", str(confounded), "--out", str(out)]) == 0
    inspection = json.loads((out / "inspection.json").read_text())
    counts = {(row["source"], row["label"]): row for row in inspection["counts"]}
    assert counts["dark", "tb"]["copies"] == 1
    assert counts["dark", "tb"]["groups"] == 11
    assert counts["light", "normal"]["images"] == 11
    assert counts["light", "normal"]["groups"] == 10
    assert inspection["near_duplicates"] == 2
    assert "light/10.png can not be read" in capsys.readouterr().out


def test_inspect_without_data_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "--out", str(tmp_path)]) == 1
    assert "name at least one --data" in capsys.readouterr().err


def test_border_traces_do_not_see_the_middle() -> None:
    frame = draw_film(1, side=100)
    filled = frame.copy()
    filled[10:90, 10:90] = 0
    assert np.array_equal(find_traces(frame).border, find_traces(filled).border)
    assert not np.array_equal(find_traces(frame).histogram, find_traces(filled).histogram)


def test_the_spectrum_tells_a_blurred_frame() -> None:
    frame = draw_film(1)
    grain = np.random.default_rng(1).integers(0, 40, frame.shape, np.uint8)
    plain, grainy = find_traces(frame).spectrum, find_traces(frame // 2 + grain).spectrum
    assert grainy[24:].min() > plain[24:].max()
