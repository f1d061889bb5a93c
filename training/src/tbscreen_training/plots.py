"""The report's plots. None shows a radiograph."""

import io
import math
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler
from sklearn.metrics import confusion_matrix, precision_recall_curve, roc_curve

from tbscreen_shared.bundle import Interval, OperatingPoint
from tbscreen_training.calibrate import wilson
from tbscreen_training.controls import LUNGS_BLANKED, VIEW_TEXTS
from tbscreen_training.curves import NetBenefit
from tbscreen_training.figures import reliability
from tbscreen_training.left_out import LEFT_OUT, Fold, FoldFigures
from tbscreen_training.predictions import PLAIN, Predictions

SMALL: Final = (4.6, 4.0)
WIDE: Final = (9.4, 3.4)

# Okabe and Ito's colours, which the colour-blind can tell apart.
BLUE: Final = "#0072b2"
ORANGE: Final = "#d55e00"
GREEN: Final = "#009e73"
PURPLE: Final = "#cc79a7"
GREY: Final = "#8a8f98"
_COLOURS: Final = (BLUE, ORANGE, GREEN, PURPLE, "#e69f00", "#56b4e9", "#000000")

_STYLE: Final[dict[str, Any]] = {
    "axes.edgecolor": "#666b73",
    "axes.labelcolor": "#333333",
    "axes.prop_cycle": cycler(color=_COLOURS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9.0,
    "legend.fontsize": 8.0,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "xtick.color": "#666b73",
    "ytick.color": "#666b73",
    # Text stays text, and two reports of one table are equal to the byte.
    "svg.fonttype": "none",
    "svg.hashsalt": "tbscreen",
}


def draw(
    size: tuple[float, float],
    paint: Callable[[Figure], None],
    *,
    file_format: Literal["svg", "png"] = "svg",
    dpi: int = 100,
) -> bytes:
    """Returns what `paint` draws on a figure of `size` (width, height), inches, as a file."""
    # What would make two plots of one table differ.
    unstable = {"svg": ("Date", "Creator"), "png": ("Software",)}[file_format]
    with style.context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        paint(figure)
        written = io.BytesIO()
        figure.savefig(written, format=file_format, dpi=dpi, metadata=dict.fromkeys(unstable))
    return written.getvalue()


def left_out(folds: Sequence[FoldFigures]) -> bytes:
    """Draws the AUC of each fold, as served and with the lungs blanked, with its interval."""
    shown = [fold for fold in folds if fold.auc[PLAIN] is not None]

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for row, fold in enumerate(shown):
            for shift, view, colour in ((-0.12, PLAIN, BLUE), (0.12, LUNGS_BLANKED, ORANGE)):
                _draw_interval(axes, fold.auc.get(view), row + shift, colour)
        names = [fold.name + (" (confounded)" if fold.confounded else "") for fold in shown]
        axes.set_yticks(range(len(shown)), names)
        axes.axvline(0.5, color=GREY, linewidth=0.8, linestyle=":")
        axes.set_xlim(math.floor(min(_least(shown), 0.45) * 10) / 10, 1.01)
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.set_xlabel("AUC on the source left out, 95 % interval")
        for view, colour in ((PLAIN, BLUE), (LUNGS_BLANKED, ORANGE)):
            axes.plot([], [], "o", color=colour, label=VIEW_TEXTS[view])
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=2)

    return draw((WIDE[0], 1.3 + 0.42 * len(shown)), paint)


def roc(
    curves: dict[str, Predictions], folds: Sequence[Fold], points: Sequence[OperatingPoint]
) -> bytes:
    """Draws the ROC of each named set of rows; the points are marked on the last of them."""

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for fold in folds:
            rows = fold.predictions.of_split(LEFT_OUT).of_view(PLAIN)
            if len(set(rows.is_positive.tolist())) == 2:
                false_positive, true_positive, _ = roc_curve(rows.is_positive, rows.scores)
                label = f"{fold.record.name}, left out"
                axes.plot(false_positive, true_positive, label=label, linewidth=1, linestyle="--")
        for name, rows in curves.items():
            false_positive, true_positive, _ = roc_curve(rows.is_positive, rows.scores)
            axes.plot(false_positive, true_positive, label=name)
        _mark_points(axes, list(curves.values())[-1], points)
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
        axes.set_xlabel("1 - specificity")
        axes.set_ylabel("sensitivity")
        axes.legend(loc="lower right")

    return draw(SMALL, paint)


def precision_recall(curves: dict[str, Predictions]) -> bytes:
    """Draws precision over recall; the dotted lines are the share of positives."""

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for name, rows in curves.items():
            precision, recall, _ = precision_recall_curve(rows.is_positive, rows.scores)
            (line,) = axes.step(recall, precision, where="post", label=name)
            share = rows.is_positive.mean()
            axes.axhline(share, color=line.get_color(), linewidth=0.8, linestyle=":")
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("recall (sensitivity)")
        axes.set_ylabel("precision")
        axes.legend(loc="lower left")

    return draw(SMALL, paint)


def confusion(rows: Predictions, threshold: float) -> bytes:
    """Draws the confusion matrix, counts and shares of each true class."""
    classes = list(rows.classes)
    counts = confusion_matrix(rows.labels, rows.decide(threshold), labels=classes)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if shares[row, column] > 0.5 else "black"
            text = f"{count}\n{shares[row, column]:.0%}"
            axes.text(column, row, text, ha="center", va="center", color=colour)
        axes.set_xticks(range(len(classes)), classes)
        axes.set_yticks(range(len(classes)), classes, rotation=90, va="center")
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")

    return draw(SMALL, paint)


