"""Whatever a file is, reading it ends soon, in a radiograph or in an error with a code."""

import pytest

from support.hostile.corpus import FORMATS, corpus
from support.hostile.measure import CORPUS_BOUNDS, read_all

# The dearest case takes 2 s and 86 MiB; the file itself is up to 42 MiB of that. Machines differ.
MOST_PROCESSOR_S = 12
MOST_MEMORY_MIB = 128


@pytest.mark.timeout(900)
@pytest.mark.parametrize("image_format", FORMATS)
def test_every_hostile_file_is_read_or_refused_within_bounds(image_format: str) -> None:
    readings = list(read_all(corpus(image_format), CORPUS_BOUNDS))

    assert len({case.name for case, _ in readings}) == len(readings) > 30
    wrong = {
        case.name: reading for case, reading in readings if reading.outcome not in case.allowed
    }
    assert not wrong
    dear = {
        case.name: reading
        for case, reading in readings
        if reading.processor_s > MOST_PROCESSOR_S or reading.peak_mib > MOST_MEMORY_MIB
    }
    assert not dear
    if image_format != "polyglot":
        assert any(reading.outcome == "read" for _, reading in readings)
