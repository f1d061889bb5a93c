import pytest

from tbscreen_gateway.examples import CANCELED_JOB, DEAD_JOB, FAILED_JOB, QUEUED_JOB, SUCCEEDED_JOB
from tbscreen_shared.contracts import Job


@pytest.mark.parametrize("example", [QUEUED_JOB, SUCCEEDED_JOB, FAILED_JOB, DEAD_JOB, CANCELED_JOB])
def test_the_documented_jobs_are_jobs(example: dict[str, object]) -> None:
    assert set(Job.model_validate(example).model_dump()) == set(example)
