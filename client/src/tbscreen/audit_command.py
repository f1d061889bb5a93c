"""`tbscreen audit`."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from tbscreen.errors import GatewayError, GatewayUnreachable
from tbscreen.gateway_options import ApiKeyFileOption, check_access, open_client

audit = typer.Typer(
    help="Check and read the audit log that a gateway writes, on the machine that holds its files.",
    no_args_is_help=True,
)

DEFAULT_FOLDER: Final = Path(".tbscreen/audit")
"""Where `tbscreen serve` writes it."""

_Log = Annotated[
    Path,
    typer.Argument(
        metavar="[FILE|FOLDER]",
        envvar="TBSCREEN_AUDIT_DIR",
        help="A file of the log, or its folder.",
    ),
]


class ExitCode(IntEnum):
    """What the commands exit with. 2, a usage error, is typer's own."""

    WHOLE = 0
    FINDINGS = 1
    USAGE = 2
    UNREACHABLE = 3


class AuditFormat(StrEnum):
    """How entries are printed."""

    TABLE = "table"
    JSON = "json"


@audit.command()
def verify(
    log: _Log = DEFAULT_FOLDER,
    anchor: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HASH",
            help="A hash that the gateway printed in its own log (`audit anchor`), or that this "
            "command printed before: a line must have it. May be repeated.",
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(help="Ask this gateway how the log ends, which shows that no end is missing."),
    ] = None,
    api_key_file: ApiKeyFileOption = None,
    key_file: Annotated[
        Path | None,
        typer.Option(
            envvar="TBSCREEN_AUDIT_KEY_FILE",
            exists=True,
            dir_okay=False,
            help="What the gateway signs lines with, if it does: every line must be signed.",
        ),
    ] = None,
    unsigned_until: Annotated[
        str | None,
        typer.Option(
            metavar="HASH",
            help="With a key that the gateway was given later: the hash of the last line before "
            "it, as it was noted then.",
        ),
    ] = None,
) -> None:
    """Check that no line was changed, removed, added or put elsewhere.

    The chain alone shows this of a part of the log. Who can write all of it can make all of the
    chain anew: an anchor, the gateway's word (--url) or a key shows that.

    Exit codes:

    - 0: the log is whole
    - 1: it is not; there is a line for each finding
    - 2: wrong usage, or there is no log
    - 3: the gateway can not be reached, or does not say how the log ends
    """
    with _explained():
        from tbscreen.audit import check_log, describe, find_files, read_lines

        anchors = [_checked(one) for one in anchor or ()]
        if url is not None:
            # Before the files are read: what is written meanwhile comes after it.
            anchors.append(_ask(url, api_key_file))
        key = key_file.read_bytes().strip() if key_file else None
        if unsigned_until is not None:
            _checked(unsigned_until, option="--unsigned-until")
        files = find_files(log)
        verdict = check_log(
            files, read_lines(files), anchors=anchors, key=key, unsigned_until=unsigned_until
        )
    for finding in verdict.findings:
        typer.echo(f"{finding.where}: {finding.what}")
    for note in verdict.notes:
        typer.echo(f"note: {note}")
    typer.echo(describe(verdict))
    raise typer.Exit(ExitCode.FINDINGS if verdict.findings else ExitCode.WHOLE)


@audit.command()
def show(
    log: _Log = DEFAULT_FOLDER,
    job: Annotated[str | None, typer.Option(metavar="ID", help="Entries of this job.")] = None,
    event: Annotated[str | None, typer.Option(metavar="NAME", help="Of this kind.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Not before this time, in UTC.")] = None,
    until: Annotated[datetime | None, typer.Option(help="Before this time, in UTC.")] = None,
    output_format: Annotated[
        AuditFormat,
        typer.Option("--format", help="json is JSON Lines: the lines as they are in the log."),
    ] = AuditFormat.TABLE,
) -> None:
    """Print entries, oldest first. Whether they can be trusted is what `verify` says.

    Exit codes: 0, or 2 for wrong usage or where there is no log.
    """
    with _explained():
        from tbscreen.audit import TABLE_HEADER, Wanted, find_files, read_lines, select, to_row

        wanted = Wanted(job=job, event=event, since=_in_utc(since), until=_in_utc(until))
        if output_format is AuditFormat.TABLE:
            typer.echo(TABLE_HEADER)
        for source, line in select(read_lines(find_files(log)), wanted):
            is_json = output_format is AuditFormat.JSON
            typer.echo(source.text.decode() if is_json else to_row(line))


def _checked(sha256: str, *, option: str = "--anchor") -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise typer.BadParameter("a hash is 64 hexadecimal digits", param_hint=option)
    return sha256


def _ask(url: str, api_key_file: Path | None) -> str:
    try:
        with open_client(url, api_key_file) as client:
            health = check_access(client)
    except (GatewayUnreachable, GatewayError) as error:
        _fail(str(error), ExitCode.UNREACHABLE)
    if health.audit is None or health.audit.sha256 is None:
        _fail("the gateway does not say how the log ends", ExitCode.UNREACHABLE)
    return health.audit.sha256


def _in_utc(moment: datetime | None) -> datetime | None:
    return moment and moment.replace(tzinfo=UTC)


@contextmanager
def _explained() -> Iterator[None]:
    """Turns what goes wrong into a line and an exit code."""
    if find_spec("tbscreen_shared") is None:
        _fail(
            "`audit` needs what the gateway has too, which is not installed here: pip install "
            "'tbscreen[serve]'",
            ExitCode.FINDINGS,
        )
    from tbscreen.audit import LogError

    try:
        yield
    except LogError as error:
        _fail(str(error), ExitCode.USAGE)


def _fail(message: str, code: ExitCode) -> NoReturn:
    typer.echo(f"tbscreen: {message}", err=True)
    raise typer.Exit(code)
