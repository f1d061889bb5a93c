"""`tbscreen jobs`."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Annotated, Final, NoReturn, TypeVar

import typer

from tbscreen.client import DEFAULT_URL, Client
from tbscreen.errors import AccessDenied, GatewayError, GatewayUnreachable
from tbscreen.gateway_options import ApiKeyFileOption, UrlOption, open_client
from tbscreen.models import Job
from tbscreen.sending import API_KEY_VARIABLE

jobs = typer.Typer(
    help="Look at single jobs, and deal with those that were given up: the dead letters.",
    no_args_is_help=True,
)

_HEADER: Final = f"{'ID':<36}  {'STATUS':<9}  {'ATTEMPTS':>8}  {'ACCEPTED (UTC)':<19}  NOTE"
_WORKER_LOST: Final = "worker_lost"
_UNKNOWN: Final = "-"
_KEY_HINT: Final = (
    f"Name a file that holds an API key with --api-key-file, or set {API_KEY_VARIABLE}: dead and "
    "retry take the scope admin, show takes read, cancel submit, and purge both."
)

Done = TypeVar("Done")


class ExitCode(IntEnum):
    """What the commands exit with. 2, a usage error, is typer's own."""

    DONE = 0
    SOME_FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    DENIED = 4


class JobsFormat(StrEnum):
    """How jobs are printed."""

    TABLE = "table"
    JSON = "json"


_Format = Annotated[
    JobsFormat, typer.Option("--format", help="json is JSON Lines: a job as the API answers it.")
]
_Id = Annotated[str, typer.Argument(metavar="ID", help="The job's id.", show_default=False)]
_Ids = Annotated[
    list[str] | None, typer.Argument(metavar="ID...", help="The jobs' ids.", show_default=False)
]
_All = Annotated[bool, typer.Option("--all", help="All that are on the dead-letter list.")]


@jobs.command()
def dead(
    url: UrlOption = DEFAULT_URL,
    api_key_file: ApiKeyFileOption = None,
    output_format: _Format = JobsFormat.TABLE,
) -> None:
    """List the jobs that were given up, as their workers were lost each time; the latest first.

    Exit codes: 0; 1 for an error; 3 for a gateway that can not be reached;
    4 for an API key that is wanting.
    """
    with _connected(url, api_key_file) as client:
        _print_jobs(client.dead_jobs(), output_format)


@jobs.command()
def show(
    job_id: _Id,
    url: UrlOption = DEFAULT_URL,
    api_key_file: ApiKeyFileOption = None,
    output_format: _Format = JobsFormat.TABLE,
) -> None:
    """Print a job.

    Exit codes: 0; 1 where there is no such job; 3 for a gateway that can not be reached;
    4 for an API key that is wanting.
    """
    with _connected(url, api_key_file) as client:
        _print_jobs([client.get(job_id)], output_format)


@jobs.command()
def retry(
    job_ids: _Ids = None,
    every: _All = False,
    url: UrlOption = DEFAULT_URL,
    api_key_file: ApiKeyFileOption = None,
    output_format: _Format = JobsFormat.TABLE,
) -> None:
    """Have jobs that were given up read again, as new jobs, and print those.

    A job is retried once: repeated, this prints the same new job.

    Exit codes: 0; 1 where a job could not be retried; 3 for a gateway that can not be reached;
    4 for an API key that is wanting.
    """
    _check_choice(job_ids, every=every)
    with _connected(url, api_key_file) as client:
        work = _Work(_choose(client, job_ids))
        _print_jobs(work.each(client.retry), output_format)
    work.exit()


@jobs.command()
def purge(
    job_ids: _Ids = None,
    every: _All = False,
    url: UrlOption = DEFAULT_URL,
    api_key_file: ApiKeyFileOption = None,
) -> None:
    """Erase jobs that were given up, with their radiographs: nothing is left to be retried.

    Exit codes: 0; 1 where one could not be erased; 3 for a gateway that can not be reached;
    4 for an API key that is wanting.
    """
    _check_choice(job_ids, every=every)
    with _connected(url, api_key_file) as client:

        def erase(job_id: str) -> str:
            job = client.get(job_id)
            if job.error is None or job.error.code != _WORKER_LOST:
                raise GatewayError("job_not_dead", 409, f"it is {job.status}: nobody gave it up")
            client.delete(job_id)
            return job_id

        work = _Work(_choose(client, job_ids))
        for job_id in work.each(erase):
            typer.echo(f"{job_id} erased")
    work.exit()


