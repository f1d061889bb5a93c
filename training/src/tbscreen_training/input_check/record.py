"""input-check.json: what the check refuses, each figure by models that never saw its origin."""

import time
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tbscreen_shared.input_check import InputCheck, Kind
from tbscreen_training.calibrate import wilson
from tbscreen_training.config import INPUT_PX
from tbscreen_training.input_check.examples import PICTURE, RADIOGRAPH, Examples

_TIMED_RUNS: Final = 200


def describe(
    examples: Examples,
    shares: NDArray[np.float32],
    check: InputCheck,
    *,
    foreign: dict[str, NDArray[np.bool_]],
) -> dict[str, Any]:
    """Returns the record.

    Args:
        examples: all of them.
        shares: (n, kinds), cross-fitted, in the order of the kinds' sorted values.
        check: what the bundle will carry.
        foreign: by source, whether each of its radiographs would be called out of distribution.
    """
    kinds = np.array(sorted(set(examples.kinds)))
    refused = shares[:, list(kinds).index(Kind.FRONTAL.value)] < check.threshold
    named = kinds[shares.argmax(axis=1)] == examples.kinds
    measured = examples.is_measured
    radiographs = measured & (examples.names == RADIOGRAPH)
    others = measured & (examples.kinds != Kind.FRONTAL.value)
    pictures = measured & (examples.names == PICTURE)

    def by(labels: NDArray[np.str_], rows: NDArray[np.bool_]) -> dict[str, Any]:
        return {
            str(label): _share(refused[rows & (labels == label)])
            | {"named_correctly": float(named[rows & (labels == label)].mean())}
            for label in dict.fromkeys(labels[rows])
        }

    return {
        "protocol": "each figure by a model fitted without the image's origin: the radiograph's "
        "source, the kind of drawing, the pictures' folder. The limit of familiarity is the "
        "98 % quantile of these very distances: 2 % of all radiographs are warned of by design",
        "threshold": check.threshold,
        "false_refusals": _share(refused[radiographs]),
        "false_refusals_by_source": by(examples.origins, radiographs),
        "missed_non_radiographs": _share(~refused[others]),
        "refused_by_kind": by(examples.names, measured & ~radiographs),
        "refused_pictures_by_origin": by(examples.origins, pictures),
        "out_of_distribution_warnings": {
            source: _share(warned, "warned") for source, warned in foreign.items()
        },
        "milliseconds": _measure_ms(check),
    }


def _share(called: NDArray[np.bool_], name: str = "refused") -> dict[str, Any]:
    count = int(called.sum())
    return {"n": len(called), name: count, "share": wilson(count, len(called)).model_dump()}


def _measure_ms(check: InputCheck) -> float:
    image = np.random.default_rng(0).integers(0, 256, (INPUT_PX, INPUT_PX, 1), dtype=np.uint8)
    times = []
    for _ in range(_TIMED_RUNS):
        started = time.perf_counter()
        check.judge(image)
        times.append((time.perf_counter() - started) * 1000)
    return round(float(np.median(times)), 3)
