import pytest

from tbscreen_gateway.batches.examples import CANCELED_BATCH, FINISHED_BATCH, QUEUED_BATCH
from tbscreen_gateway.batches.views import Batch


@pytest.mark.parametrize("example", [QUEUED_BATCH, FINISHED_BATCH, CANCELED_BATCH])
def test_the_documented_batches_are_batches(example: dict[str, object]) -> None:
    batch = Batch.model_validate(example)
    assert set(batch.model_dump()) == set(example)
    assert [item.model_dump(mode="json") for item in batch.items] == example["items"]
    assert sum(batch.counts.model_dump().values()) == batch.total == len(batch.items)
