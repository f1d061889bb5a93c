"""The commands about data, before there is a run: `fetch` and `inspect`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tbscreen_training import flags
from tbscreen_training.errors import TrainingError
from tbscreen_training.fetch import fetch, load_registry

if TYPE_CHECKING:
    # argparse names this type in its stubs only.
    _SubParsers = argparse._SubParsersAction[argparse.ArgumentParser]

COMMANDS: Final = ("fetch", "inspect")


def add_data_commands(commands: "_SubParsers") -> None:
    """Adds both to the command line."""
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
    flags.add_data_sources(looking)
    flags.add_section(looking, "data")


def run_data_command(parsed: argparse.Namespace) -> None:
    """Runs one of both.

    Raises:
        TrainingError: what it says.
    """
    if parsed.step == "fetch":
        data_set = load_registry()[parsed.name]
        fetch(data_set, parsed.to, archive=parsed.archive, url=parsed.url)
        return
    if "data.roots" not in vars(parsed):
        raise TrainingError("no data: name at least one --data")
    # scikit-learn takes a second to import, which --help need not wait for.
    from tbscreen_training.inspection import inspect

    inspect(flags.configure(parsed, None, command="").data, parsed.out)
