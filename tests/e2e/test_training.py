"""Training in its container, the workers' swap to the new model, and more workers."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.compose import ComposeStack
from support.phantom import draw_phantom

Submit = Callable[[Path], str]
Finished = Callable[[str], dict[str, Any]]


CLASSES = ("Normal", "Other Disease", "TB Positive")


@pytest.fixture(scope="module")
def labelled_phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = Path(tmp_path_factory.mktemp("data"))
    for place, label in enumerate(CLASSES):
        (root / label).mkdir()
        for seed in range(12):
            spotted = label == "TB Positive"
            image = draw_phantom(seed + 100 * place, positive=spotted, size=(320, 320))
            if label == "Other Disease":
                image.paste(190, (0, 180, 160, 260))
            image.save(root / label / f"{seed}.png")
    # The container's user is another one than the user who drew these.
    for path in (root, *root.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return root


@pytest.mark.timeout(1200)
def test_workers_swap_to_a_freshly_trained_model_without_losing_a_job(
    stack: ComposeStack,
    http: httpx.Client,
    radiographs: list[Path],
    labelled_phantoms: Path,
    submit: Submit,
    finished: Finished,
    living_models: Callable[[], list[str]],
) -> None:
    before = http.get("/health").json()["model"]["version"]
    stack.environment["TBSCREEN_DATA"] = str(labelled_phantoms)
    stack.compose(
        *("run", "--rm", "-T", "training", "run", "--data", "/data"),
        *("--weights", "none", "--epochs", "1", "--cache-features", "1", "--label-shuffles", "1"),
        # The phantoms all repeat one chest.
        *("--fine-tune-from-block", "none", "--no-near-duplicates"),
        *("--force", "a few phantoms for an epoch can not pass the release gate"),
    )
    # A steady stream while each worker swaps on its own.
    locations: list[str] = []
    deadline = time.monotonic() + 60
    while before in living_models() or not living_models():
        assert time.monotonic() < deadline, "the workers did not take the new bundle"
        locations.append(submit(radiographs[len(locations) % len(radiographs)]))
    after = http.get("/health").json()["model"]["version"]
    assert after != before
    locations.append(submit(radiographs[0]))
    jobs = [finished(location) for location in locations]
    assert Counter(job["status"] for job in jobs) == {"succeeded": len(jobs)}
    assert {job["result"]["model"]["version"] for job in jobs} <= {before, after}
    answer = jobs[-1]["result"]
    assert answer["model"]["version"] == after
    # Two classes before, three now.
    assert tuple(sorted(answer["probabilities"])) == CLASSES
    assert sum(answer["probabilities"].values()) == pytest.approx(1)
    assert answer["probability"] == answer["probabilities"]["TB Positive"]
    assert answer["prediction"] in {*CLASSES, "Indeterminate"}
    report = http.get(f"/v1/models/{after}/report/")
    assert report.status_code == 200
    assert "not a medical device" in report.text


def test_three_workers_share_the_work(
    stack: ComposeStack,
    http: httpx.Client,
    radiographs: list[Path],
    submit: Submit,
    finished: Finished,
    living_models: Callable[[], list[str]],
) -> None:
    stack.up(workers=3)
    deadline = time.monotonic() + 60
    while len(living_models()) != 3:
        assert time.monotonic() < deadline, f"workers: {living_models()}"
        time.sleep(0.5)

    def jobs_done() -> dict[str, int]:
        workers = http.get("/health").json()["workers"]
        return {worker["name"]: worker["jobs_done"] for worker in workers}

    before = jobs_done()
    locations = [submit(radiographs[n % len(radiographs)]) for n in range(60)]
    jobs = [finished(location) for location in locations]
    assert Counter(job["status"] for job in jobs) == {"succeeded": 60}
    deadline = time.monotonic() + 20
    while not all(done > before[name] for name, done in jobs_done().items()):
        assert time.monotonic() < deadline, f"before {before}, after {jobs_done()}"
        time.sleep(0.5)
