"""What is decided about access when the gateway starts."""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime

from tbscreen_gateway.access.key_ring import KeyRing
from tbscreen_gateway.settings import GatewaySettings
from tbscreen_shared.access import AuthMode, keys_are_needed

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Access:
    """The keys, and whether they are needed.

    Attributes:
        keys: every key; none where they are not looked at.
        keys_are_needed: stays as it was at start, whatever becomes of the file.
        note: what people should know of it.
    """

    keys: KeyRing
    keys_are_needed: bool
    note: str | None


def open_access(settings: GatewaySettings) -> Access:
    """Reads the keys and decides whether they are needed.

    Raises:
        NoKeyError: they are, and none is valid.
        KeyFileError: their file can not be read, so nobody knows whether they are.
    """
    keys = KeyRing(settings.api_keys_file if settings.auth is not AuthMode.OFF else None)
    needed = keys_are_needed(
        settings.auth,
        others_by=settings.others_by,
        keys=keys.keys(),
        keys_file=settings.api_keys_file,
        now=datetime.now(UTC),
    )
    note = None
    if not needed and settings.others_by is not None:
        note = (
            f"No API key is needed (TBSCREEN_AUTH=off), and {settings.others_by}: whoever gets "
            "there can use the gateway."
        )
        logger.warning(note)
    return Access(keys, needed, note)
