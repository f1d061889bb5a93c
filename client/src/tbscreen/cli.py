"""The `tbscreen` command."""

from importlib.metadata import version
from typing import Annotated

import typer

from tbscreen.audit_command import audit
from tbscreen.calibrate_command import calibrate
from tbscreen.jobs_command import jobs
from tbscreen.keys_command import keys
from tbscreen.predict_command import predict
from tbscreen.serve_command import serve

app = typer.Typer(
    name="tbscreen",
    help="Screen chest radiographs for tuberculosis. A research tool, not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.command()(predict)
app.command()(calibrate)
app.command()(serve)
app.add_typer(keys, name="keys")
app.add_typer(jobs, name="jobs")
app.add_typer(audit, name="audit")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tbscreen {version('tbscreen')}")
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Runs the command line."""
    app(prog_name="tbscreen")
