"""How `tbscreen serve` starts, and why it does not."""

import subprocess
import time
from contextlib import suppress
from pathlib import Path

from support.ports import free_port
from support.redis_server import running_redis
from support.serving import MODELS_DIR, TBSCREEN, run_tbscreen, running_serve
from support.waits import wait_until
from tbscreen import Client, GatewayUnreachable


def test_ready_line_names_address_and_model(tmp_path: Path) -> None:
    with running_serve(tmp_path) as serving:
        gateway = Path(f"/proc/{serving.leader('gateway')}")
        environment = (gateway / "environ").read_bytes().split(b"\0")
        assert {b"MALLOC_ARENA_MAX=1", b"MALLOC_MMAP_THRESHOLD_=131072"} <= set(environment)
    log = serving.log.read_text()
    assert "Traceback" not in log
    assert serving.process.returncode == 0
    for folder in ("", "redis", "blobs"):
        assert (serving.data_dir / folder).stat().st_mode & 0o777 == 0o700


def test_a_ready_line_that_can_not_be_written_ends_nothing(tmp_path: Path) -> None:
    with (
        Path("/dev/full").open("w") as full,
        running_serve(tmp_path, stdout=full) as serving,
        Client(serving.url) as client,
    ):

        def is_ready() -> bool:
            with suppress(GatewayUnreachable):
                return client.health().status == "ok"
            return False

        wait_until(is_ready, timeout_s=60, what="a gateway with workers")
        # The line comes in this moment.
        time.sleep(3)
        assert serving.process.poll() is None, serving.log.read_text()


def test_as_many_workers_as_asked_for(tmp_path: Path) -> None:
    with running_serve(tmp_path, "--workers", "3") as serving:
        assert len(serving.pool_of_worker()) == 3


def test_port_in_use_starts_nothing(tmp_path: Path) -> None:
    with running_serve(tmp_path) as serving:
        second = run_tbscreen(
            *("serve", "--port", serving.port, "--data-dir", tmp_path / "other"),
            *("--models-dir", MODELS_DIR),
        )
    assert second.returncode == 1
    assert second.stderr.count("\n") == 1
    assert f"port {serving.port} on 127.0.0.1 is in use" in second.stderr
    assert not (tmp_path / "other").exists()


def test_one_data_folder_serves_once(tmp_path: Path) -> None:
    with running_serve(tmp_path) as serving:
        second = run_tbscreen(
            *("serve", "--port", free_port(), "--data-dir", serving.data_dir),
            *("--models-dir", MODELS_DIR),
        )
    assert second.returncode == 1
    assert f"another `tbscreen serve` (process {serving.process.pid})" in second.stderr


def test_redis_of_the_environment_is_used_and_none_started(tmp_path: Path) -> None:
    redis_dir = tmp_path / "redis"
    redis_dir.mkdir()
    with (
        running_redis(redis_dir) as url,
        running_serve(tmp_path, environment={"REDIS_URL": url}) as serving,
    ):
        assert not [command for command in serving.pids().values() if "redis-server" in command]
        assert not (serving.data_dir / "redis").exists()
        with Client(serving.url) as client:
            # Ready is who has one worker with a model; the others follow.
            wait_until(lambda: client.health().status == "ok", what="good health")


def test_listening_beyond_this_machine_without_keys_warns(tmp_path: Path) -> None:
    opened = {"TBSCREEN_AUTH": "off"}
    with running_serve(tmp_path, "--host", "0.0.0.0", environment=opened) as serving:
        assert (
            "other machines can reach 0.0.0.0: whoever gets there can use the gateway"
            in serving.log.read_text()
        )


def test_bundle_that_no_worker_takes_is_not_called_ready(tmp_path: Path) -> None:
    version = (MODELS_DIR / "current").read_text().strip()
    bundle = tmp_path / "models" / version
    bundle.mkdir(parents=True)
    for path in (MODELS_DIR / version).iterdir():
        if path.is_file():
            (bundle / path.name).write_bytes(path.read_bytes())
    model = bundle / "model.tflite"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 0xFF
    model.write_bytes(content)
    (tmp_path / "models" / "current").write_text(version)
    log = tmp_path / "serve.log"
    with log.open("wb") as stream:
        serving = subprocess.Popen(
            [*TBSCREEN, "serve", "--port", str(free_port()), "--models-dir", "models"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=stream,
        )

    def said() -> bool:
        text = log.read_text()
        return (
            "not ready yet: A worker has no model yet." in text
            and "model.tflite is not the file the manifest describes" in text
        )

    try:
        wait_until(said, timeout_s=120, what="the reason")
    finally:
        serving.terminate()
        printed, _ = serving.communicate(timeout=60)
    assert printed == b""
