"""The rights of Redis' users, as a real Redis enforces them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError

from support.redis_server import RedisServer, as_user, redis_server_binary
from tbscreen_shared.jobs import keys
from tbscreen_shared.redis_users import RedisUser, acl_file

SERVICES = (RedisUser.GATEWAY, RedisUser.WORKER)

FORBIDDEN = [
    "ACL LIST",
    "CLIENT LIST",
    "CONFIG GET *",
    "DBSIZE",
    "DEBUG SLEEP 0",
    "FLUSHALL",
    "FLUSHDB",
    "KEYS *",
    "MIGRATE host 1 tbscreen:job:1 0 1",
    "MODULE LIST",
    "MONITOR",
    "PUBSUB CHANNELS",
    "RANDOMKEY",
    "REPLICAOF NO ONE",
    "RESTORE tbscreen:job:1 0 payload",
    "SAVE",
    "SCAN 0",
    "SCRIPT FLUSH",
    "SHUTDOWN NOSAVE",
    "SLOWLOG GET",
    "SWAPDB 0 1",
    "GET elsewhere",
    "SET tbscreenx 1",
    "PUBLISH elsewhere message",
]


@contextmanager
def connected(url: str) -> Iterator[Redis]:
    with Redis.from_url(url, decode_responses=True) as client:
        yield client


def every_redis_server() -> list[str]:
    found = {redis_server_binary()}
    found |= {str(Path(folder) / "redis-server") for folder in ("/usr/bin", "/usr/local/bin")}
    return sorted(path for path in found if Path(path).is_file())


@pytest.fixture(scope="module", params=every_redis_server())
def server_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    # Not `running_redis`, which holds each denial against its user: here they are meant.
    server = RedisServer(tmp_path_factory.mktemp("redis"), binary=request.param)
    server.start()
    yield server.url
    server.kill()


@pytest.mark.parametrize("user", SERVICES)
@pytest.mark.parametrize("command", FORBIDDEN)
def test_a_service_may_not(server_url: str, user: RedisUser, command: str) -> None:
    # Redis 7 allows nobody DEBUG, unless it is told otherwise, and says so first.
    refusals = "no permissions|DEBUG command not allowed"
    with (
        connected(as_user(server_url, user)) as client,
        pytest.raises(ResponseError, match=refusals),
    ):
        client.execute_command(*command.split(" "))


@pytest.mark.parametrize("user", SERVICES)
@pytest.mark.parametrize("call", ["'FLUSHALL'", "'GET', 'elsewhere'", "'PUBLISH', 'elsewhere', ''"])
def test_a_script_may_do_no_more_than_its_caller(
    server_url: str, user: RedisUser, call: str
) -> None:
    with (
        connected(as_user(server_url, user)) as client,
        pytest.raises(ResponseError, match="The user executing the script can't"),
    ):
        client.eval(f"return redis.call({call})", 0)


@pytest.mark.parametrize("user", SERVICES)
def test_a_service_may_use_its_keys_in_a_script_and_announce(
    server_url: str, user: RedisUser
) -> None:
    script = "redis.call('PUBLISH', ARGV[1], 'x') return redis.call('HSET', KEYS[1], 'a', 1)"
    with connected(as_user(server_url, user)) as client:
        client.register_script(script)(keys=[f"tbscreen:job:{user}"], args=["tbscreen:done:1"])
        client.xadd(keys.AUDIT, {"a": "1"})
        assert client.hget(f"tbscreen:job:{user}", "a") == "1"


OF_THE_GATEWAY_ALONE = [
    "GET tbscreen:session:0",
    "SET tbscreen:session:0 {}",
    "SET tbscreen:rate:uploads:key 0",
    "GET tbscreen:idempotency:0",
    "SET tbscreen:idempotency:0 job",
    "SET tbscreen:resent:job 1",
    "HSET tbscreen:audit:head seq 1 sha256 0",
    "GET tbscreen:audit:writer",
    "SET tbscreen:audit:model model",
    "HSET tbscreen:audit:keys 0 0",
    "SET tbscreen:anything-new 1",
    "XDEL tbscreen:audit 1-0",
    "XTRIM tbscreen:audit MAXLEN 0",
    "XSETID tbscreen:audit 9999999999999-0",
    "XRANGE tbscreen:audit - +",
]


@pytest.mark.parametrize("command", OF_THE_GATEWAY_ALONE)
def test_a_worker_reaches_nothing_of_the_gateways(server_url: str, command: str) -> None:
    words = command.split(" ")
    call = ", ".join(f"'{word}'" for word in words)
    with connected(as_user(server_url, RedisUser.GATEWAY)) as client:
        client.xadd(keys.AUDIT, {"a": "1"})
        client.execute_command(*words)
    with connected(as_user(server_url, RedisUser.WORKER)) as client:
        with pytest.raises(NoPermissionError):
            client.execute_command(*words)
        # A script's keys that were not declared are checked as well.
        with pytest.raises(ResponseError, match="The user executing the script can't"):
            client.eval(f"return redis.call({call})", 0)


def test_only_the_gateway_listens(server_url: str) -> None:
    with connected(as_user(server_url, RedisUser.GATEWAY)) as client:
        subscription = client.pubsub()
        subscription.psubscribe("tbscreen:done:*")
        assert subscription.get_message(timeout=5)["type"] == "psubscribe"
        subscription.close()
        with pytest.raises(NoPermissionError):
            client.execute_command("PSUBSCRIBE", "*")
    with (
        connected(as_user(server_url, RedisUser.WORKER)) as client,
        pytest.raises(NoPermissionError),
    ):
        client.execute_command("PSUBSCRIBE", "tbscreen:done:*")


def test_only_the_gateway_may_ask_how_full_redis_is(server_url: str) -> None:
    with connected(as_user(server_url, RedisUser.GATEWAY)) as client:
        assert client.info("memory")["maxmemory"] == 0
    with (
        connected(as_user(server_url, RedisUser.WORKER)) as client,
        pytest.raises(NoPermissionError),
    ):
        client.info("memory")


def test_the_probe_may_ask_for_life_alone(server_url: str) -> None:
    with connected(as_user(server_url, RedisUser.PROBE)) as client:
        assert client.ping()
        with pytest.raises(NoPermissionError):
            client.get("tbscreen:job:1")


def test_nobody_comes_in_without_a_name(server_url: str) -> None:
    host = server_url.rpartition("@")[2]
    with connected(f"redis://{host}") as client, pytest.raises(AuthenticationError):
        client.ping()
    with connected(f"redis://:admin-password@{host}") as client, pytest.raises(AuthenticationError):
        client.ping()


@pytest.mark.parametrize("binary", every_redis_server())
def test_what_scripts_and_transactions_wrote_outlives_a_restart(
    binary: str, tmp_path: Path
) -> None:
    server = RedisServer(tmp_path, binary=binary)
    server.start()
    with connected(as_user(server.url, RedisUser.GATEWAY)) as client:
        script = "for _, key in ipairs(KEYS) do redis.call('SET', key, 'script') end"
        client.register_script(script)(keys=["tbscreen:a", "tbscreen:b"])
        with client.pipeline(transaction=True) as transaction:
            transaction.set("tbscreen:c", "transaction")
            transaction.lpush("tbscreen", "task")
            transaction.execute()
    server.kill()
    server.start()
    with connected(server.url) as admin:
        found = admin.keys("*")
    server.kill()
    assert sorted(found) == ["tbscreen", "tbscreen:a", "tbscreen:b", "tbscreen:c"]


def test_the_file_holds_no_password() -> None:
    passwords = {user: f"the-password-of-{user}" for user in RedisUser}
    text = acl_file(passwords)
    assert not any(password in text for password in passwords.values())
    with pytest.raises(KeyError):
        acl_file({RedisUser.ADMIN: "alone"})
