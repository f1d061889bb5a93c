"""The experiment log: a row for each run with its configuration, seed and figures, and a plot.

Rows are appended and never changed, so that what did not help stays on record.
"""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from tbscreen_training import plots
from tbscreen_training.config import RunConfig
from tbscreen_training.errors import TrainingError
from tbscreen_training.evaluate import METRICS, Evaluation
from tbscreen_training.files import read_csv, replacing, write_csv
from tbscreen_training.run_directory import RunDirectory

_VIEWS: Final = ("plain", "lungs_blanked", "gap")
COLUMNS: Final = (
    *("date", "run", "config", "seed", "settings", "data", "images", "left_out"),
    *(f"left_out_{view}_{bound}" for view in _VIEWS for bound in ("mean", "least", "greatest")),
    *(f"test_{name}" for name in ("sources", "auc", "auc_low", "auc_high", "blanked", "ece")),
    *("shuffled", "note"),
)
_LEFT_OUT: Final = ("left_out_plain", "left_out_lungs_blanked")
_UNTOLD: Final = {"roots", "cache_dir", "provenance", "command", "show_source"}
"""What does not change the outcome, or names folders of a machine."""

_PATHS: Final = {"weights", "not_radiographs"}

_DPI: Final = 110


def log_run(run: RunDirectory, table: Path, *, note: str) -> None:
    """Appends the run's row to the table, and draws the plot beside it.

    Raises:
        TrainingError: the run has no report, or the table has this very row already.
    """
    row = {name: str(value) for name, value in _row(run, note).items()}
    rows = read_csv(table) if table.is_file() else []
    same = ("run", "config", "left_out_plain_mean", "test_auc", "note")
    if any(all(old[name] == row[name] for name in same) for old in rows):
        raise TrainingError(f"{table} has this run already")
    write_csv(table, list(COLUMNS), [*rows, row])
    _draw([*rows, row], table.with_suffix(".png"))


def config_digest(config: RunConfig) -> str:
    """Returns what names a configuration: equal for runs that differ in folders and texts alone."""
    told = json.dumps(_told(config.model_dump(mode="json")), sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def changed_settings(config: RunConfig) -> str:
    """Returns the settings that are not the defaults, as name=value."""
    default = RunConfig.model_validate({"data": {"roots": ["."]}})
    given = _flat(_told(config.model_dump(mode="json")))
    usual = _flat(_told(default.model_dump(mode="json")))
    return " ".join(
        f"{name}={value}"
        for name, value in given.items()
        if value != usual.get(name) and name != "seed"
    )


def _row(run: RunDirectory, note: str) -> dict[str, Any]:
    metrics = run.report / METRICS
    if not metrics.is_file():
        raise TrainingError(f"{run.root} has no report: run the step `evaluate` first")
    evaluation = Evaluation.model_validate_json(metrics.read_bytes())
    where = "test_both_class_sources" if evaluation.both_class_sources else "test"
    test = (evaluation.both_class_sources or evaluation.splits)["test"]
    blanked = evaluation.controls.views[where].auc.get("lungs_blanked")
    shuffled = evaluation.controls.label_shuffle
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "")
    row |= {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "run": run.root.name,
        "config": config_digest(run.config),
        "seed": run.config.seed,
        "settings": changed_settings(run.config),
        "data": " ".join(evaluation.images),
        "images": sum(
            sum(splits.values())
            for labels in evaluation.images.values()
            for splits in labels.values()
        ),
        "test_sources": " ".join(evaluation.both_class_source_names) or "all",
        "test_auc": _rounded(test["auc"]["value"]),
        "test_auc_low": _rounded(test["auc"]["low"]),
        "test_auc_high": _rounded(test["auc"]["high"]),
        "test_blanked": _rounded(blanked.value) if blanked else "",
        "test_ece": _rounded(test["ece"]["value"]),
        "shuffled": _rounded(shuffled.auc.value) if shuffled else "",
        "note": note,
    }
    if evaluation.leave_one_source_out is not None:
        row["left_out"] = " ".join(evaluation.leave_one_source_out.folds_counted)
        for view in _VIEWS:
            spread = evaluation.leave_one_source_out.over_folds.get(view)
            for bound in ("mean", "least", "greatest") if spread else ():
                row[f"left_out_{view}_{bound}"] = _rounded(getattr(spread, bound))
    return row


def _rounded(value: float) -> str:
    return f"{value:.4f}"


def _told(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _told(value)
        if isinstance(value, dict)
        else Path(value).name
        if name in _PATHS and value
        else value
        for name, value in values.items()
        if name not in _UNTOLD
    }


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _draw(rows: list[dict[str, str]], path: Path) -> None:
    """Each run's AUC as served and with the lungs blanked: left-out sources, and the test split."""

    def paint(figure: Figure) -> None:
        panels = figure.subplots(1, 2, sharey=True)
        for axes, title, names, bounds in (
            (panels[0], "sources left out; least and greatest", _LEFT_OUT, ("least", "greatest")),
            (panels[1], "test split; 95 % interval", ("test_auc", "test_blanked"), ("low", "high")),
        ):
            for name, text, colour in zip(
                names, ("as served", "lungs blanked"), (plots.BLUE, plots.ORANGE), strict=True
            ):
                values = np.array([_number(row.get(f"{name}_mean", row.get(name))) for row in rows])
                axes.plot(values, range(len(rows)), "o", color=colour, label=text)
                for place, row in enumerate(rows):
                    ends = [_number(row.get(f"{name}_{end}")) for end in bounds]
                    axes.plot(ends, [place, place], color=colour, linewidth=1.2)
            axes.axvline(0.5, color=plots.GREY, linewidth=0.8, linestyle=":")
            axes.set_title(title, fontsize=9)
            axes.set_xlabel("AUC")
        panels[0].set_yticks(
            range(len(rows)), [f"{row['run']}, seed {row['seed']}" for row in rows]
        )
        panels[0].set_ylim(len(rows) - 0.5, -0.5)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=2)

    with replacing(path) as partial:
        partial.write_bytes(
            plots.draw((9.4, 1.5 + 0.3 * len(rows)), paint, file_format="png", dpi=_DPI)
        )


def _number(text: str | None) -> float:
    return float(text) if text else float("nan")
