"""report/: index.html, one file with everything in it, and model-card.md. No script, no network."""

import base64
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from tbscreen_training import plots
from tbscreen_training.controls import LUNGS_BLANKED, VIEW_TEXTS, VIEWS
from tbscreen_training.files import write_atomically
from tbscreen_training.left_out import LABEL_SHUFFLE, THIS_MODEL, unseen
from tbscreen_training.map_samples import choose_map_samples
from tbscreen_training.predictions import PLAIN
from tbscreen_training.record_tables import tables_of
from tbscreen_training.run_directory import RunDirectory
from tbscreen_training.tables import Tables

if TYPE_CHECKING:
    from tbscreen_training.evaluate import Evaluation

FIGURE_TEXTS: Final = {
    "images": "Images",
    "positive_images": "of the positive class",
    "auc": "AUC (DeLong)",
    "auc_by_group": "AUC (groups resampled)",
    "average_precision": "Average precision",
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall (sensitivity)",
    "specificity": "Specificity",
    "f1": "F1",
    "brier": "Brier score",
    "ece": "Expected calibration error",
}


def write_report(run: RunDirectory, evaluation: "Evaluation", tables: Tables) -> None:
    """Writes index.html and model-card.md into the run's report folder."""
    threshold = evaluation.splits["test"]["threshold"]
    context = {
        "evaluation": evaluation,
        "tables": tables,
        "config": run.config,
        "figure_texts": FIGURE_TEXTS,
        "views": VIEWS,
        "view_texts": VIEW_TEXTS,
        "columns": _columns(evaluation),
        "this_model": THIS_MODEL,
        "fold_columns": _fold_columns(evaluation),
        "input_check_tables": tables_of(evaluation.input_check or {}),
    }
    page = _environment(autoescape=True).get_template("report.html.j2")
    pictures = {
        "plots": _plots(evaluation, tables, threshold),
        "map_samples": choose_map_samples(run, tables.predictions, threshold),
    }
    write_atomically(run.report / "index.html", page.render(**context, **pictures).encode())
    card = _environment(autoescape=False).get_template("model-card.md.j2")
    write_atomically(run.report / "model-card.md", card.render(**context).encode())


def _columns(evaluation: "Evaluation") -> dict[str, dict[str, Any]]:
    """The figures of each set of rows, by the set's name, the telling ones first."""
    names = ", ".join(evaluation.both_class_source_names)
    within = {f"{split}, {names}": f for split, f in evaluation.both_class_sources.items()}
    return dict(reversed(within.items())) | {
        f"{split}, all sources": figures for split, figures in reversed(evaluation.splits.items())
    }


def _fold_columns(evaluation: "Evaluation") -> dict[str, str]:
    """The figures that the folds have, and their headings; the gap stands beside its two AUCs."""
    left_out = evaluation.leave_one_source_out
    seen = {view for fold in (left_out.folds if left_out else ()) for view in fold.auc}
    headings = {PLAIN: "AUC", LUNGS_BLANKED: "Lungs blanked", "gap": "Gap"}
    headings |= {view: VIEW_TEXTS[view].capitalize() for view in VIEWS if view not in headings}
    return {name: text for name, text in headings.items() if name in {*seen, "gap"}}


def _plots(evaluation: "Evaluation", tables: Tables, threshold: float) -> dict[str, str]:
    plain = tables.predictions.of_view(PLAIN)
    test = plain.of_split("test")
    sources = evaluation.both_class_source_names
    rows = {"test, all sources": test}
    if sources and set(sources) != set(test.sources.tolist()):
        rows[f"test, {', '.join(sources)}"] = test.of_sources(sources)
    folds = [fold for fold in tables.folds if fold.record.name != LABEL_SHUFFLE]
    last = list(rows.values())[-1]
    drawn = {
        "roc": plots.roc(rows, folds, evaluation.operating_points),
        "precision_recall": plots.precision_recall(rows),
        "confusion": plots.confusion(last, threshold),
        "reliability": plots.reliability_diagram(last),
        "decision_curve": plots.decision_curve(evaluation.net_benefit),
        "score_histograms": plots.score_histograms(unseen(plain), threshold),
    }
    left_out = evaluation.leave_one_source_out
    if left_out is not None and any(fold.auc[PLAIN] for fold in left_out.folds):
        drawn["left_out"] = plots.left_out(left_out.folds)
    if tables.history:
        drawn["learning_curves"] = plots.learning_curves(tables.history)
    return {
        name: "data:image/svg+xml;base64," + base64.b64encode(svg).decode()
        for name, svg in drawn.items()
    }


def _environment(*, autoescape: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("tbscreen_training"),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = format_figure
    return environment


def format_figure(value: Any) -> str:
    """Returns a figure as a reader wants it: with its interval, three decimals; – for None."""
    if value is None:
        return "–"
    bounds = value if isinstance(value, dict) else getattr(value, "__dict__", {})
    if "low" in bounds:
        between = "–" if bounds["low"] >= 0 else " to "
        return f"{bounds['value']:.3f} [{bounds['low']:.3f}{between}{bounds['high']:.3f}]"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
