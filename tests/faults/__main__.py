"""`make faults`: breaks the compose stack in every way of the catalogue, under load.

Exits 1 when a promise was broken: see the printed problems, and the evidence beside the log.
"""

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faults.catalogue import CALLBACKS, CLOCKS, FAULTS
from faults.report import insert, record, table
from faults.trial import Laboratory, Trial
from support.announcements import heard_announcements
from support.callbacks import SETTINGS, stack_callbacks
from support.compose import ROOT, running_stack
from support.load import measure_capacity
from support.radiographs import radiograph_files

_PROJECT = "tbscreen-faults"
_WORKERS = 2
_SHARE = 0.45
"""Of the capacity: one worker alone can still keep up."""
_ARTIFACTS = ROOT / ".cache" / "faults"
_CLOCK = "TBSCREEN_FAULT_CLOCK"


def main() -> int:
    arguments = _arguments()
    trials: list[Trial] = []
    rows: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory() as scratch:
        radiographs = radiograph_files(Path(scratch))
        chosen = [fault for fault in FAULTS if fault.name in arguments.faults]
        for override, faults in itertools.groupby(chosen, key=lambda fault: fault.override):
            with _laboratory(override, radiographs, arguments) as laboratory:
                for fault in faults:
                    for number in range(1, arguments.runs + 1):
                        trials.append(laboratory.run(fault, number))
                        _tell(trials[-1])
                        # At once: whoever breaks off keeps what was done.
                        rows = record(arguments.csv, trials)
                        if arguments.document:
                            insert(arguments.document, "faults", table(rows))
    print("\n" + table([row for row in rows if row["fault"] in arguments.faults]))
    broken = [trial for trial in trials if trial.problems]
    for trial in broken:
        print(f"{trial.fault}, run {trial.run}: {'; '.join(trial.problems)}")
    return 1 if broken else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    names = [fault.name for fault in FAULTS]
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--faults", default=",".join(names), help="comma-separated")
    parser.add_argument("--rate", type=float, help="radiographs/s; else 45 %% of the capacity")
    parser.add_argument("--csv", type=Path, default=ROOT / "benchmarks" / "faults.csv")
    parser.add_argument("--document", type=Path, help="whose table is written anew")
    arguments = parser.parse_args()
    arguments.faults = [name for name in arguments.faults.split(",") if name]
    if unknown := set(arguments.faults) - set(names):
        parser.error(f"no fault {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    return arguments


@contextmanager
def _laboratory(
    override: Path | None, radiographs: list[Path], arguments: argparse.Namespace
) -> Iterator[Laboratory]:
    # What one client may do is no part of what is measured, and the senders are one.
    settings = {
        **SETTINGS,
        "TBSCREEN_RATE_LIMIT_PER_MINUTE": "0",
        "TBSCREEN_MAX_CONNECTIONS": "10000",
    }
    if override == CLOCKS:
        settings[_CLOCK] = str(_compiled_clock())
    overrides = [CALLBACKS, *([override] if override else [])]
    with running_stack(
        _PROJECT, _ARTIFACTS, workers=_WORKERS, overrides=overrides, settings=settings
    ) as stack:
        capacity = measure_capacity(stack.url, radiographs, seconds=12)
        rate = arguments.rate or _SHARE * capacity
        print(
            f"{override.stem if override else 'stack as shipped'}: "
            f"{capacity:.1f} radiographs/s, load {rate:.1f}/s",
            flush=True,
        )
        with (
            heard_announcements(stack) as announcements,
            stack_callbacks() as callbacks,
        ):
            yield Laboratory(
                stack, announcements, callbacks, radiographs, _WORKERS, rate, _ARTIFACTS
            )


def _tell(trial: Trial) -> None:
    print(
        f"{trial.fault} {trial.run}: {trial.accepted} accepted, {trial.refused} refused, "
        f"{trial.finished} finished, {trial.failed_typed} failed, {trial.lost} lost, "
        f"{trial.duplicates} duplicates, first answer {trial.first_answer_s} s, "
        f"as before {trial.as_before_s} s",
        *(f"\n    note: {note}" for note in trial.notes),
        *(f"\n    PROBLEM: {problem}" for problem in trial.problems),
        flush=True,
    )


def _compiled_clock() -> Path:
    """Builds what shifts the containers' clocks; takes a C compiler on this host."""
    library = _ARTIFACTS / "clock.so"
    library.parent.mkdir(parents=True, exist_ok=True)
    source = Path(__file__).with_name("clock.c")
    compiler = os.environ.get("CC", "cc")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(source)], check=True
    )
    return library


if __name__ == "__main__":
    sys.exit(main())
