"""The steps `fit` and `fine-tune`: which part of the network sees which inputs."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
from numpy.typing import NDArray

from tbscreen_shared.bundle.store import sha256_of
from tbscreen_training.config import RunConfig
from tbscreen_training.dataset import Dataset, Sample
from tbscreen_training.determinism import make_deterministic
from tbscreen_training.errors import TrainingError
from tbscreen_training.features import Features, FeatureStore
from tbscreen_training.files import read_csv, write_csv
from tbscreen_training.network import HIDDEN, HIDDEN_UNITS, Network, build_head, set_to_mean
from tbscreen_training.phase import EpochRow, PhasePlan, TrainingSet, ValidationSet, train_phase
from tbscreen_training.run_directory import RunDirectory
from tbscreen_training.sampling import draw_shares
from tbscreen_training.views import CachedViews, ImageViews

HEAD: Final = "head"
FINE_TUNE: Final = "fine-tune"
_LEAST_SPREAD: Final = 1e-3


def fit_head(run: RunDirectory) -> None:
    """Fits the head over the frozen network, or continues to.

    Raises:
        TrainingError: the run is not split, the weights can not be had, an image can not be read.
    """
    make_deterministic(run.config.seed)
    run.forget_evaluation()
    run.export_variants.unlink(missing_ok=True)
    run.fine_tuned_weights.unlink(missing_ok=True)
    # A fine-tuning checkpoint of another head must not be continued.
    shutil.rmtree(run.checkpoints(FINE_TUNE), ignore_errors=True)
    config, dataset = run.config, run.dataset()
    network = run.new_network(weights=config.fit.weights)
    folder = run.checkpoints(HEAD)
    if config.fit.cache_features:
        store = feature_store(run, network)
        rows = train_head(network, config, dataset, store, folder)
    else:
        network.freeze_up_to(None)
        rows = _train_on_images(run, head_plan(config), network, folder)
    _write_history(run.history, HEAD, rows)
    network.save(run.head_weights)


def fine_tune(run: RunDirectory) -> None:
    """Trains the network's upper blocks together with the fitted head, at a lower rate.

    Raises:
        TrainingError: no head is fitted, or the configuration names no block.
    """
    make_deterministic(run.config.seed)
    run.forget_evaluation()
    run.export_variants.unlink(missing_ok=True)
    run.fine_tuned_weights.unlink(missing_ok=True)
    config, dataset = run.config, run.dataset()
    if config.fine_tune.boundary is None:
        raise TrainingError(
            "which blocks shall be trained? Name the lowest: --fine-tune-from-block"
        )
    network = run.trained_network()
    folder = run.checkpoints(FINE_TUNE)
    if config.fit.cache_features:
        store = feature_store(run, network)
        rows = train_upper_blocks(network, config, dataset, store, folder)
    else:
        network.freeze_up_to(config.fine_tune.boundary)
        rows = _train_on_images(run, fine_tune_plan(config), network, folder)
    _write_history(run.history, FINE_TUNE, rows)
    network.save(run.fine_tuned_weights)


def train_head(
    network: Network, config: RunConfig, dataset: Dataset, store: FeatureStore, folder: Path
) -> list[EpochRow]:
    """Trains heads on stored features of the train split, each from a seed of its own.

    What a head says of images without lungs hangs on its seed more than on anything else
    (docs/adr/0016); the mean of several is steadier.

    Args:
        network: is left with their mean.
        config: of the run.
        dataset: divided, with the very samples of the store in their order.
        store: of features.
        folder: of checkpoints.

    Returns:
        the history of the first.
    """
    network.freeze_up_to(None)
    plain = store.pooled("plain")[0]
    views = [plain, *store.pooled("augmented", config.fit.cache_features)]
    blanked = store.pooled("blanked-augmented") if config.fit.blanked_share else []
    scaling = _Scaling.of(np.stack([view[dataset.rows_of("train")] for view in views]))
    features = (
        [scaling.apply(view) for view in views],
        [scaling.apply(view) for view in blanked],
        scaling.apply(plain),
    )
    parts, histories = [], []
    for number in range(config.fit.heads):
        own = config.model_copy(update={"seed": config.seed + number})
        part = build_head(
            network.features,
            outputs=network.head.output.shape[-1],
            units=HIDDEN_UNITS,
            dropout=config.fit.dropout,
            seed=own.seed,
        )
        plan, checkpoints = head_plan(own), folder / str(number)
        histories.append(_train_on_features(part, plan, own, dataset, features, checkpoints))
        scaling.fold_into(part.get_layer(HIDDEN))
        parts.append(part)
    set_to_mean(network.head, parts)
    return histories[0]


def train_upper_blocks(
    network: Network, config: RunConfig, dataset: Dataset, store: FeatureStore, folder: Path
) -> list[EpochRow]:
    """Trains the blocks above the boundary and the head on stored maps; arguments as above."""
    boundary = config.fine_tune.boundary
    if boundary is None:
        raise ValueError("no block is to be trained")
    network.freeze_up_to(boundary)
    views = store.maps("augmented", config.fit.cache_features)
    blanked = store.maps("blanked-augmented") if config.fit.blanked_share else []
    return _train_on_features(
        network.tail(boundary),
        fine_tune_plan(config),
        config,
        dataset,
        (views, blanked, store.maps("plain")[0]),
        folder,
    )


@dataclass(frozen=True)
class _Scaling:
    """Features to mean 0 and spread 1 for training, taken into the hidden layer's weights after.

    Pooled features differ in spread a hundredfold; Adam hardly moves the narrow ones.
    """

    mean: NDArray[np.float32]
    spread: NDArray[np.float32]

    @classmethod
    def of(cls, features: NDArray[np.float16]) -> "_Scaling":
        """Measures features (views, n, C)."""
        wide = features.astype(np.float32)
        return cls(wide.mean(axis=(0, 1)), wide.std(axis=(0, 1)) + _LEAST_SPREAD)

    def apply(self, features: Features) -> NDArray[np.float32]:
        scaled: NDArray[np.float32] = (features.astype(np.float32) - self.mean) / self.spread
        return scaled

    def fold_into(self, hidden: Any) -> None:
        kernel, bias = (np.asarray(weight) for weight in hidden.get_weights())
        scaled = kernel / self.spread[:, np.newaxis]
        hidden.set_weights([scaled, bias - self.mean @ scaled])


def feature_store(run: RunDirectory, network: Network) -> FeatureStore:
    """Returns the run's features of all its samples, those of every split."""
    # The trunk below the boundary never changes, so the fine-tuned network's is the starting one.
    config, weights = run.config, run.config.fit.weights
    named = sha256_of(Path(weights)) if Path(weights).is_file() else weights
    return FeatureStore(
        run.features,
        run.dataset().samples,
        network,
        boundary=config.fine_tune.boundary,
        weights=f"{named} {config.fit.top_block} lung_field={config.fit.lung_field} "
        f"rounds={config.fit.rounds}",
        tensors=run.tensors(),
        strengths=config.augmentation,
        seed=config.seed,
    )


