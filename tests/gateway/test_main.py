import os
import subprocess
import sys


def start(**environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if "REDIS_URL" not in name}
    return subprocess.run(
        [sys.executable, "-m", "tbscreen_gateway"],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_missing_setting_is_named() -> None:
    done = start()
    assert done.returncode == 2
    assert done.stderr == (
        "tbscreen_gateway: REDIS_URL: Value error, is missing: set it, or REDIS_URL_FILE\n"
    )


def test_a_wrong_setting_is_named_and_no_secret_shown() -> None:
    done = start(REDIS_URL="redis://:hunter2@localhost", TBSCREEN_PORT="http")
    assert done.returncode == 2
    assert "port" in done.stderr.lower()
    assert "hunter2" not in done.stderr
