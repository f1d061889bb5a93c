"""Small valid files, drawn from the phantom: what damage is done to."""

import io
from functools import cache
from typing import Any

from PIL import Image

from support.phantom import draw_phantom


@cache
def phantom_bytes(image_format: str, side: int, **options: Any) -> bytes:
    """A phantom of side x side pixels, written by Pillow."""
    return _written(draw_phantom(1, size=(side, side)), image_format, options)


@cache
def blank_bytes(image_format: str, mode: str, side: int, **options: Any) -> bytes:
    """An even image of side x side pixels, written by Pillow."""
    return _written(Image.new(mode, (side, side)), image_format, options)


def _written(image: Image.Image, image_format: str, options: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    image.save(stream, image_format, **options)
    return stream.getvalue()
