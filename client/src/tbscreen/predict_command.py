"""`tbscreen predict`."""

import sys
from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Annotated

import typer

from tbscreen.client import DEFAULT_URL, Client
from tbscreen.errors import AccessDenied, GatewayError, GatewayUnreachable
from tbscreen.gateway_options import (
    KEY_HINT,
    ApiKeyFileOption,
    UrlOption,
    check_access,
    open_client,
)
from tbscreen.predict import (
    Batch,
    Outcome,
    OutputFormat,
    Radiograph,
    find_radiographs,
    make_formatter,
)
from tbscreen.predict.output import Output, open_output


class ExitCode(IntEnum):
    """What `tbscreen predict` exits with. 2, a usage error, is typer's own."""

    ALL_ANSWERED = 0
    SOME_FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    DENIED = 4
    INTERRUPTED = 130


def predict(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE|FOLDER...",
            help="PNG, JPEG, TIFF or DICOM files, or folders of them.",
            show_default=False,
        ),
    ],
    url: UrlOption = DEFAULT_URL,
    api_key_file: ApiKeyFileOption = None,
    output_format: Annotated[
        OutputFormat,
        typer.Option("--format", help="json is JSON Lines: one object per line."),
    ] = OutputFormat.TABLE,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the results there, not to standard output."),
    ] = None,
    wait: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="How long to wait for each answer.")
    ] = 300.0,
    jobs: Annotated[
        int, typer.Option(min=1, max=64, help="How many files are with the gateway at a time.")
    ] = 8,
    recursive: Annotated[bool, typer.Option(help="Look into folders' folders as well.")] = True,
    heatmaps: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Save there, per file, where the model saw evidence (PNG)."
        ),
    ] = None,
) -> None:
    """Screen radiographs through a gateway; print one line per file, in the files' order.

    File names are printed here but never sent. A file that can not be answered gets a line that
    says why. After Ctrl-C, files that were sent but not answered are printed with their job ids,
    under which the answers can be had from GET /v1/jobs/ID.

    Exit codes:

    - 0: every file was answered
    - 1: some were not, or the results can not be written
    - 2: wrong usage; nothing was sent
    - 3: the gateway can not be reached, or was lost on the way
    - 4: the gateway needs an API key, or one that may do more
    - 130: interrupted
    """
    try:
        files = find_radiographs(paths, recursive=recursive)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error
    with open_client(url, api_key_file) as client:
        _check_gateway(client)
        try:
            if heatmaps is not None:
                heatmaps.mkdir(parents=True, exist_ok=True)
            batch = Batch(client, files, jobs=jobs, wait_s=wait, heatmaps=heatmaps)
            with open_output(output, len(files)) as sink:
                tally = _print_outcomes(batch, sink, output_format, files)
        except BrokenPipeError:
            raise
        except OSError as error:
            _complain(f"can not write the results: {error}")
            raise typer.Exit(ExitCode.SOME_FAILED) from error
    if sys.stderr.isatty():
        typer.echo(tally.describe(), err=True)
    raise typer.Exit(tally.exit_code())


@dataclass
class Tally:
    """What a run came to."""

    counts: Counter[str] = field(default_factory=Counter)
    incomplete: bool = False
    lost: GatewayUnreachable | AccessDenied | None = None
    interrupted: bool = False

    def count(self, outcome: Outcome) -> None:
        """Adds a file."""
        result = outcome.result
        self.counts[result.prediction if result else outcome.status.replace("_", " ")] += 1
        self.incomplete |= not outcome.is_complete

    def describe(self) -> str:
        """Returns the run in one sentence."""
        parts = ", ".join(f"{number} {what}" for what, number in self.counts.most_common())
        total = self.counts.total()
        files = "file" if total == 1 else "files"
        return f"{total} {files}: {parts}. A research tool, not a medical device."

    def exit_code(self) -> ExitCode:
        """Returns what the command shall exit with."""
        if self.interrupted:
            return ExitCode.INTERRUPTED
        if self.lost is not None:
            denied = isinstance(self.lost, AccessDenied)
            return ExitCode.DENIED if denied else ExitCode.UNREACHABLE
        return ExitCode.SOME_FAILED if self.incomplete else ExitCode.ALL_ANSWERED


def _check_gateway(client: Client) -> None:
    try:
        health = check_access(client)
    except AccessDenied as error:
        _complain(f"{error} {KEY_HINT}")
        raise typer.Exit(ExitCode.DENIED) from error
    except (GatewayUnreachable, GatewayError) as error:
        _complain(f"{error}. Start one with `tbscreen serve`, or name another with --url.")
        raise typer.Exit(ExitCode.UNREACHABLE) from error
    for problem in health.problems:
        _complain(f"the gateway says: {problem}")


def _complain(message: str) -> None:
    typer.echo(f"tbscreen: {message}", err=True)


def _print_outcomes(
    batch: Batch, sink: Output, output_format: OutputFormat, files: list[Radiograph]
) -> Tally:
    header, to_line = make_formatter(output_format, [file.name for file in files])
    if header:
        sink.write(header)
    tally = Tally()

    def tell(outcome: Outcome) -> None:
        tally.count(outcome)
        sink.write(to_line(outcome))
        sink.advance()

    try:
        for outcome in batch:
            tell(outcome)
    except KeyboardInterrupt:
        tally.interrupted = True
        for outcome in batch.stop():
            tell(outcome)
    tally.lost = batch.lost
    if isinstance(tally.lost, AccessDenied):
        _complain(f"{tally.lost} {KEY_HINT}")
    return tally
