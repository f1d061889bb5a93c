import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from support.http_gateway import PNG, Fault, GatewayState
from support.ports import free_port
from tbscreen import (
    Client,
    GatewayBusy,
    GatewayError,
    GatewayUnreachable,
    JobFailed,
    JobNotFound,
    JobTimeout,
    UploadRefused,
)


def test_predict_returns_the_answer_for_a_path_and_for_bytes(
    client: Client, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"sick")
    assert client.predict(path).prediction == "TB Positive"
    assert client.predict(str(path)).probability == 0.9
    assert client.predict(b"well").prediction == "Normal"


def test_upload_arrives_whole_and_without_its_name(
    client: Client, gateway: GatewayState, tmp_path: Path
) -> None:
    path = tmp_path / "DOE^JANE 1961.dcm"
    content = bytes(range(256)) * 5000
    path.write_bytes(content)
    client.submit(path)
    assert gateway.uploads == [content]
    assert gateway.file_names == ["radiograph"]


def test_fields_of_a_newer_gateway_are_kept(client: Client) -> None:
    assert client.predict(b"well").model_dump()["a_field_from_the_future"] == 7


def test_predict_raises_job_failed_with_the_code(client: Client) -> None:
    with pytest.raises(JobFailed) as caught:
        client.predict(b"bad")
    assert caught.value.job.error is not None
    assert caught.value.job.error.code == "unreadable_image"


def test_missing_file_raises_os_error_and_sends_nothing(
    client: Client, gateway: GatewayState, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError):
        client.submit(tmp_path / "none.png")
    assert gateway.calls == []


@pytest.mark.parametrize("status", [429, 502, 503, 504, 507])
def test_busy_gateway_is_asked_again(client: Client, gateway: GatewayState, status: int) -> None:
    gateway.faults.extend([Fault(status), Fault(status)])
    assert client.predict(b"well").prediction == "Normal"
    assert len([call for call in gateway.calls if call.startswith("POST")]) == 3


def test_retry_after_is_honoured(client: Client, gateway: GatewayState) -> None:
    gateway.faults.append(Fault(503, {"Retry-After": "1"}))
    started = time.monotonic()
    client.submit(b"well")
    assert time.monotonic() - started >= 1


def test_retry_after_may_be_a_date(client: Client, gateway: GatewayState) -> None:
    started = time.monotonic()
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    gateway.faults.append(Fault(503, {"Retry-After": moment}))
    client.submit(b"well")
    assert time.monotonic() - started >= 0.9  # an HTTP date has whole seconds


def test_retry_after_beyond_the_patience_gives_up_at_once(gateway: GatewayState) -> None:
    body = b'{"code": "queue_full", "detail": "come back later"}'
    gateway.faults.append(Fault(503, {"Retry-After": "600"}, body))
    started = time.monotonic()
    with Client(gateway.url, retry_for_s=60) as client, pytest.raises(GatewayBusy) as caught:
        client.submit(b"well")
    assert caught.value.code == "queue_full"
    assert str(caught.value) == "come back later"
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("moment", ["before", "after"])
def test_retried_upload_makes_one_job(client: Client, gateway: GatewayState, moment: str) -> None:
    gateway.faults.extend([Fault(drop=moment), Fault(drop=moment)])
    job = client.submit(b"well")
    assert list(gateway.jobs) == [job.id]
    assert len([call for call in gateway.calls if call.startswith("POST")]) == 3


def test_same_file_sent_twice_on_purpose_makes_two_jobs(client: Client) -> None:
    assert client.submit(b"well").id != client.submit(b"well").id


def test_refusal_is_not_retried(client: Client, gateway: GatewayState) -> None:
    body = b'{"code": "unsupported_media_type", "detail": "not an image"}'
    gateway.faults.append(Fault(415, {}, body))
    with pytest.raises(UploadRefused, match="not an image") as caught:
        client.submit(b"well")
    assert (caught.value.code, caught.value.status) == ("unsupported_media_type", 415)
    assert len(gateway.calls) == 1


def test_error_without_a_problem_document_still_has_a_code(
    client: Client, gateway: GatewayState
) -> None:
    gateway.faults.append(Fault(500, {}, b"<html>oops</html>"))
    with pytest.raises(GatewayError) as caught:
        client.submit(b"well")
    assert caught.value.code == "http_500"


