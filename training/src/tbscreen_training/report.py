"""report/index.html: the figures for a reader, one file beside its PNGs, no script, no network."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tbscreen_shared.bundle import OperatingPoint
from tbscreen_training.files import write_atomically
from tbscreen_training.plots import PLOTS

if TYPE_CHECKING:
    from tbscreen_training.evaluate import Evaluation

_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #1a1a1a; background: #fff; }
table { border-collapse: collapse; margin: 0 0 1.5rem; }
th, td { padding: .25rem .75rem; border-bottom: 1px solid #ccc; text-align: right; }
th:first-child, td:first-child { text-align: left; }
caption { text-align: left; font-weight: 600; padding: .25rem 0; }
.warning { border-left: 4px solid #b45309; background: #fef3c7; padding: .5rem 1rem; }
figure { display: inline-block; margin: 0 1rem 1rem 0; vertical-align: top; }
figure img { max-width: 100%; height: auto; }
.wide { overflow-x: auto; }
"""

_FIGURES: Final = {
    "images": "Images",
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall (sensitivity)",
    "specificity": "Specificity",
    "f1": "F1",
    "auc": "AUC [95 %]",
    "brier": "Brier score",
    "ece": "Expected calibration error",
}

_NOT_A_DEVICE: Final = (
    "This is a research tool, not a medical device. It screens and does not diagnose; a clinician "
    "decides. Its figures hold for the data named here and for no other."
)


def write_report(folder: Path, evaluation: "Evaluation") -> None:
    """Writes index.html into `folder`."""
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>Evaluation report</title><style>{_STYLE}</style></head><body>",
        "<h1>Evaluation report</h1>",
        f'<p class="warning">{_NOT_A_DEVICE}</p>',
        _confounding(evaluation),
        f"<p>Scored: {escape(evaluation.scored_by)}, {_epochs(evaluation)}. Calibrated, and "
        f"operating points chosen, on: {escape(evaluation.chosen_on)}. Every figure is computed "
        "from one table of predictions; metrics.json has them all.</p>",
        "<h2>Figures at the balanced operating point</h2>",
        _splits(evaluation),
        "<h2>Operating points</h2>",
        _points("As chosen", evaluation.operating_points),
        _points("The same thresholds on unseen images", evaluation.operating_points_on_test),
        "<h2>By source, test split</h2>",
        _sources(evaluation),
        "<h2>By class, test split</h2>",
        _classes(evaluation.splits["test"]),
        "<h2>Plots</h2>",
        *(
            f'<figure><img src="{name}" alt="{escape(text)}">'
            f"<figcaption>{escape(text)}</figcaption></figure>"
            for name, text in PLOTS.items()
        ),
        _export(evaluation),
        "</body></html>\n",
    ]
    write_atomically(folder / "index.html", "\n".join(parts).encode())


def _confounding(evaluation: "Evaluation") -> str:
    if not evaluation.confounded_sources:
        return ""
    named = ", ".join(
        f"{escape(s)} ({escape(c)})" for s, c in evaluation.confounded_sources.items()
    )
    within = evaluation.both_class_source_names
    remedy = (
        f"The figures to go by are those within {escape(', '.join(within))}."
        if within
        else "No source here holds enough of both, so nothing here shows that the disease is seen."
    )
    return (
        f'<p class="warning">Label and source are confounded: each of these sources holds one kind '
        f"only: {named}. A model can tell them apart by how the film was made and know nothing of "
        f"the disease, so figures over all sources flatter it. {remedy}</p>"
    )


def _epochs(evaluation: "Evaluation") -> str:
    return " and ".join(
        f"{count} epochs of {escape(phase)}" for phase, count in evaluation.training_epochs.items()
    )


def _splits(evaluation: "Evaluation") -> str:
    columns = {f"{name}, all sources": figures for name, figures in evaluation.splits.items()} | {
        f"{name}, {', '.join(evaluation.both_class_source_names)}": figures
        for name, figures in evaluation.both_class_sources.items()
    }
    return _table(
        "",
        ["", *columns],
        ([text, *(_number(f[key]) for f in columns.values())] for key, text in _FIGURES.items()),
    )


def _points(caption: str, points: list[OperatingPoint]) -> str:
    return _table(
        f"{caption}: {points[0].measured_on}",
        ["", "Threshold", "Sensitivity [95 %]", "Specificity [95 %]"],
        (
            [
                point.name,
                _number(point.threshold),
                _number(point.sensitivity.model_dump()),
                _number(point.specificity.model_dump()),
            ]
            for point in points
        ),
    )


def _sources(evaluation: "Evaluation") -> str:
    return _table(
        "",
        ["Source", evaluation.positive, "Other", "Sensitivity", "Specificity", "AUC [95 %]"],
        (
            [
                source,
                str(figures["positive"]),
                str(figures["other"]),
                *(_number(figures.get(key)) for key in ("sensitivity", "specificity", "auc")),
            ]
            for source, figures in evaluation.by_source.items()
        ),
    )


def _classes(figures: dict[str, Any]) -> str:
    measures = ("precision", "recall", "f1-score", "support")
    return _table(
        "",
        ["Class", *measures],
        (
            [label, *(_number(values[measure]) for measure in measures)]
            for label, values in figures["by_class"].items()
        ),
    )


def _export(evaluation: "Evaluation") -> str:
    export = evaluation.export
    return (
        f"<p>Export: AUC {_number(export['auc'])} on the test split, "
        f"{_number(export['keras_auc'])} before export; the largest difference of a logit is "
        f"{_number(export['largest_logit_difference'])}.</p>"
    )


def _table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="wide"><table>{title}<tr>{top}</tr>{body}</table></div>'


def _number(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, dict):
        return f"{value['value']:.3f} [{value['low']:.3f}–{value['high']:.3f}]"
    return f"{value:.0f}" if value == int(value) and value > 1 else f"{value:.3f}"
