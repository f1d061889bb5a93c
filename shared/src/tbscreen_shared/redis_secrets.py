"""Makes the passwords of Redis' users, or new ones: `python -m tbscreen_shared.redis_secrets DIR`.

Each service gets a folder of its own, and in it only what it needs:

    DIR/redis/users.acl      who may do what, with hashes of the passwords
    DIR/redis/admin, probe   passwords for the operator and for the health check
    DIR/gateway/redis-url    the address with the gateway's name and password
    DIR/worker/redis-url     the same for the workers

What is there already is kept; the rules are written anew, so that an upgrade may change them.
"""

import argparse
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, RedisError
from redis.retry import Retry

from tbscreen_shared.redis_users import RedisUser, acl_file

_PASSWORD_BYTES: Final = 32
_RELOAD_TIMEOUT_S: Final = 3.0

_SERVICES: Final = (RedisUser.GATEWAY, RedisUser.WORKER)
_BESIDE_REDIS: Final = (RedisUser.ADMIN, RedisUser.PROBE)

Passwords = Mapping[RedisUser, str]


def new_passwords() -> Passwords:
    """Returns a random password for each user."""
    return {user: secrets.token_urlsafe(_PASSWORD_BYTES) for user in RedisUser}


def read_passwords(directory: Path) -> Passwords | None:
    """Returns the passwords that `write_secrets` left, or None where one is missing.

    Raises:
        OSError: a file is there and can not be read.
    """
    found: dict[RedisUser, str] = {}
    try:
        for user in _BESIDE_REDIS:
            found[user] = (directory / "redis" / user).read_text().strip()
        for user in _SERVICES:
            url = (directory / user / "redis-url").read_text().strip()
            found[user] = unquote(urlsplit(url).password or "")
    except FileNotFoundError:
        return None
    return found if all(found.values()) else None


def write_secrets(directory: Path, passwords: Passwords, *, address: str) -> bool:
    """Writes every file that is not as it should be; returns whether the rules or hashes changed.

    Redis' own files are for its group as well: its container runs as another user.

    Args:
        directory: has, or gets, a folder for each service.
        passwords: one for each user.
        address: host:port under which the services reach Redis.

    Raises:
        OSError: a file can not be written.
    """
    # One by one: `parents` would make them readable by all.
    for folder in (directory, *(directory / name for name in ("redis", *_SERVICES))):
        folder.mkdir(mode=0o700, exist_ok=True)
    for user in _SERVICES:
        url = f"redis://{user}:{passwords[user]}@{address}/0"
        _write(directory / user / "redis-url", url + "\n", mode=0o400)
    for user in _BESIDE_REDIS:
        _write(directory / "redis" / user, passwords[user] + "\n", mode=0o440)
    return _write(directory / "redis" / "users.acl", acl_file(passwords), mode=0o440)


def _write(path: Path, text: str, *, mode: int) -> bool:
    """Replaces a file unless it says `text` already; returns whether it did not."""
    if path.exists() and path.read_text() == text:
        return False
    staged = path.with_name(f".{path.name}")
    staged.unlink(missing_ok=True)
    with os.fdopen(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)
        os.fchmod(stream.fileno(), mode)
        stream.flush()
        os.fsync(stream.fileno())
    staged.replace(path)
    return True


def reload_users(address: str, admin_password: str) -> str:
    """Has a Redis that runs read its users again; returns a line that says what became of it.

    Args:
        address: host:port.
        admin_password: the one that this Redis knows.
    """
    host, _, port = address.rpartition(":")
    admin = Redis(
        host=host,
        port=int(port),
        username=RedisUser.ADMIN,
        password=admin_password,
        socket_timeout=_RELOAD_TIMEOUT_S,
        socket_connect_timeout=_RELOAD_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        with admin:
            admin.acl_load()
    except RedisError as error:
        # Not its subclasses: a wrong password is one.
        if type(error) is ConnectionError:
            return "Redis does not run yet; it reads its users when it starts"
        return f"Redis goes on with its former users ({type(error).__name__}): restart it"
    return "Redis has read its users again"


def main(arguments: Sequence[str] | None = None) -> int:
    """Makes what is missing; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tbscreen_shared.redis_secrets", description=__doc__
    )
    parser.add_argument("directory", type=Path, help="where the services' folders are")
    parser.add_argument("--address", default="redis:6379", help="Redis' host:port")
    parser.add_argument("--rotate", action="store_true", help="make new passwords")
    parser.add_argument("--reload", action="store_true", help="tell a Redis that runs")
    options = parser.parse_args(arguments)
    try:
        former = read_passwords(options.directory)
        passwords = new_passwords() if options.rotate or former is None else former
        changed = write_secrets(options.directory, passwords, address=options.address)
    except OSError as error:
        sys.stderr.write(f"redis_secrets: {error.filename}: {error.strerror}\n")
        return 1
    if former is not passwords:
        sys.stdout.write("Redis' users have new passwords\n")
    if changed and options.reload:
        known = former or passwords
        sys.stdout.write(reload_users(options.address, known[RedisUser.ADMIN]) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