def test_answer_of_another_server_is_told_apart(client: Client, gateway: GatewayState) -> None:
    gateway.faults.append(Fault(200, {}, b"<html>welcome</html>"))
    with pytest.raises(GatewayError, match="does not answer like a tbscreen gateway"):
        client.health()


def test_unreachable_gateway_is_retried_then_named() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    started = time.monotonic()
    with Client(url, retry_for_s=1) as client, pytest.raises(GatewayUnreachable, match=url):
        client.submit(b"well")
    assert 0.3 < time.monotonic() - started < 15


def test_health_does_not_retry() -> None:
    started = time.monotonic()
    with (
        Client(f"http://127.0.0.1:{free_port()}", retry_for_s=30) as client,
        pytest.raises(GatewayUnreachable),
    ):
        client.health()
    assert time.monotonic() - started < 15


def test_wait_returns_as_soon_as_the_job_is_finished(client: Client, gateway: GatewayState) -> None:
    job = client.submit(b"slow")
    threading.Timer(0.3, gateway.release).start()
    started = time.monotonic()
    assert client.wait(job.id, timeout_s=20).status == "succeeded"
    assert time.monotonic() - started < 10
    assert gateway.calls[1:] == [f"GET /v1/jobs/{job.id}?wait=20"]


def test_wait_pauses_where_the_gateway_does_not_hold_the_answer(
    client: Client, gateway: GatewayState
) -> None:
    gateway.holds_long_polls = False
    gateway.retry_after = "1"
    job = client.submit(b"slow")
    with pytest.raises(JobTimeout):
        client.wait(job.id, timeout_s=1.5)
    assert len(gateway.calls) <= 4  # the upload and one poll a second


def test_wait_times_out_with_the_jobs_id(client: Client) -> None:
    job = client.submit(b"slow")
    with pytest.raises(JobTimeout) as caught:
        client.wait(job.id, timeout_s=0.2)
    assert caught.value.job.id == job.id


def test_wait_outlives_a_short_outage(client: Client, gateway: GatewayState) -> None:
    job = client.submit(b"well")
    gateway.faults.extend([Fault(drop="before"), Fault(503)])
    assert client.wait(job.id).status == "succeeded"


def test_wait_of_a_lost_gateway_ends_with_its_own_timeout(gateway: GatewayState) -> None:
    with Client(gateway.url, retry_for_s=60) as client:
        job = client.submit(b"well")
        gateway.faults.extend([Fault(503)] * 50)
        started = time.monotonic()
        with pytest.raises(GatewayBusy):
            client.wait(job.id, timeout_s=1)
        assert time.monotonic() - started < 20


def test_delete_erases_and_unknown_id_is_not_found(client: Client) -> None:
    job = client.submit(b"well")
    client.delete(job.id)
    for call in (client.delete, client.get, client.heatmap):
        with pytest.raises(JobNotFound):
            call(job.id)


def test_job_id_can_not_lead_elsewhere(client: Client, gateway: GatewayState) -> None:
    with pytest.raises(JobNotFound):
        client.get("../../health")
    assert gateway.calls == ["GET /v1/jobs/..%2F..%2Fhealth"]


def test_heatmap_is_the_image_or_says_that_there_is_none(client: Client) -> None:
    assert client.heatmap(client.submit(b"well").id).startswith(PNG)
    with pytest.raises(GatewayError) as caught:
        client.heatmap(client.submit(b"slow").id)
    assert caught.value.code == "heatmap_not_available"


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://there", "http://", "", "http://[::1"])
def test_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="address"):
        Client(url)


def test_loopback_is_reached_whatever_proxy_the_environment_names(
    gateway: GatewayState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    with Client(gateway.url, retry_for_s=0) as client:
        assert client.health().status == "ok"


def test_gateway_may_stand_under_a_path(gateway: GatewayState) -> None:
    with Client(f"{gateway.url}/tb/", retry_for_s=0) as client, pytest.raises(GatewayError):
        client.get("x")
    assert gateway.calls == ["GET /tb/v1/jobs/x"]
