"""How large an image may be, by its header and by the memory that decoding it takes."""

from dataclasses import dataclass

from tbscreen_shared.errors import ErrorCode, ImageError


@dataclass(frozen=True)
class ImageLimits:
    """Bounds of an image that is worth decoding.

    Attributes:
        max_pixels: width x height x frames. The largest detectors in use give 4300 x 4300, 18.5
            million; the default leaves room for scanned film. Reading 8000 x 8000 pixels was
            measured to take up to 921 MiB of memory, at its most for JPEG 2000 in colour.
        min_side_px: below this there is nothing to read.
        max_memory_bytes: that decoding may take beyond what the process holds; None for no bound.
    """

    max_pixels: int = 64_000_000
    min_side_px: int = 32
    max_memory_bytes: int | None = None

    def check(self, width: int, height: int, *, frames: int = 1) -> None:
        """Checks declared dimensions, in pixels.

        Raises:
            ImageError: `image_too_large` or `unreadable_image`.
        """
        if min(width, height) < self.min_side_px:
            raise ImageError(
                ErrorCode.UNREADABLE_IMAGE,
                f"the image is smaller than {self.min_side_px} pixels on a side",
            )
        if frames < 1:
            raise ImageError(ErrorCode.UNREADABLE_IMAGE, "the image has no frames")
        if width * height * frames > self.max_pixels:
            raise ImageError(
                ErrorCode.IMAGE_TOO_LARGE,
                f"the image has more than {self.max_pixels} pixels",
            )
