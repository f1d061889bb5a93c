"""Gathers some 2,400 pictures that are no chest radiographs, for `fit-check --not-radiographs`.

    python training/scripts/gather_pictures.py FOLDER

From Debian packages (photographs, screenshots, figures, maps, clip art, slices of heads) and from
what the training's own libraries carry. Needs apt-get and dpkg, and half a gigabyte for a while.
Writes FOLDER/<origin>/<number>.png, grey, at most 768 pixels a side, and FOLDER/listing.csv, which
says of each where it is from; the licences are those of the packages.
"""

import csv
import gzip
import random
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import matplotlib
import numpy as np
import pydicom
import sklearn
from PIL import Image, ImageStat

from tbscreen_shared.errors import ImageError
from tbscreen_shared.imaging import ImageLimits, read_radiograph

MOST_OF_AN_ORIGIN: Final = 260
MOST_PX: Final = 768
LEAST_PX: Final = 96
LEAST_SPREAD: Final = 4.0
SEED: Final = 4


class Origin(NamedTuple):
    """Pictures of one kind in one package: their suffixes, and how many cuts to make of each."""

    package: str
    suffixes: tuple[str, ...]
    cuts: int = 1


class Picture(NamedTuple):
    """A picture and what the listing says of it."""

    image: Image.Image
    package: str
    file: str
    cut: int


ORIGINS: Final = {
    "photos-gnome": Origin("gnome-backgrounds", (".webp",), 6),
    "photos-mate": Origin("mate-backgrounds", (".jpg",), 6),
    "art-mate": Origin("mate-backgrounds", (".png",), 3),
    "photos-budgie": Origin("budgie-backgrounds", (".jpg",), 6),
    "photos-plasma": Origin("plasma-workspace-wallpapers", (".jpg", ".png"), 4),
    "art-lxqt": Origin("lxqt-themes", (".jpg", ".png"), 2),
    "screens-gimp": Origin("gimp-help-en", (".png",)),
    "photos-gimp": Origin("gimp-help-en", (".jpg",)),
    "screens-gnome": Origin("gnome-user-docs", (".png",)),
    "photos-opencv": Origin("opencv-doc", (".jpg", ".jpeg", ".JPG")),
    "figures-opencv": Origin("opencv-doc", (".png",)),
    "stamps-tuxpaint": Origin("tuxpaint-stamps-default", (".png",)),
    "maps-marble": Origin("marble-data", (".png",)),
    "art-inkscape": Origin("inkscape-tutorials", (".png", ".jpg"), 2),
}
SLICES: Final = "mricron-data"


def main() -> None:
    """Gathers everything into the folder that the command line names."""
    folder = Path(sys.argv[1])
    packages = folder.parent / f"{folder.name}-packages"
    rng = random.Random(SEED)
    rows = []
    for origin, (package, suffixes, cuts) in ORIGINS.items():
        files = sorted(p for p in unpacked(package, packages) if p.suffix in suffixes)
        rng.shuffle(files)
        rows += save(pictures(files, package, cuts, rng), folder / origin)
    rows += save(slices(unpacked(SLICES, packages)), folder / "slices-mricron")
    libraries = {
        "photos-sklearn": Path(sklearn.__file__).parent / "datasets" / "images",
        "photos-matplotlib": Path(matplotlib.__file__).parent / "mpl-data" / "sample_data",
    }
    for origin, root in libraries.items():
        files = sorted(p for p in root.iterdir() if p.suffix in (".jpg", ".png"))
        rows += save(pictures(files, origin, 12, rng), folder / origin)
    tests = Path(pydicom.__file__).parent / "data" / "test_files"
    rows += save(dicoms(sorted(tests.rglob("*.dcm"))), folder / "dicom-pydicom")
    with (folder / "listing.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("file", "package", "from", "cut"))
        writer.writerows(rows)


def unpacked(package: str, root: Path) -> list[Path]:
    """Returns the files of a Debian package, downloaded if need be."""
    target = root / package
    if not target.is_dir():
        root.mkdir(parents=True, exist_ok=True)
        if not list(root.glob(f"{package}_*.deb")):
            subprocess.run(["apt-get", "download", "-q", package], cwd=root, check=True)
        (archive,) = root.glob(f"{package}_*.deb")
        subprocess.run(["dpkg", "-x", archive, target], check=True)
    return sorted(p for p in target.rglob("*") if p.is_file() and not p.is_symlink())


def pictures(files: list[Path], package: str, cuts: int, rng: random.Random) -> Iterator[Picture]:
    """Yields each picture whole and cut; what is tiny or all of one grey is left out."""
    for path in files:
        try:
            with Image.open(path) as opened:
                opened.load()
                image = opened.convert("RGBA")
        except (OSError, SyntaxError, Image.DecompressionBombError):
            continue
        whole = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image).convert("L")
        if min(whole.size) < LEAST_PX or ImageStat.Stat(whole).stddev[0] < LEAST_SPREAD:
            continue
        yield Picture(whole, package, path.name, 0)
        for cut in range(1, cuts):
            width, height = (round(side * rng.uniform(0.3, 0.8)) for side in whole.size)
            left = rng.randint(0, whole.width - width)
            top = rng.randint(0, whole.height - height)
            part = whole.crop((left, top, left + width, top + height))
            yield Picture(part, package, path.name, cut)


