"""The step `compare-exports`: what each way to export costs and changes, in one table.

Every variant is timed in a process of its own, one after the other, on one image at a time.
"""

import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from tbscreen_training.config import Quantisation
from tbscreen_training.dataset import Sample
from tbscreen_training.export import convert, save_serving_function
from tbscreen_training.files import write_csv
from tbscreen_training.run_directory import RunDirectory
from tbscreen_training.served import ServedModel

_log = logging.getLogger(__name__)
_SCORED: Final = ("validation", "test")
_REPRESENTATIVE: Final = 128
_TIMING: Final = """
import json, statistics, sys, time
import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
path, image, threads, delegate = sys.argv[1:]
kinds = {"yes": OpResolverType.AUTO, "no": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES}
model = Interpreter(
    model_path=path, num_threads=int(threads), experimental_op_resolver_type=kinds[delegate]
)
run = model.get_signature_runner()
tensor = np.load(image)[np.newaxis]
times = []
for _ in range(41):
    started = time.perf_counter()
    run(radiograph=tensor)
    times.append(1000 * (time.perf_counter() - started))
with open("/proc/self/status") as status:
    resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
print(json.dumps({"ms": statistics.median(times[1:]), "resident_mb": resident / 1024}))
"""


def compare_exports(run: RunDirectory) -> None:
    """Writes export-variants.csv: time, size, memory, AUC and decisions against Keras as fitted.

    A network that was fitted with rounding is held to be right in rounding: a float32 export of it
    flips decisions too.

    Decisions are compared at three thresholds on the logit, chosen on Keras's: sensitivity 0.90,
    the highest Youden index and specificity 0.95. Scored are the validation and test images.

    Raises:
        TrainingError: nothing is fitted, or Keras runs on another backend than TensorFlow.
    """
    dataset, tensors = run.dataset(), run.tensors()
    samples = [sample for split in _SCORED for sample in dataset.of_split(split)]
    sick = np.array([sample.label == dataset.positive for sample in samples])
    place = dataset.positive_index if len(dataset.labels) > 2 else 0
    network = run.trained_network()
    stacked = np.stack([tensors.load(sample) for sample in samples])
    reference = network.full.predict(stacked, batch_size=32, verbose=0)[:, place].astype(np.float64)
    thresholds = _thresholds(reference, sick)
    train = dataset.of_split("train")

    def representative() -> Iterator[NDArray[np.uint8]]:
        for sample in _spread(train):
            yield tensors.load(sample)

    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "image.npy", stacked[0])
        save_serving_function(network, folder / "saved")
        for quantisation in get_args(Quantisation):
            path = folder / f"{quantisation}.tflite"
            path.write_bytes(convert(folder / "saved", quantisation, representative))
            found = ServedModel(path).logits(samples, tensors)[:, place]
            for variant, threads, delegate in _settings(quantisation):
                measured = _measure(path, folder / "image.npy", threads, delegate)
                rows.append(
                    {
                        "variant": variant,
                        "ms": round(measured["ms"], 1),
                        "file_mb": round(path.stat().st_size / 1e6, 1),
                        "resident_mb": round(measured["resident_mb"]),
                        "auc": round(float(roc_auc_score(sick, found)), 4),
                        "auc_difference": round(
                            float(roc_auc_score(sick, found) - roc_auc_score(sick, reference)), 4
                        ),
                        "decisions_flipped": max(
                            int(((found >= t) != (reference >= t)).sum()) for t in thresholds
                        ),
                        "images": len(samples),
                    }
                )
                _log.info("%s: %.1f ms", variant, measured["ms"])
    write_csv(run.export_variants, list(rows[0]), rows)


def _settings(quantisation: str) -> list[tuple[str, int, bool]]:
    plain = (quantisation, 1, True)
    if quantisation != "dynamic":
        return [plain]
    return [plain, ("dynamic, 2 threads", 2, True), ("dynamic, no XNNPACK", 1, False)]


def _measure(path: Path, image: Path, threads: int, delegate: bool) -> dict[str, Any]:
    arguments = [str(path), str(image), str(threads), "yes" if delegate else "no"]
    done = subprocess.run(
        [sys.executable, "-P", "-c", _TIMING, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def _thresholds(logits: NDArray[np.float64], sick: NDArray[np.bool_]) -> tuple[float, ...]:
    # Between two images, so that no image lies on a threshold.
    distinct = np.unique(logits)
    candidates = np.concatenate([distinct[:1] - 1, (distinct[1:] + distinct[:-1]) / 2])
    sensitivity = np.array([(logits[sick] >= t).mean() for t in candidates])
    specificity = np.array([(logits[~sick] < t).mean() for t in candidates])
    specific = np.flatnonzero(specificity >= 0.95)
    return (
        float(candidates[np.flatnonzero(sensitivity >= 0.90)[-1]]),
        float(candidates[np.argmax(sensitivity + specificity)]),
        float(candidates[specific[0] if len(specific) else -1]),
    )


def _spread(samples: Sequence[Sample]) -> Sequence[Sample]:
    return samples[:: max(1, len(samples) // _REPRESENTATIVE)][:_REPRESENTATIVE]
