import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from support.http_gateway import Fault, GatewayState
from support.ports import free_port
from tbscreen import Client, GatewayError, JobNotFound
from tbscreen.cli import app


def jobs(gateway: GatewayState, *arguments: str) -> Result:
    return CliRunner(env={"TBSCREEN_URL": gateway.url}).invoke(app, ["jobs", *arguments])


@pytest.fixture
def dead(client: Client) -> list[str]:
    """More than a page."""
    return [client.submit(b"dead").id for _ in range(5)]


@pytest.fixture
def answered(client: Client) -> str:
    return client.submit(b"sick").id


def test_the_list_is_read_to_its_end(client: Client, dead: list[str]) -> None:
    assert [job.id for job in client.dead_jobs()] == dead


def test_dead_prints_a_row_for_each_job(gateway: GatewayState, dead: list[str]) -> None:
    result = jobs(gateway, "dead")
    header, *rows = result.stdout.splitlines()
    assert result.exit_code == 0
    assert header.split()[:3] == ["ID", "STATUS", "ATTEMPTS"]
    assert [row.split()[0] for row in rows] == dead
    assert "worker_lost: it was given up" in rows[0]


def test_dead_prints_json_lines(gateway: GatewayState, dead: list[str]) -> None:
    result = jobs(gateway, "dead", "--format", "json")
    read = [json.loads(line) for line in result.stdout.splitlines()]
    assert [job["id"] for job in read] == dead
    assert read[0]["error"]["code"] == "worker_lost"


def test_an_empty_list_is_no_error(gateway: GatewayState) -> None:
    assert jobs(gateway, "dead").exit_code == 0
    assert jobs(gateway, "dead", "--format", "json").stdout == ""
    assert jobs(gateway, "retry", "--all").exit_code == 0
    assert jobs(gateway, "purge", "--all").exit_code == 0


def test_show_prints_one_job(gateway: GatewayState, answered: str) -> None:
    result = jobs(gateway, "show", answered)
    assert result.exit_code == 0
    assert "TB Positive, score 90.0" in result.stdout
    assert json.loads(jobs(gateway, "show", answered, "--format", "json").stdout)["id"] == answered
    missing = jobs(gateway, "show", "unknown")
    assert (missing.exit_code, missing.stderr) == (1, "tbscreen: the detail of job_not_found\n")


def test_retry_prints_the_new_jobs_and_the_same_ones_again(
    gateway: GatewayState, dead: list[str]
) -> None:
    for _ in range(2):
        result = jobs(gateway, "retry", dead[0], dead[1], "--format", "json")
        assert result.exit_code == 0
        read = [json.loads(line) for line in result.stdout.splitlines()]
        assert [job["retry_of"] for job in read] == dead[:2]
    assert f"retry of {dead[0]}" in jobs(gateway, "retry", dead[0]).stdout
    assert jobs(gateway, "retry", "--all").exit_code == 0
    assert jobs(gateway, "dead", "--format", "json").stdout == ""


def test_what_can_not_be_retried_does_not_keep_the_others(
    gateway: GatewayState, dead: list[str], answered: str
) -> None:
    result = jobs(gateway, "retry", answered, "unknown", dead[0], "--format", "json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["retry_of"] == dead[0]
    assert result.stderr.splitlines() == [
        f"tbscreen: {answered}: the detail of job_not_dead",
        "tbscreen: unknown: the detail of job_not_found",
    ]


def test_purge_erases_dead_jobs_and_no_others(
    gateway: GatewayState, client: Client, dead: list[str], answered: str
) -> None:
    result = jobs(gateway, "purge", dead[0], answered)
    assert result.exit_code == 1
    assert result.stdout == f"{dead[0]} erased\n"
    assert f"{answered}: it is succeeded: nobody gave it up" in result.stderr
    assert client.get(answered).result is not None
    with pytest.raises(JobNotFound):
        client.get(dead[0])
    assert jobs(gateway, "purge", "--all").stdout == "".join(f"{one} erased\n" for one in dead[1:])
    assert list(client.dead_jobs()) == []


def test_cancel_ends_what_waits_and_erases_no_answer(
    gateway: GatewayState, client: Client, answered: str
) -> None:
    waiting = client.submit(b"slow").id
    result = jobs(gateway, "cancel", answered, waiting)
    assert result.exit_code == 1
    assert result.stdout == f"{waiting} canceled\n"
    assert f"{answered}: the detail of job_finished" in result.stderr
    assert jobs(gateway, "cancel", waiting).exit_code == 0
    assert client.get(waiting).status == "canceled"
    assert client.get(answered).result is not None


@pytest.mark.parametrize(
    "arguments", ["retry", "purge", "cancel", "retry x --all", "purge x --all", "show"]
)
def test_wrong_usage_touches_nothing(gateway: GatewayState, arguments: str) -> None:
    result = jobs(gateway, *arguments.split())
    assert result.exit_code == 2
    assert gateway.calls == []


@pytest.mark.parametrize("command", ["dead", "show x", "retry x", "purge --all", "cancel x"])
def test_without_a_gateway_it_says_so(command: str) -> None:
    nowhere = GatewayState(url=f"http://127.0.0.1:{free_port()}")
    result = jobs(nowhere, *command.split())
    assert result.exit_code == 3
    assert "no gateway answers" in result.stderr


def test_an_error_of_the_gateway_is_one_line(gateway: GatewayState) -> None:
    gateway.faults.append(Fault(status=500, body=b'{"code": "internal_error", "detail": "Oh."}'))
    result = jobs(gateway, "dead")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "tbscreen: Oh.\n")


@pytest.mark.parametrize("command", ["dead", "retry job-0", "purge job-0", "cancel job-0"])
def test_a_key_that_may_not_do_it_has_a_code_of_its_own(
    gateway: GatewayState, dead: list[str], tmp_path: Path, command: str
) -> None:
    gateway.tokens = {"tbs_read": {"read"}, "tbs_all": {"read", "submit", "admin"}}
    key = tmp_path / "key"
    key.write_text("tbs_read\n")
    denied = jobs(gateway, *command.split(), "--api-key-file", str(key))
    assert denied.exit_code == 4
    key.write_text("tbs_all\n")
    allowed = jobs(gateway, *command.split(), "--api-key-file", str(key))
    # A job that was given up is finished: nothing is canceled, whatever the key may.
    assert allowed.exit_code == (1 if command.startswith("cancel") else 0)


def test_a_retry_that_is_refused_says_why(client: Client, answered: str) -> None:
    with pytest.raises(GatewayError) as caught:
        client.retry(answered)
    assert (type(caught.value), caught.value.code) == (GatewayError, "job_not_dead")