def head_plan(config: RunConfig) -> PhasePlan:
    """Returns how the head is trained."""
    return PhasePlan(
        name=HEAD,
        epochs=config.fit.epochs,
        patience=config.fit.patience,
        batch_size=config.fit.batch_size,
        learning_rate=config.fit.learning_rate,
        seed=config.seed,
        decays=config.fit.patience == 0,
    )


def fine_tune_plan(config: RunConfig) -> PhasePlan:
    """Returns how the upper blocks are trained."""
    return PhasePlan(
        name=FINE_TUNE,
        epochs=config.fine_tune.epochs,
        patience=config.fine_tune.epochs,
        batch_size=config.fit.batch_size,
        learning_rate=config.fine_tune.learning_rate,
        seed=config.seed,
        decays=True,
    )


def _train_on_features(
    model: Any,
    plan: PhasePlan,
    config: RunConfig,
    dataset: Dataset,
    features: tuple[Sequence[NDArray[Any]], Sequence[NDArray[Any]], NDArray[Any]],
    folder: Path,
) -> list[EpochRow]:
    views, blanked, plain = features
    rows = {split: dataset.rows_of(split) for split in ("train", "validation")}
    training = _training_set(
        config,
        dataset,
        CachedViews(views, rows["train"], config.seed),
        CachedViews(blanked, rows["train"], config.seed) if blanked else None,
    )
    validation = np.asarray(plain[rows["validation"]], np.float32)
    return train_phase(model, plan, training, _validation_set(dataset, validation), folder)


def _train_on_images(
    run: RunDirectory, plan: PhasePlan, network: Network, folder: Path
) -> list[EpochRow]:
    tensors, config, dataset = run.tensors(), run.config, run.dataset()
    train = dataset.of_split("train")

    def views(*, blanked: bool) -> ImageViews:
        return ImageViews(train, tensors, config.augmentation, config.seed, blanked=blanked)

    training = _training_set(
        config,
        dataset,
        views(blanked=False),
        views(blanked=True) if config.fit.blanked_share else None,
    )
    inputs = np.stack([tensors.load(sample) for sample in dataset.of_split("validation")])
    model = keras.Model(network.full.input, network.full.output)
    return train_phase(model, plan, training, _validation_set(dataset, inputs), folder)


def _training_set(
    config: RunConfig, dataset: Dataset, views: Any, blanked: Any | None
) -> TrainingSet:
    train: list[Sample] = dataset.of_split("train")
    return TrainingSet(
        views=views,
        targets=dataset.targets(train),
        shares=draw_shares(train, config.fit.balance, both_class_share=config.fit.both_class_share),
        blanked=blanked,
        blanked_share=config.fit.blanked_share,
    )


def _validation_set(dataset: Dataset, inputs: NDArray[Any]) -> ValidationSet:
    targets = dataset.targets(dataset.of_split("validation"))
    return ValidationSet(inputs, targets, dataset.positive_index)


def _write_history(path: Path, phase: str, rows: list[EpochRow]) -> None:
    columns = [column.name for column in fields(EpochRow)]
    kept = read_csv(path) if path.is_file() and phase != HEAD else []
    others = [row for row in kept if row["phase"] != phase]
    write_csv(path, columns, [*others, *(asdict(row) for row in rows)])
