import csv
import hashlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from support.phantom import draw_phantom
from tbscreen_training.dataset import Sample
from tbscreen_training.predictions import Predictions

SIZE = (320, 320)
ONE_CHEST = "--no-near-duplicates"  # all phantoms repeat one chest
FORCED = "a few phantoms for an epoch can not pass the release gate"


def write_phantom(path: Path, seed: int, *, positive: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_phantom(seed, positive=positive, size=SIZE).save(path)


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """Takes back the logging that a command set up, since its stream ends with the test."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level


@pytest.fixture(scope="session")
def phantom_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each of two classes, ten phantoms in each."""
    root = Path(tmp_path_factory.mktemp("phantoms"))
    for seed in range(10):
        write_phantom(root / "TB Positive" / f"{seed}.png", seed, positive=True)
        write_phantom(root / "Normal" / f"{seed}.png", 100 + seed, positive=False)
    return root


@pytest.fixture(scope="session")
def phantom_manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of three labels from two sources, with groups and a column to ignore."""
    root = Path(tmp_path_factory.mktemp("listed"))
    rows = []
    for seed in range(24):
        label = ("tuberculosis", "normal", "other")[seed % 3]
        name = f"images/{seed:02d}.png"
        write_phantom(root / name, seed, positive=label == "tuberculosis")
        source = "north" if seed < 12 else "south"
        rows.append((name, label, source, f"patient-{seed // 2 * 3 + seed % 3}", "drawn"))
    with (root / "manifest.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("file", "label", "source", "group", "remark"))
        writer.writerows(rows)
    return root / "manifest.csv"


@pytest.fixture
def make_manifest(tmp_path: Path) -> Callable[..., Path]:
    """Writes small files and a manifest over them: rows are dicts with at least a label."""

    def make(rows: Sequence[dict[str, str]], *, columns: Sequence[str] = ()) -> Path:
        names = list(columns) or ["file", *rows[0]]
        for number, row in enumerate(rows):
            (tmp_path / f"{number}.png").write_bytes(row.pop("content", str(number)).encode())
        with (tmp_path / "manifest.csv").open("w", newline="") as stream:
            writer = csv.DictWriter(stream, names, extrasaction="ignore")
            writer.writeheader()
            writer.writerows({"file": f"{n}.png", **row} for n, row in enumerate(rows))
        return tmp_path / "manifest.csv"

    return make


@pytest.fixture
def make_samples() -> Callable[..., list[Sample]]:
    """Makes samples without files from (source, label, group) triples."""

    def make(rows: Sequence[tuple[str, str, str]]) -> list[Sample]:
        return [
            Sample(
                path=Path(f"{number}.png"),
                name=f"set/{number:04d}.png",
                source=source,
                label=label,
                group=group,
                split="",
                sha256=hashlib.sha256(str(number).encode()).hexdigest(),
            )
            for number, (source, label, group) in enumerate(rows)
        ]

    return make


@pytest.fixture(scope="session")
def predictions() -> Predictions:
    """400 images: source `both` with both classes, `sick` and `well` with one; scores that err."""
    rng = np.random.default_rng(5)
    sources = np.array(["both"] * 200 + ["sick"] * 100 + ["well"] * 100)
    positive = np.concatenate([np.arange(200) % 2 == 0, np.ones(100), np.zeros(100)]).astype(bool)
    logits = np.where(positive, 1.0, -1.0) + rng.normal(0, 1.5, 400)
    labels = np.where(positive, "TB Positive", "Normal")
    return Predictions(
        classes=("Normal", "TB Positive"),
        positive="TB Positive",
        files=np.array([f"set/{n}.png" for n in range(400)]),
        sources=sources,
        groups=np.array([f"g{n}" for n in range(400)]),
        labels=labels,
        splits=np.where(np.arange(400) // 2 % 2 == 0, "validation", "test"),
        views=np.full(400, "plain"),
        logits=logits[:, np.newaxis],
        keras_logits=logits[:, np.newaxis] + 0.01,
        probabilities=np.stack([1 / (1 + np.exp(logits)), 1 / (1 + np.exp(-logits))], axis=1),
    )


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "tbscreen_training", *map(str, arguments)]


@pytest.fixture(scope="session")
def train() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs tbscreen-training in a process of its own, as its users do."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command(*arguments), capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="session")
def two_class_run(
    tmp_path_factory: pytest.TempPathFactory,
    phantom_folders: Path,
    train: Callable[..., subprocess.CompletedProcess[str]],
) -> Path:
    """A whole run, end to end through the augmented images, published beside itself."""
    out = Path(tmp_path_factory.mktemp("two-classes"))
    done = train(
        *("run", "--data", phantom_folders, "--out", out, "--name", "run", ONE_CHEST),
        *("--models-dir", out / "models", "--weights", "none", "--cache-features", 0),
        *("--epochs", 1, "--batch-size", 8, "--fine-tune-from-block", "none"),
        *("--provenance", "Drawn phantoms.", "--force", FORCED, "--drawings", 5),
        *("--check-from", 10),
    )
    assert done.returncode == 0, done.stderr
    return out / "run"


KILLED_RUN_EPOCHS = 8


@pytest.fixture(scope="session")
def three_class_run(
    tmp_path_factory: pytest.TempPathFactory,
    phantom_manifest: Path,
    train: Callable[..., subprocess.CompletedProcess[str]],
) -> Path:
    """A whole run of three classes from a manifest over stored features: killed, then resumed."""
    out = Path(tmp_path_factory.mktemp("three-classes"))
    run = out / "run"
    process = subprocess.Popen(
        command(
            *("run", "--data", phantom_manifest, "--out", out, "--name", "run", ONE_CHEST),
            *("--models-dir", out / "models", "--weights", "none", "--cache-features", 1),
            *("--epochs", KILLED_RUN_EPOCHS, "--heads", 2),
            *("--fine-tune-from-block", "mixed5", "--fine-tune-epochs", 1, "--drawings", 5),
            *("--check-from", 10),
            *("--label-shuffles", 2),
        ),
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 900
    while not (run / "checkpoints" / "head" / "0" / "last.npz").is_file():
        assert process.poll() is None, "the run ended before its first checkpoint"
        assert time.monotonic() < deadline, "the run made no checkpoint"
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    for cut_off in run.rglob(".*"):  # what it was about to put in place
        cut_off.unlink()
    with np.load(run / "checkpoints" / "head" / "0" / "last.npz") as checkpoint:
        (run / "rows-when-killed.json").write_text(str(checkpoint["rows"]))
    models = ("--models-dir", out / "models", "--force", FORCED)
    done = train("run", "--resume", "--out", out, *models)
    assert done.returncode == 0, done.stderr
    return run
