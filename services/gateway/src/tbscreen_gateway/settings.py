"""The gateway's settings."""

import ipaddress
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from tbscreen_gateway.webhooks.settings import CallbackSettings
from tbscreen_shared.access import AuthMode, how_others_reach, listed

# Separated by commas in the environment.
_Listed = Annotated[tuple[str, ...], NoDecode]
_SHORTEST_AUDIT_KEY_BYTES: Final = 16


class GatewaySettings(CallbackSettings):
    """Read from the environment with the prefix TBSCREEN_; REDIS_URL is also taken bare."""

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8000, ge=0, le=65535, description="0 takes a free one")
    published_on: str | None = Field(
        default=None,
        description="address on which a container's port is published; None: `host` is reached",
    )
    auth: AuthMode = Field(default=AuthMode.AUTO, description="whether requests need an API key")
    api_keys_file: Path | None = Field(
        default=None, description="keys, made with `tbscreen keys`; read again when it changes"
    )
    allowed_hosts: _Listed = Field(
        default=(), description="names by which browsers may ask for the gateway, beside its own"
    )
    trusted_proxies: _Listed = Field(
        default=(), description="addresses or networks whose X-Forwarded-* headers are believed"
    )
    max_upload_bytes: int = Field(
        default=64 * 1024 * 1024, gt=0, description="size of the largest radiograph taken"
    )
    max_batch_files: int = Field(
        default=1000, gt=0, le=10_000, description="files in the largest batch taken"
    )
    max_batch_bytes: int = Field(
        default=2 * 1024**3, gt=0, description="size of the largest batch's request"
    )
    max_batch_unpacked_bytes: int = Field(
        default=4 * 1024**3, gt=0, description="what the files of an archive may unpack to together"
    )
    max_unpack_ratio: int = Field(
        default=100, gt=0, description="how many times its packed size a file may unpack to"
    )
    max_queue_length: int = Field(
        default=10_000, gt=0, description="waiting jobs beyond which uploads are refused"
    )
    max_stored_bytes: int = Field(
        default=20 * 1024**3,
        gt=0,
        description="bytes of stored radiographs beyond which uploads are refused",
    )
    reserve_bytes: int = Field(
        default=256 * 1024**2,
        ge=0,
        description="what must stay free on the upload volume for an upload to be taken",
    )
    max_concurrent_uploads: int = Field(
        default=64, gt=0, description="uploads received at once, beyond which they are refused"
    )
    max_connections: int = Field(
        default=750, gt=0, description="open at once, of which one client may have half"
    )
    rate_limit_per_minute: int = Field(
        default=3000, ge=0, description="radiographs an API key may send a minute; 0 for no limit"
    )
    audit_dir: Path = Field(
        default=Path("/var/lib/tbscreen/audit"),
        description="folder of the audit log, one for all gateways of one Redis",
    )
    audit_key_file: Path | None = Field(
        default=None, description="file whose bytes sign each line of the audit log"
    )
    predict_wait_s: float = Field(
        default=30, ge=0, description="how long POST /predict waits before it answers 202"
    )
    shutdown_grace_s: int = Field(
        default=10, ge=0, description="how long requests in hand may take once the end is asked for"
    )

    @property
    def reachable_at(self) -> str:
        """The address under which others reach the gateway, if they do."""
        return self.published_on or self.host

    @property
    def others_by(self) -> str | None:
        """How other machines reach the gateway, for people; None where nothing says they do."""
        return how_others_reach(
            self.reachable_at,
            trusted_proxies=self.trusted_proxies,
            allowed_hosts=self.allowed_hosts,
        )

    @field_validator("allowed_hosts", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return listed(value) if isinstance(value, str) else value

    @field_validator("trusted_proxies")
    @classmethod
    def _are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for item in value:
            try:
                ipaddress.ip_network(item)
            except ValueError:
                raise ValueError("must be addresses or networks, e.g. 10.0.0.0/8") from None
        return value

    @field_validator("audit_key_file")
    @classmethod
    def _holds_a_key(cls, file: Path | None) -> Path | None:
        try:
            if file is not None and len(file.read_bytes().strip()) < _SHORTEST_AUDIT_KEY_BYTES:
                raise ValueError(f"{file} holds fewer than {_SHORTEST_AUDIT_KEY_BYTES} bytes")
        except OSError as error:
            raise ValueError(f"{file} can not be read: {error.strerror}") from error
        return file

    def audit_key(self) -> bytes | None:
        """Returns what signs the audit log's lines, None where nothing does.

        Raises:
            OSError: the file can not be read any more.
        """
        return None if self.audit_key_file is None else self.audit_key_file.read_bytes().strip()
