"""The whole corpus, by format."""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Final

from support.hostile import (
    dicom,
    dicom_codestreams,
    dicom_fragments,
    dicom_numbers,
    jpeg,
    png,
    polyglot,
    tiff,
    tiff_samples,
)
from support.hostile.case import Case

_PARTS: Final[dict[str, tuple[Callable[[], Iterator[Case]], ...]]] = {
    "png": (png.cases,),
    "jpeg": (jpeg.cases,),
    "tiff": (tiff.cases, tiff_samples.cases),
    "dicom": (dicom.cases, dicom_numbers.cases, dicom_fragments.cases, dicom_codestreams.cases),
    "polyglot": (polyglot.cases,),
}
FORMATS: Final = tuple(_PARTS)


def corpus(image_format: str) -> Iterator[Case]:
    """Yields the cases of one of `FORMATS`."""
    return chain.from_iterable(cases() for cases in _PARTS[image_format])
