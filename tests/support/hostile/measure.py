"""What reading the corpus, or the largest images, takes: `python -m support.hostile.measure`.

With `--largest`, one line for each of the largest images that are read, in the order of memory.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from support.hostile import largest
from support.hostile.case import Case
from support.hostile.corpus import FORMATS, corpus
from support.hostile.reader import Bounds, Reader, Reading
from tbscreen_shared.imaging import ImageLimits

CORPUS_BOUNDS = Bounds(max_pixels=1_000_000, memory_mib=512, processor_s=30)
_LARGEST_BOUNDS = Bounds(max_pixels=ImageLimits.max_pixels, memory_mib=4096, processor_s=60)


def read_all(cases: Iterable[Case], bounds: Bounds) -> Iterable[tuple[Case, Reading]]:
    """Makes and reads each case in turn."""
    with TemporaryDirectory() as directory, Reader(bounds) as reader:
        path = Path(directory) / "case"
        for case in cases:
            path.write_bytes(case.make())
            yield case, reader.read(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", action="store_true")
    if parser.parse_args().largest:
        readings = sorted(
            read_all(largest.cases(), _LARGEST_BOUNDS), key=lambda each: -each[1].peak_mib
        )
        for case, reading in readings:
            print(f"{reading.peak_mib:5.0f} MiB {reading.processor_s:5.2f} s  {case.name}")
            assert reading.outcome in case.allowed, reading
        return
    for image_format in FORMATS:
        readings = list(read_all(corpus(image_format), CORPUS_BOUNDS))
        wrong = [case.name for case, reading in readings if reading.outcome not in case.allowed]
        slowest = max(readings, key=lambda each: each[1].processor_s)
        dearest = max(readings, key=lambda each: each[1].peak_mib)
        print(
            f"{image_format}: {len(readings)} cases, {len(wrong)} wrong {wrong}; "
            f"{slowest[1].processor_s:.2f} s ({slowest[0].name}), "
            f"{dearest[1].peak_mib:.0f} MiB ({dearest[0].name})"
        )


if __name__ == "__main__":
    main()
