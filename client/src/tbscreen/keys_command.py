"""`tbscreen keys`."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

keys = typer.Typer(
    help="Make, list, revoke and rotate the API keys of a gateway, on the machine that holds their "
    "file. A running gateway takes each change at once.",
    no_args_is_help=True,
)

DEFAULT_FILE: Final = Path(".tbscreen/api-keys.json")
"""Where `tbscreen serve` looks, too, unless it is told otherwise."""

_File = Annotated[
    Path,
    typer.Option(
        "--file", metavar="FILE", envvar="TBSCREEN_API_KEYS_FILE", help="The file of keys."
    ),
]
_Id = Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `list` shows it.")]


@keys.command()
def create(
    name: Annotated[str, typer.Option(help="Whose key it is, e.g. PACS or Ward 3.")],
    scope: Annotated[
        list[str],
        typer.Option(
            metavar="submit|read|admin",
            help="What it may; may be repeated. The page and `tbscreen predict` take submit and "
            "read. admin holds neither.",
        ),
    ],
    expires_in_days: Annotated[
        int | None, typer.Option(min=1, max=36_500, show_default="never")
    ] = None,
    file: _File = DEFAULT_FILE,
) -> None:
    """Make a key and print it: the only time that it is shown.

    Standard output holds the key alone, so that it can be put into a file. What is kept is its
    SHA-256.
    """
    with _explained():
        from tbscreen.keys import create_key

        life = timedelta(days=expires_in_days) if expires_in_days else None
        key, token = create_key(file, name, scope, life=life)
    typer.echo(
        f"key {key.id} for {key.name} ({', '.join(key.scopes)}), expires {_day(key.expires_at)}, "
        f"in {file}. It is not shown again:",
        err=True,
    )
    typer.echo(token.get_secret_value())


@keys.command("list")
def list_(file: _File = DEFAULT_FILE) -> None:
    """List the keys: id, state, when each expires, scopes and name."""
    with _explained():
        from tbscreen.keys import list_keys

        found = list_keys(file)
    if not found:
        typer.echo(f"no keys in {file}", err=True)
        return
    typer.echo(f"{'ID':<12}  {'STATE':<7}  {'EXPIRES':<17}  {'SCOPES':<17}  NAME")
    for key, state in found:
        scopes = ",".join(key.scopes)
        expires = _day(key.expires_at)
        typer.echo(f"{key.id:<12}  {state:<7}  {expires:<17}  {scopes:<17}  {key.name}")


@keys.command()
def revoke(key_id: _Id, file: _File = DEFAULT_FILE) -> None:
    """End a key at once and for ever, with every browser that was signed in with it."""
    with _explained():
        from tbscreen.keys import revoke_key

        key = revoke_key(file, key_id)
    typer.echo(f"key {key.id} of {key.name} is revoked", err=True)


@keys.command()
def rotate(
    key_id: _Id,
    overlap_hours: Annotated[
        float, typer.Option(min=0, max=24 * 365, help="How long the old one stays valid.")
    ] = 24.0,
    file: _File = DEFAULT_FILE,
) -> None:
    """Make a key in another one's place, of the same name, scopes and length of life.

    Both are valid for a while, so that no one is locked out while it is passed on.
    """
    with _explained():
        from tbscreen.keys import rotate_key

        old, new, token = rotate_key(file, key_id, overlap=timedelta(hours=overlap_hours))
    typer.echo(
        f"key {new.id} for {new.name}, expires {_day(new.expires_at)}; {old.id} is valid until "
        f"{_day(old.expires_at)}. It is not shown again:",
        err=True,
    )
    typer.echo(token.get_secret_value())


@contextmanager
def _explained() -> Iterator[None]:
    """Turns what goes wrong into a line and exit code 1."""
    if find_spec("tbscreen_shared") is None:
        _fail(
            "`keys` needs what the gateway has too, which is not installed here: pip install "
            "'tbscreen[serve]'"
        )
    from tbscreen.keys import KeysError

    try:
        yield
    except KeysError as error:
        _fail(str(error))


def _fail(message: str) -> NoReturn:
    typer.echo(f"tbscreen: {message}", err=True)
    raise typer.Exit(1)


def _day(moment: datetime | None) -> str:
    return "never" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%MZ}"
