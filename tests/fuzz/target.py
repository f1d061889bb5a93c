"""One fuzzing process: `python -m fuzz.target TARGET [libFuzzer's options]`.

Pillow, pydicom, zipfile and tbscreen's own reading are instrumented: new paths through their Python
guide the mutations. The decoders in C run as they are: what they do with an input guides nothing,
and a write beyond their memory is found only where it ends the process.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import atheris

# The fuzzer's own imports have loaded it already.
sys.modules.pop("zipfile", None)

with atheris.instrument_imports(
    include=["PIL", "pydicom", "tbscreen_shared.imaging", "zipfile", "tbscreen_gateway.batches"]
):
    # Imported to be instrumented, and for nothing else here. Pillow imports its plugins when the
    # first file is read.
    import PIL.JpegImagePlugin
    import PIL.MpoImagePlugin
    import PIL.PngImagePlugin
    import PIL.TiffImagePlugin  # noqa: F401
    import pydicom.pixels  # noqa: F401

    import tbscreen_gateway.batches.archive  # noqa: F401
    import tbscreen_shared.imaging  # noqa: F401

from fuzz.targets import TARGETS  # noqa: E402  # after what is instrumented


class WrongOutcomeError(Exception):
    """Reading ended otherwise than it may."""


def main() -> None:
    name = sys.argv.pop(1)
    target = TARGETS[name]
    # Kept in memory where /dev/shm is.
    with TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as directory:
        path = Path(directory) / "input"

        def read_input(data: bytes) -> None:
            path.write_bytes(target.to_file(data))
            outcome = target.outcome(path)
            if outcome not in target.outcomes:
                raise WrongOutcomeError(outcome)

        atheris.Setup(sys.argv, read_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
