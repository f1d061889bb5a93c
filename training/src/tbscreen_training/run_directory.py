"""Where the steps of a run leave what the next ones read."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tbscreen_training.config import RunConfig
from tbscreen_training.dataset import Dataset
from tbscreen_training.errors import TrainingError
from tbscreen_training.network import Network, build_network
from tbscreen_training.splits import read_splits
from tbscreen_training.tensors import TensorCache


@dataclass(frozen=True)
class RunDirectory:
    """A run's folder and its configuration."""

    root: Path
    config: RunConfig

    @classmethod
    def open(cls, root: Path) -> "RunDirectory":
        """Opens the folder of a run that was started.

        Raises:
            TrainingError: it is none.
        """
        return cls(root, RunConfig.load(root))

    @property
    def features(self) -> Path:
        """Folder of stored features."""
        return self.root / "features"

    def checkpoints(self, phase: str) -> Path:
        """Folder of one phase's checkpoints."""
        return self.root / "checkpoints" / phase

    @property
    def head_weights(self) -> Path:
        """The network after the head was fitted."""
        return self.root / "weights" / "head.weights.h5"

    @property
    def fine_tuned_weights(self) -> Path:
        """The network after fine-tuning."""
        return self.root / "weights" / "fine-tuned.weights.h5"

    @property
    def history(self) -> Path:
        """history.csv: a line for each epoch."""
        return self.root / "history.csv"

    @property
    def model(self) -> Path:
        """The exported model."""
        return self.root / "model.tflite"

    @property
    def export_record(self) -> Path:
        """export.json: what was exported, and how fast it is."""
        return self.root / "export.json"

    @property
    def predictions(self) -> Path:
        """predictions.csv: the one table that every figure comes from."""
        return self.root / "predictions.csv"

    @property
    def controls(self) -> Path:
        """Folder of the tables beside predictions.csv that the report is computed from."""
        return self.root / "controls"

    @property
    def folds(self) -> Path:
        """Folder of the trainings that leave a source out."""
        return self.root / "folds"

    def fold(self, name: str) -> Path:
        """Folder of one of them; a source's name may hold what a path can not."""
        return self.folds / quote(name, safe=" ")

    @property
    def export_variants(self) -> Path:
        """export-variants.csv: what each way to export costs and changes."""
        return self.root / "export-variants.csv"

    @property
    def input_check(self) -> Path:
        """The fitted input check."""
        return self.root / "input-check.npz"

    @property
    def input_check_record(self) -> Path:
        """input-check.json: what it refuses."""
        return self.root / "input-check.json"

    @property
    def report(self) -> Path:
        """Folder of the report: index.html, metrics.json, model-card.md."""
        return self.root / "report"

    def tensors(self) -> TensorCache:
        """Returns the cache of decoded images."""
        return TensorCache(self.config.data.cache_dir or self.root / "tensors")

    def dataset(self) -> Dataset:
        """Reads the divided data set.

        Raises:
            TrainingError: the run has not been split.
        """
        return read_splits(self.root)

    def trained_network(self) -> Network:
        """Returns the network with the weights of the last finished phase.

        Raises:
            TrainingError: nothing has been fitted yet.
        """
        for weights in (self.fine_tuned_weights, self.head_weights):
            if weights.is_file():
                network = self.new_network(weights="none")
                network.load(weights)
                return network
        raise TrainingError(f"{self.root} has no fitted model: run the step `fit` first")

    def new_network(self, *, weights: str) -> Network:
        """Builds the run's network over the named starting weights."""
        return build_network(
            classes=len(self.dataset().labels),
            weights=weights,
            dropout=self.config.fit.dropout,
            seed=self.config.seed,
            top_block=self.config.fit.top_block,
            lung_field=self.config.fit.lung_field,
            rounds=self.config.fit.rounds,
            heads=self.config.fit.heads if self.config.fit.cache_features else 1,
        )

    def forget_evaluation(self) -> None:
        """Removes what was made from weights that have changed since."""
        for path in (
            self.model,
            self.export_record,
            self.input_check,
            self.input_check_record,
            self.predictions,
        ):
            path.unlink(missing_ok=True)
