"""Marks the callback URLs that a gateway has accepted, each for its own job.

Between acceptance and sending a URL lies in Redis, where workers write as well: one that was taken
over must not choose where the gateway connects.
"""

import hashlib
import hmac
from collections.abc import Iterable
from typing import Final

_LABEL: Final = b"tbscreen callback url"
"""Parts the key from that of the signatures: a signed body can not pass for a seal."""


class CallbackSeals:
    """Makes and checks them.

    Args:
        keys: those that callbacks are signed with; a seal by any of them holds, so that one can be
            replaced.
    """

    def __init__(self, keys: Iterable[bytes]) -> None:
        self._keys = tuple(hmac.digest(key, _LABEL, hashlib.sha256) for key in keys)

    def seal(self, job_id: str, url: str) -> str:
        """Returns what stands beside a job's URL; empty where there is no URL, or no key."""
        return " ".join(_made(key, job_id, url) for key in self._keys) if url else ""

    def hold(self, seal: str, job_id: str, url: str) -> bool:
        """Tells whether a gateway accepted this very URL for this very job."""
        made = [_made(key, job_id, url).encode() for key in self._keys]
        found = [one.encode() for one in seal.split(" ")]
        return any(hmac.compare_digest(one, other) for one in made for other in found)


def _made(key: bytes, job_id: str, url: str) -> str:
    return hmac.digest(key, f"{job_id} {url}".encode(), hashlib.sha256).hex()
