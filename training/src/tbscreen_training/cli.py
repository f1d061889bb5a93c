"""`tbscreen-training`: the whole way from radiographs to a published bundle, or one step of it."""

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tbscreen_shared.errors import BundleError
from tbscreen_shared.logging import configure_logging
from tbscreen_training import flags
from tbscreen_training.config import CONFIG_FILE, RunConfig
from tbscreen_training.data_commands import COMMANDS, add_data_commands, run_data_command
from tbscreen_training.errors import TrainingError

if TYPE_CHECKING:
    from tbscreen_training.run_directory import RunDirectory

_STEPS: Final = {
    "split": "decode the images and divide them into train, validation and test",
    "fit": "fit the head over the frozen network, or continue to",
    "fine-tune": "train the upper blocks too, at a lower rate, or continue to",
    "folds": "train again without each source, and on shuffled labels, to see what holds",
    "export": "export the model to TensorFlow Lite and compare it with Keras",
    "fit-check": "fit the check that refuses what is no frontal chest radiograph",
    "evaluate": "score every view, calibrate, choose operating points, write the report",
    "report": "calibrate and write the report anew from the stored scores, without the model",
    "publish": "put the model to the release gate and activate it on the models volume",
    "log": "append the run and its figures to the experiment log",
    "compare-exports": "time and compare every way to export",
    "compare-augmentations": "cross-validate each augmentation on the both-class sources",
}
_SECTIONS_OF_STEP: Final = {
    "split": ("data",),
    "fit": ("augmentation", "fit", "fine_tune"),
    "fine-tune": ("fine_tune",),
}
_FIELDS_OF_STEP: Final = {
    "split": ("seed",),
    "folds": ("label_shuffles",),
    "export": ("quantisation",),
    "fit-check": ("drawings", "check_from", "not_radiographs"),
    "evaluate": ("calibration", "indeterminate_band", "show_source"),
    "report": ("calibration", "indeterminate_band", "show_source"),
    "publish": ("provenance",),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit status: 0, or 1 for a refusal, which it explains."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    parsed = _parser().parse_args(given)
    configure_logging("training", log_format="text")
    for library in ("absl", "jax", "matplotlib", "tensorflow"):
        logging.getLogger(library).setLevel(logging.WARNING)
    # TensorFlow announces the processor's features on every start.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Matplotlib keeps a cache of fonts, and a container's home is read-only.
    os.environ.setdefault("MPLCONFIGDIR", str(Path(tempfile.gettempdir()) / "matplotlib"))
    command = flags.without_paths(["tbscreen-training", *given])
    try:
        if parsed.step in COMMANDS:
            run_data_command(parsed)
        elif parsed.step == "run":
            _run(parsed, command)
        else:
            _step(parsed, command)
    except (TrainingError, BundleError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tbscreen-training", description=__doc__)
    commands = parser.add_subparsers(dest="step", required=True)
    add_data_commands(commands)
    whole = commands.add_parser("run", help="do every step, from the data to the bundle")
    whole.add_argument("--out", type=Path, default=Path("runs"), help="folder of runs (./runs)")
    whole.add_argument("--name", help="of the run's folder (default: the time)")
    whole.add_argument(
        "--resume", action="store_true", help="continue the named or latest run with its own flags"
    )
    flags.add_data_sources(whole)
    flags.add_folds(whole)
    for section in ("data", "augmentation", "fit", "fine_tune"):
        flags.add_section(whole, section)
    flags.add_fields(whole, *dict.fromkeys(chain.from_iterable(_FIELDS_OF_STEP.values())))
    _add_publishing(whole)
    for step, text in _STEPS.items():
        one = commands.add_parser(step, help=text)
        one.add_argument("--run", type=Path, required=True, help="the run's folder")
        if step == "split":
            flags.add_data_sources(one)
        for section in _SECTIONS_OF_STEP.get(step, ()):
            flags.add_section(one, section)
        flags.add_fields(one, *_FIELDS_OF_STEP.get(step, ()))
        if step == "publish":
            _add_publishing(one)
        if step == "folds":
            flags.add_folds(one)
        if step == "log":
            one.add_argument("--note", required=True, help="what the run was to find out, and did")
            one.add_argument(
                "--table",
                type=Path,
                default=Path("docs/experiments.csv"),
                help="the experiment log (./docs/experiments.csv); its plot stands beside it",
            )
        if step == "compare-augmentations":
            one.add_argument("--views", type=int, default=2, help="variants of each image")
    return parser


def _add_publishing(parser: argparse.ArgumentParser) -> None:
    models_dir = os.environ.get("TBSCREEN_MODELS_DIR")
    parser.add_argument(
        "--models-dir",
        type=Path,
        default=models_dir,
        required=models_dir is None,
        help="the models volume (default: TBSCREEN_MODELS_DIR)",
    )
    parser.add_argument(
        "--force",
        metavar="REASON",
        type=_reason,
        help="publish it even if it fails the release gate; the manifest keeps the reason",
    )


def _reason(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("say why")
    return text.strip()


def _run(parsed: argparse.Namespace, command: str) -> None:
    # Keras takes seconds to import; --help and a wrong flag need not wait for it.
    from tbscreen_training import steps
    from tbscreen_training.run_directory import RunDirectory

    if parsed.resume:
        run = RunDirectory.open(_run_to_resume(parsed.out, parsed.name))
    else:
        root = parsed.out / (parsed.name or f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
        run = _start(root, parsed, command)
    steps.finish(run, parsed.models_dir, parsed.force)


def _run_to_resume(out: Path, name: str | None) -> Path:
    if name:
        return out / name
    runs = sorted(path.parent for path in out.glob(f"*/{CONFIG_FILE}"))
    if not runs:
        raise TrainingError(f"{out} holds no run to resume")
    return max(runs, key=lambda run: (run / CONFIG_FILE).stat().st_mtime)


def _start(root: Path, parsed: argparse.Namespace, command: str) -> "RunDirectory":
    from tbscreen_training.run_directory import RunDirectory

    if (root / CONFIG_FILE).exists():
        raise TrainingError(f"{root} holds a run already: continue it, or name another folder")
    if "data.roots" not in vars(parsed):
        raise TrainingError("no data: name at least one --data")
    config = flags.configure(parsed, None, command=command)
    root.mkdir(parents=True, exist_ok=True)
    config.save(root)
    return RunDirectory(root, config)


def _step(parsed: argparse.Namespace, command: str) -> None:
    from tbscreen_training import steps
    from tbscreen_training.run_directory import RunDirectory

    if parsed.step == "split":
        steps.split(_start(parsed.run, parsed, command))
        return
    before = RunConfig.load(parsed.run)
    if parsed.step == "log":
        steps.log(RunDirectory(parsed.run, before), parsed.table, parsed.note)
        return
    config = flags.configure(parsed, before, command=command)
    run = RunDirectory(parsed.run, config)
    if parsed.step == "publish":
        steps.publish(run, parsed.models_dir, parsed.force)
    elif parsed.step == "compare-augmentations":
        steps.compare_augmentations(run, parsed.views)
    else:
        steps.take(parsed.step, run, before)
    config.save(parsed.run)
