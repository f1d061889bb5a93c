"""The commands that need data and no run: `fetch`, `inspect` and `fit-lungs`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tbscreen_training import flags
from tbscreen_training.errors import TrainingError
from tbscreen_training.fetch import fetch, load_registry

if TYPE_CHECKING:
    # argparse names this type in its stubs only.
    _SubParsers = argparse._SubParsersAction[argparse.ArgumentParser]

COMMANDS: Final = ("fetch", "inspect", "fit-lungs")


def add_data_commands(commands: "_SubParsers") -> None:
    """Adds them to the command line."""
    fetching = commands.add_parser("fetch", help="download a public set, check and unpack it")
    fetching.add_argument("name", choices=sorted(load_registry()), help="of the set")
    fetching.add_argument("--to", type=Path, required=True, help="folder of data sets")
    fetching.add_argument(
        "--archive", type=Path, help="a copy downloaded otherwise: check and unpack that"
    )
    fetching.add_argument("--url", help="a mirror, instead of the publisher's address")
    looking = commands.add_parser(
        "inspect", help="count what data sets hold, and show how far traces alone tell the label"
    )
    looking.add_argument("--out", type=Path, required=True, help="folder for tables and sheets")
    lungs = commands.add_parser("fit-lungs", help="fit the lung finder to radiographs with masks")
    lungs.add_argument("--to", type=Path, required=True, help="the .weights.h5 file to write")
    lungs.add_argument("--steps", type=int, default=1200, help="of 16 images each (1200)")
    lungs.add_argument("--seed", type=int, default=1)
    for command in (looking, lungs):
        flags.add_data_sources(command)
        flags.add_section(command, "data")


def run_data_command(parsed: argparse.Namespace) -> None:
    """Runs one of them.

    Raises:
        TrainingError: what it says.
    """
    if parsed.step == "fetch":
        data_set = load_registry()[parsed.name]
        fetch(data_set, parsed.to, archive=parsed.archive, url=parsed.url)
        return
    if "data.roots" not in vars(parsed):
        raise TrainingError("no data: name at least one --data")
    config = flags.configure(parsed, None, command="").data
    # scikit-learn and Keras take seconds to import, which --help need not wait for.
    if parsed.step == "inspect":
        from tbscreen_training.inspection import inspect

        inspect(config, parsed.out)
        return
    from tbscreen_training.lungs.fit import fit_lungs

    fit_lungs(config, parsed.to, steps=parsed.steps, seed=parsed.seed)
