"""How a command is told which gateway to ask, and with which key."""

from pathlib import Path
from typing import Annotated, Final

import typer

from tbscreen.client import Client
from tbscreen.errors import AccessDenied
from tbscreen.models import Health
from tbscreen.sending import API_KEY_VARIABLE

# Well beyond what a restart of the gateway or of Redis takes: docs/faults.md.
RETRY_FOR_S: Final = 90.0

KEY_HINT: Final = (
    f"Name a file that holds an API key with --api-key-file, or set {API_KEY_VARIABLE}; it needs "
    "the scopes submit and read."
)

UrlOption = Annotated[str, typer.Option(envvar="TBSCREEN_URL", help="The gateway's address.")]

ApiKeyFileOption = Annotated[
    Path | None,
    typer.Option(
        "--api-key-file",
        metavar="FILE",
        help="File that holds the API key, where the gateway needs one. A key itself is no option: "
        "who lists the processes would read it.",
        show_default=f"the key in {API_KEY_VARIABLE}, if any",
    ),
]


def open_client(url: str, api_key_file: Path | None) -> Client:
    """Returns a client, which the caller closes.

    Raises:
        BadParameter: the address or the file is none.
    """
    key = None if api_key_file is None else _read_key(api_key_file)
    try:
        return Client(url, api_key=key, retry_for_s=RETRY_FOR_S)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def check_access(client: Client) -> Health:
    """Returns how the gateway is, once it is clear that its answers may be read.

    Raises:
        AccessDenied: it needs an API key, or this one may not read.
        GatewayUnreachable, GatewayError: see `Client.health`.
    """
    health = client.health()
    if health.is_summary:
        raise AccessDenied("unauthorized", 401, "The gateway needs an API key that may read.")
    return health


def _read_key(path: Path) -> str:
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it holds no text"
        # Not from the error: it may quote the file.
        raise typer.BadParameter(
            f"{path} can not be read: {reason}", param_hint="--api-key-file"
        ) from None
    if not key:
        raise typer.BadParameter(f"{path} is empty", param_hint="--api-key-file")
    return key
