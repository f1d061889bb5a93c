"""The program that makes Redis' passwords."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError

from support.ports import free_port
from support.redis_server import PASSWORDS, RedisServer
from tbscreen_shared.redis_secrets import main, reload_users, write_secrets
from tbscreen_shared.redis_users import RedisUser

EVERY_FILE = {
    "redis/users.acl": 0o440,
    "redis/admin": 0o440,
    "redis/probe": 0o440,
    "gateway/redis-url": 0o400,
    "worker/redis-url": 0o400,
}


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    return tmp_path / "secrets"


@pytest.fixture
def server(secrets: Path) -> Iterator[RedisServer]:
    """A Redis that reads its users where the program writes them."""
    (secrets / "redis").mkdir(parents=True)
    server = RedisServer(secrets / "redis")
    server.start()
    write_secrets(secrets, PASSWORDS, address=f"127.0.0.1:{server.port}")
    yield server
    server.kill()


def texts(directory: Path) -> dict[str, str]:
    return {name: (directory / name).read_text() for name in EVERY_FILE}


def ping(url: str) -> None:
    with Redis.from_url(url.strip()) as client:
        client.ping()


def test_each_service_gets_its_own_and_nobody_else_may_read_it(secrets: Path) -> None:
    assert main([str(secrets)]) == 0
    found = {
        str(path.relative_to(secrets)): path.stat().st_mode & 0o777
        for path in secrets.rglob("*")
        if path.is_file()
    }
    assert found == EVERY_FILE
    assert texts(secrets)["gateway/redis-url"].startswith("redis://gateway:")
    assert len({*texts(secrets).values()}) == len(EVERY_FILE)


def test_what_is_there_is_kept(secrets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(secrets)])
    before = texts(secrets)
    capsys.readouterr()
    assert main([str(secrets), "--reload"]) == 0
    assert texts(secrets) == before
    assert capsys.readouterr().out == ""


def test_one_that_is_missing_makes_all_anew(secrets: Path) -> None:
    main([str(secrets)])
    before = texts(secrets)
    (secrets / "worker" / "redis-url").unlink()
    assert main([str(secrets)]) == 0
    after = texts(secrets)
    assert not any(before[name] == after[name] for name in EVERY_FILE)


def test_old_rules_are_replaced_and_passwords_kept(secrets: Path) -> None:
    main([str(secrets)])
    before = texts(secrets)
    rules = secrets / "redis" / "users.acl"
    rules.chmod(0o600)
    rules.write_text(before["redis/users.acl"].replace(" +publish", ""))
    assert main([str(secrets)]) == 0
    assert texts(secrets) == before


def test_an_upgrade_narrows_the_rights_of_a_redis_that_runs_and_keeps_its_passwords(
    server: RedisServer, secrets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = texts(secrets)
    rules = secrets / "redis" / "users.acl"
    of_the_worker = re.compile(r"^(user worker .*?) ~tbscreen:job:\* .*$", re.MULTILINE)
    former, found = of_the_worker.subn(
        r"\1 ~tbscreen:* resetchannels &tbscreen:done:* -@all +@string", before["redis/users.acl"]
    )
    assert found == 1
    rules.chmod(0o600)
    rules.write_text(former)
    address = f"127.0.0.1:{server.port}"
    reload_users(address, PASSWORDS[RedisUser.ADMIN])
    with Redis.from_url(before["worker/redis-url"].strip()) as worker:
        worker.set("tbscreen:session:0", "{}")
        assert main([str(secrets), "--address", address, "--reload"]) == 0
        assert "read its users again" in capsys.readouterr().out
        with pytest.raises(NoPermissionError):
            worker.set("tbscreen:session:0", "{}")
        worker.set("tbscreen:lease:job", "worker")
    assert texts(secrets) == before


def test_rotation_reaches_a_redis_that_runs(
    server: RedisServer, secrets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = texts(secrets)
    ping(before["gateway/redis-url"])
    address = f"127.0.0.1:{server.port}"
    assert main([str(secrets), "--address", address, "--rotate", "--reload"]) == 0
    said = capsys.readouterr().out
    assert "new passwords" in said and "read its users again" in said
    for service in (RedisUser.GATEWAY, RedisUser.WORKER):
        ping(texts(secrets)[f"{service}/redis-url"])
        with pytest.raises(AuthenticationError):
            ping(before[f"{service}/redis-url"])


def test_a_redis_that_does_not_run_or_does_not_know_the_admin_is_told_of(
    server: RedisServer, secrets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = f"127.0.0.1:{free_port()}"
    assert main([str(secrets), "--address", elsewhere, "--rotate", "--reload"]) == 0
    assert "does not run yet" in capsys.readouterr().out
    address = f"127.0.0.1:{server.port}"
    assert main([str(tmp_path / "others"), "--address", address, "--reload"]) == 0
    assert "restart it" in capsys.readouterr().out


def test_no_password_is_said(secrets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(secrets), "--reload", "--address", f"127.0.0.1:{free_port()}"])
    said = "".join(capsys.readouterr())
    assert (secrets / "redis" / "admin").read_text().strip() not in said


def test_a_folder_that_can_not_be_written_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main([str(tmp_path / "file")]) == 1
    assert str(tmp_path / "file") in capsys.readouterr().err