def reliability_diagram(rows: Predictions) -> bytes:
    """Draws observed over predicted, Wilson's intervals, and how many images each tenth holds."""
    predicted, observed, counts = reliability(rows)
    bounds = [wilson(round(o * n), int(n)) for o, n in zip(observed, counts, strict=True)]

    def paint(figure: Figure) -> None:
        upper, lower = figure.subplots(2, sharex=True, height_ratios=(4, 1))
        upper.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
        errors = np.maximum(
            [
                [o - bound.low for o, bound in zip(observed, bounds, strict=True)],
                [bound.high - o for o, bound in zip(observed, bounds, strict=True)],
            ],
            0,
        )
        upper.errorbar(predicted, observed, errors, fmt="o", capsize=2, linewidth=1, markersize=4)
        upper.set_ylabel("observed frequency")
        lower.hist(rows.scores, bins=20, range=(0, 1), color=GREY)
        lower.set_ylabel("images")
        lower.set_xlabel(f"predicted probability of {rows.positive}")

    return draw(SMALL, paint)


def decision_curve(curve: Sequence[NetBenefit]) -> bytes:
    """Draws the net benefit over the threshold, beside calling every image and calling none."""
    places = [point.threshold for point in curve]

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.plot(places, [point.model.value for point in curve], label="model", color=BLUE)
        axes.fill_between(
            places,
            [point.model.low for point in curve],
            [point.model.high for point in curve],
            color=BLUE,
            alpha=0.15,
            linewidth=0,
        )
        axes.plot(places, [point.call_all for point in curve], label="call all", color=ORANGE)
        axes.axhline(0, color=GREY, linewidth=0.8, label="call none")
        axes.set_ylim(-0.1, max(point.model.high for point in curve) * 1.1 + 0.02)
        axes.set_xlabel("threshold probability")
        axes.set_ylabel("net benefit per image")
        axes.legend(loc="upper right")

    return draw(SMALL, paint)


def score_histograms(rows: Predictions, threshold: float) -> bytes:
    """Draws the probabilities of each source's images, the positive class apart."""
    sources = sorted(set(rows.sources.tolist()))
    columns = min(4, len(sources))
    lines = math.ceil(len(sources) / columns)

    def paint(figure: Figure) -> None:
        grid = figure.subplots(lines, columns, sharex=True, squeeze=False)
        for place, axes in enumerate(grid.flat):
            if place >= len(sources):
                axes.set_visible(False)
                continue
            seen = rows.of_sources((sources[place],))
            parts = [seen.scores[~seen.is_positive], seen.scores[seen.is_positive]]
            axes.hist(parts, bins=20, range=(0, 1), stacked=True, color=[BLUE, ORANGE])
            axes.axvline(threshold, color="black", linewidth=0.8, linestyle=":")
            axes.set_title(f"{sources[place]} ({len(seen)})", fontsize=9)
        figure.supxlabel(f"probability of {rows.positive}; dotted: the threshold", fontsize=9)
        handles = [axes.plot([], [], "s", color=colour)[0] for colour in (BLUE, ORANGE)]
        figure.legend(handles, ["other", rows.positive], loc="outside upper right", ncols=2)

    return draw((WIDE[0], 0.9 + 1.6 * lines), paint)


def learning_curves(history: Sequence[dict[str, str]]) -> bytes:
    """Draws what history.csv has of loss, accuracy and AUC, by epoch."""
    measures = [name for name in ("loss", "accuracy", "auc") if f"val_{name}" in history[0]]

    def paint(figure: Figure) -> None:
        for place, measure in enumerate(measures, start=1):
            axes = figure.add_subplot(1, len(measures), place)
            _draw_history(axes, history, measure)

    return draw(WIDE, paint)


def _draw_history(axes: Axes, history: Sequence[dict[str, str]], measure: str) -> None:
    epochs = np.arange(1, len(history) + 1)
    for column, name, colour in (
        (measure, "train", BLUE),
        (f"val_{measure}", "validation", ORANGE),
    ):
        if column in history[0]:
            values = [float(row[column]) for row in history]
            axes.plot(epochs, values, label=name, color=colour)
    phases = [row["phase"] for row in history]
    for change in [i for i in range(1, len(phases)) if phases[i] != phases[i - 1]]:
        axes.axvline(change + 0.5, color=GREY, linewidth=0.8, linestyle=":")
        place = (change + 0.6, 0.02)
        axes.annotate(phases[change], place, xycoords=("data", "axes fraction"), fontsize=8)
    axes.set_xlabel("epoch")
    axes.set_ylabel(measure)
    axes.legend()


def _draw_interval(axes: Axes, interval: Interval | None, row: float, colour: str) -> None:
    if interval is not None:
        axes.plot([interval.low, interval.high], [row, row], color=colour, linewidth=1.4)
        axes.plot(interval.value, row, "o", color=colour, markersize=5)


def _least(folds: Sequence[FoldFigures]) -> float:
    return min(
        (interval.low for fold in folds for interval in fold.auc.values() if interval), default=0.5
    )


def _mark_points(axes: Axes, rows: Predictions, points: Sequence[OperatingPoint]) -> None:
    names: dict[float, list[str]] = {}
    for point in points:
        names.setdefault(point.threshold, []).append(point.name)
    for threshold, named in names.items():
        called = rows.scores >= threshold
        place = called[~rows.is_positive].mean(), called[rows.is_positive].mean()
        axes.plot(*place, "ko", markersize=4)
        axes.annotate(
            ", ".join(named), place, xytext=(6, -9), textcoords="offset points", fontsize=8
        )
