import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from support.phantom import draw_phantom
from tbscreen_training.lungs import LungFinder
from tbscreen_training.lungs.finder import build_finder

SIZE = (384, 384)


def write_masked(root: Path, count: int) -> Path:
    """Phantoms with the mask that the shipped finder gives them, and a manifest over both."""
    frames = [np.asarray(draw_phantom(seed, size=SIZE)) for seed in range(count)]
    masks = LungFinder().masks(np.stack(frames)[..., None])
    lines = ["file,label,mask"]
    for number, (frame, mask) in enumerate(zip(frames, masks, strict=True)):
        Image.fromarray(frame).save(root / f"{number}.png")
        drawn = Image.fromarray((mask > 0.5).astype(np.uint8) * 255)
        drawn.resize(SIZE).save(root / f"mask-{number}.png")
        lines.append(f"{number}.png,{('tb', 'normal')[number % 2]},mask-{number}.png")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    return root / "manifest.csv"


def test_a_finder_is_fitted_to_masks_and_its_weights_can_be_loaded(
    tmp_path: Path, train: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    manifest = write_masked(tmp_path, 24)
    weights = tmp_path / "finder.weights.h5"
    done = train("fit-lungs", "--data", manifest, "--to", weights, "--steps", 2)
    assert done.returncode == 0, done.stderr
    assert "intersection over union on 4 held-out radiographs" in done.stderr
    finder = build_finder(trained=False)
    finder.load_weights(weights)
    frames = np.stack([np.asarray(draw_phantom(0, size=SIZE))])[..., None]
    assert LungFinder(finder).masks(frames).shape == (1, 64, 64)


def test_too_few_masks_are_refused(
    tmp_path: Path, train: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    manifest = write_masked(tmp_path, 4)
    done = train("fit-lungs", "--data", manifest, "--to", tmp_path / "x.weights.h5")
    assert done.returncode == 1
    assert "4 radiographs have a lung mask; at least 20 are needed" in done.stderr
    assert "Traceback" not in done.stderr