def slices(files: list[Path]) -> Iterator[Picture]:
    """Yields slices along each axis of the NIfTI volumes (heads by MR and CT, atlases)."""
    for path in (p for p in files if p.name.endswith(".nii.gz")):
        volume = read_nifti(path)
        for axis in range(3):
            for share in (0.25, 0.375, 0.5, 0.625, 0.75):
                plane = np.take(volume, int(volume.shape[axis] * share), axis)[::-1]
                low, high = np.percentile(plane, (0.1, 99.9))
                if high > low:
                    levels = np.clip((plane - low) / (high - low), 0, 1) * 255
                    image = Image.fromarray(levels.astype(np.uint8))
                    enlarged = image.resize((3 * image.width, 3 * image.height))
                    yield Picture(enlarged, SLICES, f"{path.name} {axis} {share}", 0)


def read_nifti(path: Path) -> np.ndarray:
    """Reads the first volume of a NIfTI-1 file (nifti.nimh.nih.gov, header of 348 bytes)."""
    raw = gzip.decompress(path.read_bytes())
    order = "<" if struct.unpack("<i", raw[:4])[0] == 348 else ">"
    shape = struct.unpack(f"{order}8h", raw[40:56])[1:4]
    (code,) = struct.unpack(f"{order}h", raw[70:72])
    (offset,) = struct.unpack(f"{order}f", raw[108:112])
    kind = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 256: "i1", 512: "u2"}[code]
    values = np.frombuffer(raw, order + kind, count=int(np.prod(shape)), offset=int(offset))
    return values.reshape(shape[::-1]).astype(float)


def dicoms(files: list[Path]) -> Iterator[Picture]:
    """Yields what of pydicom's test files shows a picture, twice its size."""
    for path in files:
        try:
            pixels = read_radiograph(path, limits=ImageLimits(min_side_px=32)).pixels
        except ImageError:
            continue
        image = Image.fromarray(pixels)
        yield Picture(image.resize((2 * image.width, 2 * image.height)), "pydicom", path.name, 0)


def save(found: Iterator[Picture], folder: Path) -> list[tuple[str, str, str, int]]:
    """Writes the first of an origin's pictures and returns their rows of the listing."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, picture in zip(range(MOST_OF_AN_ORIGIN), found, strict=False):
        image = picture.image
        image.thumbnail((MOST_PX, MOST_PX))
        path = folder / f"{number:04d}.png"
        image.save(path)
        rows.append((f"{folder.name}/{path.name}", picture.package, picture.file, picture.cut))
    return rows


if __name__ == "__main__":
    main()
