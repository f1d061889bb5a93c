"""Which augmentations help? Each one alone, cross-validated with a linear model on frozen features.

It runs on the training and validation images of the sources that hold both classes, since
elsewhere the source gives the label away; on all of them where there is no such source. Groups
never straddle a fold, and the test split is not touched.
"""

import logging
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tbscreen_training.config import Augmentation
from tbscreen_training.dataset import Sample
from tbscreen_training.features import Features, FeatureStore
from tbscreen_training.files import write_csv
from tbscreen_training.run_directory import RunDirectory

_log = logging.getLogger(__name__)

_FOLDS: Final = 5
_REPEATS: Final = 5
_REGULARISATION: Final = 1e-3
"""Inverse strength for 2048 standardised features of some hundred images."""

_NONE: Final = Augmentation(
    rotation_deg=0,
    shift=0,
    shear_deg=0,
    zoom=0,
    brightness=0,
    horizontal_flip=False,
    vertical_flip=False,
    gamma=0,
    contrast=0,
    resolution=0,
    blur_px=0,
    noise=0,
    jpeg=0,
    border=0,
)
CANDIDATES: Final[dict[str, Augmentation]] = {
    "rotation ± 10°": _NONE.model_copy(update={"rotation_deg": 10.0}),
    "rotation ± 30°": _NONE.model_copy(update={"rotation_deg": 30.0}),
    "shift ± 5 %": _NONE.model_copy(update={"shift": 0.05}),
    "shift ± 20 %": _NONE.model_copy(update={"shift": 0.2}),
    "shear ± 10°": _NONE.model_copy(update={"shear_deg": 10.0}),
    "zoom ± 10 %": _NONE.model_copy(update={"zoom": 0.1}),
    "brightness ± 20 %": _NONE.model_copy(update={"brightness": 0.2}),
    "horizontal flip": _NONE.model_copy(update={"horizontal_flip": True}),
    "vertical flip": _NONE.model_copy(update={"vertical_flip": True}),
    **{
        name: _NONE.model_copy(update={name: getattr(Augmentation(), name)})
        for name in ("gamma", "contrast", "resolution", "blur_px", "noise", "jpeg", "border")
    },
    "the default set": Augmentation(),
}


def compare_augmentations(run: RunDirectory, *, views: int) -> None:
    """Writes augmentations.csv: mean and spread of the AUC for each candidate and for none.

    A fold is trained on its plain images and `views` variants of each, and scored on plain images.
    """
    config, dataset = run.config, run.dataset()
    samples = _with_both_classes(
        [s for s in dataset.samples if s.split != "test"], dataset.positive
    )
    network = run.new_network(weights=config.fit.weights)

    def store(strengths: Augmentation) -> FeatureStore:
        return FeatureStore(
            run.features,
            samples,
            network,
            boundary=None,
            weights=config.fit.weights,
            tensors=run.tensors(),
            strengths=strengths,
            seed=config.seed,
        )

    truth = np.array([sample.label == dataset.positive for sample in samples])
    groups = np.array([sample.group for sample in samples])
    plain = store(_NONE).pooled("plain")[0]
    aucs = {"none": _cross_validate(plain, [], truth, groups)}
    for name, strengths in CANDIDATES.items():
        variants = store(strengths).pooled("augmented", views)
        aucs[name] = _cross_validate(plain, variants, truth, groups)
        _log.info("%s: AUC %.4f (none: %.4f)", name, aucs[name].mean(), aucs["none"].mean())
    rows = [
        {
            "augmentation": name,
            "images": len(samples),
            "auc": round(float(values.mean()), 4),
            "difference": round(float((values - aucs["none"]).mean()), 4),
            "spread": round(float((values - aucs["none"]).std(ddof=1)), 4),
        }
        for name, values in aucs.items()
    ]
    write_csv(run.root / "augmentations.csv", list(rows[0]), rows)


def _with_both_classes(samples: Sequence[Sample], positive: str) -> list[Sample]:
    sick = {sample.source for sample in samples if sample.label == positive}
    well = {sample.source for sample in samples if sample.label != positive}
    return [sample for sample in samples if sample.source in sick & well] or list(samples)


def _cross_validate(
    plain: Features,
    variants: Sequence[Features],
    truth: NDArray[np.bool_],
    groups: NDArray[np.str_],
) -> NDArray[np.float64]:
    aucs = []
    for repeat in range(_REPEATS):
        folds = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=repeat)
        scores = np.zeros(len(truth))
        for train, held_out in folds.split(plain, truth, groups):
            inputs = np.concatenate([source[train] for source in (plain, *variants)])
            model = make_pipeline(StandardScaler(), LogisticRegression(C=_REGULARISATION))
            model.fit(inputs.astype(np.float32), np.tile(truth[train], 1 + len(variants)))
            scores[held_out] = model.decision_function(plain[held_out].astype(np.float32))
        aucs.append(roc_auc_score(truth, scores))
    return np.array(aucs)
