"""`tbscreen serve`."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer


def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    workers: Annotated[
        int,
        typer.Option(
            envvar="TBSCREEN_WORKER_CONCURRENCY",
            min=1,
            help="How many radiographs are read at a time.",
            show_default="2, or 1 on a single core",
        ),
    ] = min(2, os.cpu_count() or 1),
    data_dir: Annotated[
        Path, typer.Option(help="Folder for uploads in hand, the queue and the audit log.")
    ] = Path(".tbscreen"),
    models_dir: Annotated[
        Path,
        typer.Option(
            envvar="TBSCREEN_MODELS_DIR", help="Folder of published models.", show_default="models"
        ),
    ] = Path("models"),
) -> None:
    """Run gateway, workers and an embedded Redis here, until Ctrl-C.

    Everything is stored under the data folder: after a crash or a power cut, accepted radiographs
    are still answered. Where REDIS_URL or REDIS_URL_FILE is set, that Redis is used and none is
    started.

    On an address that other machines reach, or behind a proxy, it starts only once there is an API
    key: see `tbscreen keys create --help`. TBSCREEN_AUTH=off lets everybody in. Keys are looked for
    in the data folder's api-keys.json, or where TBSCREEN_API_KEYS_FILE says.
    """
    missing = [name for name in ("tbscreen_gateway", "tbscreen_worker") if find_spec(name) is None]
    if missing:
        typer.echo(
            "tbscreen: `serve` needs the gateway and the worker, which are not installed here: "
            "pip install 'tbscreen[serve]'",
            err=True,
        )
        raise typer.Exit(1)
    # POSIX only (fcntl, process groups); the other commands work anywhere.
    from tbscreen.serve import ServeError, ServeSettings, run

    settings = ServeSettings(
        host=host,
        port=port,
        workers=workers,
        data_dir=data_dir.resolve(),
        models_dir=models_dir.resolve(),
        keys_file=_keys_file(data_dir),
        embeds_redis=not (os.environ.get("REDIS_URL") or os.environ.get("REDIS_URL_FILE")),
    )
    try:
        run(settings)
    except ServeError as error:
        typer.echo(f"tbscreen: {error}", err=True)
        raise typer.Exit(1) from error


def _keys_file(data_dir: Path) -> Path:
    named = os.environ.get("TBSCREEN_API_KEYS_FILE")
    return (Path(named) if named else data_dir / "api-keys.json").resolve()