@jobs.command()
def cancel(
    job_ids: _Ids = None,
    url: UrlOption = DEFAULT_URL,
    api_key_file: ApiKeyFileOption = None,
) -> None:
    """Cancel jobs that are not finished, and erase their radiographs.

    Exit codes: 0; 1 where one could not be canceled; 3 for a gateway that can not be reached;
    4 for an API key that is wanting.
    """
    _check_choice(job_ids, every=False)
    with _connected(url, api_key_file) as client:
        work = _Work(job_ids or [])
        for job in work.each(client.cancel):
            typer.echo(f"{job.id} canceled")
    work.exit()


class _Work:
    """Does one thing to several jobs; what fails with one leaves the others."""

    def __init__(self, job_ids: Iterable[str]) -> None:
        self._job_ids = job_ids
        self._failed = False

    def each(self, act: Callable[[str], Done]) -> Iterator[Done]:
        """Yields what it comes to; a failure is told on standard error."""
        for job_id in self._job_ids:
            try:
                yield act(job_id)
            except AccessDenied:
                raise
            except GatewayError as error:
                self._failed = True
                typer.echo(f"tbscreen: {job_id}: {error}", err=True)

    def exit(self) -> NoReturn:
        """Ends the command."""
        raise typer.Exit(ExitCode.SOME_FAILED if self._failed else ExitCode.DONE)


def _check_choice(job_ids: list[str] | None, *, every: bool) -> None:
    if bool(job_ids) == every:
        raise typer.BadParameter("ids or --all, not both" if every else "no ids are given")


def _choose(client: Client, job_ids: list[str] | None) -> list[str]:
    # All are listed before the first is dealt with: they leave the list then.
    return job_ids or [job.id for job in client.dead_jobs()]


def _print_jobs(found: Iterable[Job], output_format: JobsFormat) -> None:
    jobs_found = iter(found)
    # Before the header: where the gateway refuses, the refusal comes alone.
    first = list(itertools.islice(jobs_found, 1))
    if output_format is JobsFormat.TABLE:
        typer.echo(_HEADER)
    for job in itertools.chain(first, jobs_found):
        typer.echo(job.model_dump_json() if output_format is JobsFormat.JSON else _to_row(job))


def _to_row(job: Job) -> str:
    notes = []
    if job.result is not None:
        notes.append(f"{job.result.prediction}, score {job.result.score:.1f}")
    if job.error is not None:
        notes.append(f"{job.error.code}: {job.error.message}")
    if job.retry_of is not None:
        notes.append(f"retry of {job.retry_of}")
    if job.expires_at is not None:
        notes.append(f"until {_time(job.expires_at)}")
    return (
        f"{job.id:<36}  {job.status:<9}  {job.attempts:>8}  {_time(job.created_at):<19}  "
        f"{'; '.join(notes)}"
    ).rstrip()


def _time(moment: datetime | None) -> str:
    return _UNKNOWN if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


@contextmanager
def _connected(url: str, api_key_file: Path | None) -> Iterator[Client]:
    """Yields a client, and turns what goes wrong into a line and an exit code."""
    with open_client(url, api_key_file) as client:
        try:
            # Asked once: a gateway that is not there is not waited for.
            client.health()
            yield client
        except AccessDenied as error:
            typer.echo(f"tbscreen: {error} {_KEY_HINT}", err=True)
            raise typer.Exit(ExitCode.DENIED) from error
        except GatewayUnreachable as error:
            typer.echo(f"tbscreen: {error}", err=True)
            raise typer.Exit(ExitCode.UNREACHABLE) from error
        except GatewayError as error:
            typer.echo(f"tbscreen: {error}", err=True)
            raise typer.Exit(ExitCode.SOME_FAILED) from error
