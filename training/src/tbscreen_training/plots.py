"""The report's plots. None shows a radiograph: the data may not be redistributed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix, roc_curve

from tbscreen_shared.bundle import OperatingPoint
from tbscreen_training.calibrate import DEFAULT_POINT
from tbscreen_training.figures import reliability
from tbscreen_training.files import replacing
from tbscreen_training.predictions import Predictions

PLOTS: Final = {
    "roc.png": "Receiver operating characteristic",
    "confusion.png": "Confusion matrix of the test split",
    "reliability.png": "Reliability of the probabilities, test split",
    "history.png": "Loss and accuracy by epoch",
}
_DPI: Final = 90


def draw_plots(
    folder: Path,
    predictions: Predictions,
    points: list[OperatingPoint],
    history: list[dict[str, str]],
) -> None:
    """Writes the PNGs named in `PLOTS` into `folder`."""
    threshold = next(point.threshold for point in points if point.name == DEFAULT_POINT)
    test = predictions.of_split("test")
    with _plot(folder / "roc.png") as axes:
        _draw_roc(axes, predictions, points)
    with _plot(folder / "confusion.png") as axes:
        _draw_confusion(axes, test, threshold)
    with _plot(folder / "reliability.png") as axes:
        _draw_reliability(axes, test)
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    for place, measure in enumerate(("loss", "accuracy"), start=1):
        _draw_history(figure.add_subplot(1, 2, place), history, measure)
    _save(figure, folder / "history.png")


@contextmanager
def _plot(path: Path) -> Iterator[Axes]:
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    yield figure.add_subplot()
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as partial:
        # The date would make two reports of one table differ.
        figure.savefig(partial, dpi=_DPI, format="png", metadata={"Software": None})


def _draw_roc(axes: Axes, predictions: Predictions, points: list[OperatingPoint]) -> None:
    test = predictions.of_split("test")
    sources = predictions.of_split("validation").both_class_sources()
    curves = {"test, all sources": test}
    if sources and set(sources) != set(test.sources.tolist()):
        curves[f"test, {', '.join(sources)}"] = test.of_sources(sources)
    for name, rows in curves.items():
        false_positive, true_positive, _ = roc_curve(rows.is_positive, rows.scores)
        axes.plot(false_positive, true_positive, label=name)
    last = list(curves.values())[-1]
    names: dict[float, list[str]] = {}
    for point in points:
        names.setdefault(point.threshold, []).append(point.name)
    for threshold, named in names.items():
        called = last.scores >= threshold
        place = called[~last.is_positive].mean(), called[last.is_positive].mean()
        axes.plot(*place, "ko", markersize=4)
        axes.annotate(
            ", ".join(named), place, xytext=(5, -9), textcoords="offset points", fontsize=8
        )
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.7, linestyle=":")
    axes.set_xlabel("1 - specificity")
    axes.set_ylabel("sensitivity")
    axes.legend(loc="lower right", fontsize=8)


def _draw_confusion(axes: Axes, test: Predictions, threshold: float) -> None:
    classes = list(test.classes)
    counts = confusion_matrix(test.labels, test.decide(threshold), labels=classes)
    axes.imshow(counts, cmap="Blues")
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if count > counts.max() / 2 else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=colour)
    axes.set_xticks(range(len(classes)), classes)
    axes.set_yticks(range(len(classes)), classes, rotation=90, va="center")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")


def _draw_reliability(axes: Axes, test: Predictions) -> None:
    predicted, observed, share = reliability(test)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.7, linestyle=":")
    axes.scatter(predicted, observed, s=10 + 300 * share)
    axes.set_xlabel(f"predicted probability of {test.positive}")
    axes.set_ylabel("observed frequency")


def _draw_history(axes: Axes, history: list[dict[str, str]], measure: str) -> None:
    epochs = np.arange(1, len(history) + 1)
    for column, name in ((measure, "train"), (f"val_{measure}", "validation")):
        axes.plot(epochs, [float(row[column]) for row in history], label=name)
    phases = [row["phase"] for row in history]
    for change in [i for i in range(1, len(phases)) if phases[i] != phases[i - 1]]:
        axes.axvline(change + 0.5, color="grey", linewidth=0.7, linestyle=":")
        axes.annotate(
            phases[change],
            (change + 0.6, 0.02),
            xycoords=("data", "axes fraction"),
            fontsize=8,
        )
    axes.set_xlabel("epoch")
    axes.set_ylabel(measure)
    axes.legend(fontsize=8)
