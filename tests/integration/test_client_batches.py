from collections.abc import Iterator
from pathlib import Path

import pytest

from support.fake_bundle import publish_fake_bundle
from support.fake_worker import working_fake
from support.gateway_process import GatewayProcess, gateway_process
from support.redis_server import running_redis
from tbscreen import BatchNotFound, BatchTimeout, Client, UploadRefused
from tbscreen.polling import WHOLE_BATCH

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("batches")


@pytest.fixture(scope="module")
def redis_url(directory: Path) -> Iterator[str]:
    with running_redis(directory) as url:
        yield url


@pytest.fixture(scope="module")
def gateway(directory: Path, redis_url: str) -> Iterator[GatewayProcess]:
    publish_fake_bundle(directory / "models", directory / "staging")
    with gateway_process(redis_url, directory) as running:
        yield running


@pytest.fixture
def client(gateway: GatewayProcess) -> Iterator[Client]:
    with Client(gateway.url) as client:
        yield client


def films(count: int) -> list[bytes]:
    return [PNG + number.to_bytes(4, "big") for number in range(count)]


def test_a_folder_comes_back_by_index_and_its_names_stay_here(
    client: Client, gateway: GatewayProcess, redis_url: str, tmp_path: Path
) -> None:
    paths = [tmp_path / "Doe^Jane.png", tmp_path / "notes.txt", tmp_path / "Roe^Rita.png"]
    for path, data in zip(paths, (films(2)[0], b"a note", films(2)[1]), strict=True):
        path.write_bytes(data)
    with working_fake(redis_url):
        batch = client.submit_batch(paths)
        batch = client.wait_batch(batch.id, timeout_s=60)
    found = {paths[item.index].name: item for item in batch.items}
    assert found["Doe^Jane.png"].prediction == found["Roe^Rita.png"].prediction == "TB Positive"
    refused = found["notes.txt"]
    assert (refused.status, refused.error and refused.error.code) == (
        "refused",
        "unsupported_media_type",
    )
    assert batch.finished and batch.counts["succeeded"] == 2
    assert "Doe" not in gateway.log.read_text()
    client.delete_batch(batch.id)
    with pytest.raises(BatchNotFound):
        client.batch(batch.id)


def test_more_items_than_a_page_holds_are_all_there(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(WHOLE_BATCH, "limit", "10")
    batch = client.submit_batch(films(25))
    assert [item.index for item in batch.items] == list(range(25))
    assert [item.job_id for item in client.batch(batch.id).items] == [
        item.job_id for item in batch.items
    ]
    with pytest.raises(BatchTimeout) as caught:
        client.wait_batch(batch.id, timeout_s=0.5)
    assert caught.value.batch.counts["queued"] == 25
    client.delete_batch(batch.id)
    assert client.batch(batch.id).counts["canceled"] == 25


def test_a_batch_of_no_radiograph_is_refused(client: Client) -> None:
    with pytest.raises(UploadRefused) as caught:
        client.submit_batch([b"a note", b""])
    assert caught.value.code == "no_file_accepted"
    with pytest.raises(UploadRefused):
        client.submit_batch([])
