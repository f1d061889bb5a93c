import os
import socket
from pathlib import Path

import pytest

from support.ports import free_port
from tbscreen.serve import ServeError
from tbscreen.serve.checks import (
    check_bundle,
    check_port,
    lock_folder,
    make_private,
)
from tbscreen.serve.readiness import local_url


def test_free_port_passes() -> None:
    check_port("127.0.0.1", free_port())


@pytest.mark.parametrize("listening_on", ["127.0.0.1", "0.0.0.0"])
def test_port_in_use_is_named_with_the_way_out(listening_on: str) -> None:
    with socket.socket() as holder:
        holder.bind((listening_on, 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(ServeError, match=f"port {port} on 127.0.0.1 is in use.*--port"):
            check_port("127.0.0.1", port)


def test_port_that_was_just_closed_is_free() -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _ = server.accept()
            accepted.close()  # the closing side keeps the port in TIME_WAIT
    check_port("127.0.0.1", port)


def test_host_of_another_machine_is_refused() -> None:
    # 192.0.2.0/24 is for documentation (RFC 5737): no machine has it.
    with pytest.raises(ServeError, match=r"192\.0\.2\.1 is not an address of this machine"):
        check_port("192.0.2.1", free_port())


def test_host_that_is_no_name_is_refused() -> None:
    with pytest.raises(ServeError, match="no such host: no host"):
        check_port("no host", 8000)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://localhost:1"),
        ("0.0.0.0", "http://localhost:1"),
        ("::", "http://localhost:1"),
        ("::1", "http://[::1]:1"),
        ("192.168.0.7", "http://192.168.0.7:1"),
        ("clinic.local", "http://clinic.local:1"),
    ],
)
def test_address_to_open_in_a_browser(host: str, url: str) -> None:
    assert local_url(host, 1) == url


def test_bundle_is_found_by_current(tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    (tmp_path / "v1" / "manifest.json").write_text("{}")
    with pytest.raises(ServeError, match=r"no model is published in .*--models-dir"):
        check_bundle(tmp_path)
    (tmp_path / "current").write_text("v1\n")
    check_bundle(tmp_path)
    (tmp_path / "current").write_text("v2\n")
    with pytest.raises(ServeError):
        check_bundle(tmp_path)


@pytest.mark.parametrize("named", [b"\xff\xfe", b"v1\0", b"v" * 300])
def test_a_damaged_name_of_the_bundle_is_no_model(tmp_path: Path, named: bytes) -> None:
    (tmp_path / "current").write_bytes(named)
    with pytest.raises(ServeError, match="no model is published"):
        check_bundle(tmp_path)


def test_missing_models_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServeError, match=str(tmp_path / "none")):
        check_bundle(tmp_path / "none")


def test_data_folder_is_private_even_if_it_was_open(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True, mode=0o755)
    assert make_private(folder).stat().st_mode & 0o777 == 0o700


def test_data_folder_that_can_not_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ServeError, match=r"can not use .* as a data folder"):
        make_private(tmp_path / "file" / "data")


def test_second_holder_of_a_folder_is_told_who_has_it(tmp_path: Path) -> None:
    lock = lock_folder(tmp_path, patience_s=5)
    with pytest.raises(ServeError, match=rf"process {os.getpid()}\) uses .*--data-dir"):
        lock_folder(tmp_path, patience_s=5)
    os.close(lock)
    os.close(lock_folder(tmp_path, patience_s=5))


def test_file_that_is_no_lock_of_a_living_process_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("999999999\n")
    os.close(lock_folder(tmp_path, patience_s=0))
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
