"""Connections that leave a Redis which has become a replica.

After a fail-over the former master may live on: it answers PING, so nobody would connect anew, and
refuses each write for ever.
"""

from typing import Any

from redis import Connection, SSLConnection
from redis.exceptions import ConnectionError, ResponseError


def _check_is_master(error: ResponseError) -> None:
    # Redis 6.2 wraps an error within a script in one of another type.
    if "READONLY" in str(error):
        raise ConnectionError("this Redis has become a replica") from error


class MasterConnection(Connection):
    """A connection that counts as broken when Redis says that it may not be written to."""

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """Reads a reply.

        Raises:
            ConnectionError: Redis is a replica, too: whoever repeats the call connects anew.
        """
        try:
            return super().read_response(*args, **kwargs)
        except ResponseError as error:
            _check_is_master(error)
            raise


class MasterSSLConnection(SSLConnection):
    """The same over TLS."""

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """See `MasterConnection`."""
        try:
            return super().read_response(*args, **kwargs)
        except ResponseError as error:
            _check_is_master(error)
            raise
