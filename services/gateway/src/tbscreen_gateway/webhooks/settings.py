"""What the operator sets about callbacks."""

import ssl
from pathlib import Path

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from tbscreen_gateway.webhooks.policy import CallbackPolicy, parse_allowed
from tbscreen_gateway.webhooks.signing import parse_secrets
from tbscreen_shared.settings import SharedSettings


class CallbackSettings(SharedSettings):
    """A part of the gateway's settings. Without a secret there are no callbacks."""

    webhook_secret_file: Path | None = Field(
        default=None, description="file that holds what TBSCREEN_WEBHOOK_SECRET would"
    )
    # After the file it may come from: pydantic validates in this order.
    webhook_secret: SecretStr = Field(
        default=SecretStr(""),
        validate_default=True,
        description="whsec_… to sign with; two, with a space between, while one is replaced",
    )
    callback_allow: str = Field(
        default="",
        description="hosts, addresses and networks beside the public ones, separated by commas",
    )
    callback_deny: str = Field(
        default="",
        description="those that callbacks never go to, though public or allowed; likewise",
    )
    callback_http: bool = Field(default=False, description="whether http:// is allowed too")
    callback_ca_file: Path | None = Field(
        default=None, description="PEM file of authorities to trust beside the public ones"
    )
    callback_timeout_s: float = Field(
        default=15, gt=0, le=120, description="how long a receiver may take to answer"
    )

    @property
    def webhook_keys(self) -> tuple[bytes, ...]:
        """What callbacks are signed with; none where there are no callbacks."""
        return parse_secrets(self.webhook_secret.get_secret_value())

    @property
    def callback_policy(self) -> CallbackPolicy:
        """Which callbacks may be asked for."""
        return CallbackPolicy(
            enabled=bool(self.webhook_keys),
            http_allowed=self.callback_http,
            allowed=parse_allowed(self.callback_allow, self.callback_deny),
        )

    @field_validator("webhook_secret_file", "callback_ca_file", mode="before")
    @classmethod
    def _empty_is_none(cls, given: object) -> object:
        return given or None

    @field_validator("webhook_secret")
    @classmethod
    def _is_usable(cls, given: SecretStr, info: ValidationInfo) -> SecretStr:
        text, file = given.get_secret_value(), info.data.get("webhook_secret_file")
        if text and file:
            raise ValueError("is given, and TBSCREEN_WEBHOOK_SECRET_FILE too: which one is meant?")
        if file:
            try:
                text = file.read_text()
            except (OSError, UnicodeDecodeError):
                raise ValueError(
                    f"can not be read from TBSCREEN_WEBHOOK_SECRET_FILE ({file})"
                ) from None
            if not text.strip():
                raise ValueError(f"is missing: TBSCREEN_WEBHOOK_SECRET_FILE ({file}) is empty")
        parse_secrets(text)
        return SecretStr(text)

    @field_validator("callback_allow", "callback_deny")
    @classmethod
    def _are_receivers(cls, given: str) -> str:
        parse_allowed(given)
        return given

    @field_validator("callback_ca_file")
    @classmethod
    def _holds_certificates(cls, given: Path | None) -> Path | None:
        if given is not None:
            try:
                ssl.create_default_context(cafile=given)
            except (OSError, ssl.SSLError):
                raise ValueError(f"{given} holds no readable PEM certificates") from None
        return given
