"""Sends a call, and sends it again while the gateway is busy or not to be reached."""

import os
import random
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Final, cast

import httpx

from tbscreen.answers import BUSY, problem_of, retry_after_s
from tbscreen.errors import GatewayError, GatewayUnreachable
from tbscreen.upload import Upload

API_KEY_VARIABLE: Final = "TBSCREEN_API_KEY"

# A file's own name may tell who the patient is; the gateway has no need of it.
_UPLOAD_NAME: Final = "radiograph"
_MEDIA_TYPE: Final = "application/octet-stream"
_FIRST_DELAY_S: Final = 0.2
_LONGEST_DELAY_S: Final = 5.0


class Sender:
    """Sends over one httpx client.

    Args:
        http: with the gateway's address.
        timeout_s: seconds for connecting, and for each read or write of a call.
        retry_for_s: seconds for which a call is retried, unless it says otherwise.
    """

    def __init__(self, http: httpx.Client, *, timeout_s: float, retry_for_s: float) -> None:
        self._http = http
        self._timeout_s = timeout_s
        self._retry_for_s = retry_for_s

    def send(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        sources: Sequence[str | Path | bytes] = (),
        held_s: float = 0.0,
        retry_for_s: float | None = None,
    ) -> httpx.Response:
        """Returns an answer that is a success.

        Args:
            method: of HTTP.
            url: below the gateway's address.
            params: of the query.
            headers: beside the client's own.
            sources: files to upload, paths or bytes; their names are not sent.
            held_s: for how long the gateway may hold the answer back.
            retry_for_s: instead of the client's own.

        Raises:
            OSError: a file can not be read.
            GatewayUnreachable: nobody answers.
            GatewayError: the answer is an error.
        """
        deadline = time.monotonic() + (self._retry_for_s if retry_for_s is None else retry_for_s)
        timeout = httpx.Timeout(self._timeout_s, read=self._timeout_s + held_s)
        delay_s = _FIRST_DELAY_S
        while True:
            request = {"params": params, "headers": headers, "timeout": timeout}
            pause_s = delay_s * random.uniform(0.5, 1.0)
            failure: GatewayUnreachable | GatewayError
            try:
                response = self._try(method, url, sources, request)
            except httpx.TransportError as error:
                failure = GatewayUnreachable(_describe(error, self._http.base_url))
                failure.__cause__ = error
            else:
                if response.is_success:
                    return response
                failure = problem_of(response)
                if response.status_code not in BUSY:
                    raise failure
                pause_s = max(pause_s, retry_after_s(response.headers, default=0.0))
            if time.monotonic() + pause_s > deadline:
                raise failure
            time.sleep(pause_s)
            delay_s = min(2 * delay_s, _LONGEST_DELAY_S)

    def _try(
        self,
        method: str,
        url: str,
        sources: Sequence[str | Path | bytes],
        request: dict[str, Any],
    ) -> httpx.Response:
        if not sources:
            return self._http.request(method, url, **request)
        with ExitStack() as stack:
            uploads = [stack.enter_context(Upload(source)) for source in sources]
            parts = [(_UPLOAD_NAME, cast("IO[bytes]", upload), _MEDIA_TYPE) for upload in uploads]
            return self._http.request(
                method, url, files=[("file", part) for part in parts], **request
            )


def _describe(error: httpx.TransportError, base_url: httpx.URL) -> str:
    reason = "no answer in time" if isinstance(error, httpx.TimeoutException) else str(error)
    return f"no gateway answers at {str(base_url).rstrip('/')} ({reason or type(error).__name__})"


def authorization(api_key: str | None) -> dict[str, str]:
    """Returns the header that an API key goes in; None takes TBSCREEN_API_KEY, if it is set.

    Raises:
        ValueError: it can be no key.
    """
    key = os.environ.get(API_KEY_VARIABLE, "") if api_key is None else api_key
    if not key:
        return {}
    if not re.fullmatch(r"[\x21-\x7e]+", key):
        # It is not quoted: it may be one but for a letter.
        raise ValueError("what was given as the API key holds spaces or other than ASCII letters")
    return {"Authorization": f"Bearer {key}"}
