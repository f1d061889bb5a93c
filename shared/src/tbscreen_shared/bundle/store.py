"""The models volume: `<version>/` folders and `current`, a file that names the active one.

Beside a folder, `<version>.site.json` may hold the site's own threshold for that version.
"""

import hashlib
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError

from tbscreen_shared.bundle.manifest import VERSION_PATTERN, Manifest
from tbscreen_shared.bundle.site import SiteCalibration, decide_by_site
from tbscreen_shared.errors import BundleError

_CURRENT: Final = "current"
_MANIFEST: Final = "manifest.json"
_SITE: Final = ".site.json"

SiteStamp = tuple[int, int, int]
"""Changes when a site's file is replaced."""

_Document = TypeVar("_Document", bound=BaseModel)

_MOST_BYTES: Final = 64 * 2**20
"""Of a file whose size the manifest does not say; the input check has 0.2 MB."""


@dataclass(frozen=True)
class BundleFiles:
    """What decides, as it was read and checked: whatever becomes of the files since.

    Attributes:
        model: the TensorFlow Lite file's bytes.
        input_check: the input check's; None for a bundle without one.
    """

    model: bytes
    input_check: bytes | None


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk, its manifest read and valid; the model's bytes not yet checked.

    Attributes:
        root: its folder.
        manifest: as it was published.
        site: the site's own threshold, where there is a sound one made for this very model.
        site_problem: why the site's file is not used; the published thresholds then decide.
    """

    root: Path
    manifest: Manifest
    site: SiteCalibration | None = None
    site_problem: str | None = None

    @property
    def decides_by(self) -> Manifest:
        """The manifest with the site's calibration and threshold in place, if there are any."""
        return decide_by_site(self.manifest, self.site) if self.site else self.manifest

    @property
    def model_path(self) -> Path:
        """Path of the TensorFlow Lite file."""
        return self.root / self.manifest.model_file

    @property
    def known_answer_path(self) -> Path:
        """Path of the known-answer test's input."""
        return self.root / self.manifest.known_answer.file

    @property
    def input_check_path(self) -> Path | None:
        """Path of the input check's file; None for a bundle without one."""
        described = self.manifest.input_check
        return self.root / described.file if described else None

    @property
    def report_dir(self) -> Path:
        """Folder of the evaluation report (index.html, metrics.json, plots)."""
        return self.root / "report"

    def read_files(self) -> BundleFiles:
        """Reads what a worker reads, and checks it: the model's size, and each file's SHA-256.

        Raises:
            BundleError: a file is missing or is not the one the manifest describes.
            OSError: a file can not be read.
        """
        manifest = self.manifest
        size = self.model_path.stat().st_size if self.model_path.is_file() else -1
        if size != manifest.model_bytes:
            raise BundleError(
                f"bundle {manifest.version}: model is {size} bytes, manifest says "
                f"{manifest.model_bytes}"
            )
        known, check = manifest.known_answer, manifest.input_check
        self._read(known.file, known.sha256)
        return BundleFiles(
            model=self._read(manifest.model_file, manifest.model_sha256, size),
            input_check=self._read(check.file, check.sha256) if check else None,
        )

    def _read(self, name: str, sha256: str, most_bytes: int = _MOST_BYTES) -> bytes:
        path = self.root / name
        if path.is_file():
            with path.open("rb") as stream:
                data = stream.read(most_bytes)
            if hashlib.sha256(data).hexdigest() == sha256:
                return data
        raise BundleError(
            f"bundle {self.manifest.version}: {path.name} is not the file the manifest describes"
        )


class ModelStore:
    """Bundles under one directory. Readers see whole bundles only, whenever they look."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def active_version(self) -> str | None:
        """Returns the version that `current` names, or None before the first bundle.

        Raises:
            BundleError: `current` holds something else than a version.
            OSError: it can not be read.
        """
        try:
            named = (self._root / _CURRENT).read_bytes()
        except FileNotFoundError:
            return None
        version = named.decode("utf-8", errors="replace").strip()
        if version and not re.fullmatch(VERSION_PATTERN, version):
            raise BundleError("the file that names the active model does not hold a version")
        return version or None

    def load(self, version: str) -> Bundle:
        """Reads a bundle's manifest.

        Raises:
            BundleError: no such version, or its manifest is missing or invalid.
            OSError: the manifest can not be read.
        """
        if not re.fullmatch(VERSION_PATTERN, version):
            raise BundleError("no such model version")
        root = self._root / version
        manifest = _read_manifest(root, version)
        if manifest.version != version:
            raise BundleError(f"bundle {version}: manifest names version {manifest.version}")
        try:
            return Bundle(root, manifest, site=_read_site(self.site_path(version), manifest))
        except BundleError as error:
            return Bundle(root, manifest, site_problem=error.detail)

    def site_path(self, version: str) -> Path:
        """Returns where the site's own threshold for a version is kept."""
        return self._root / f"{version}{_SITE}"

    def site_stamp(self, version: str) -> SiteStamp | None:
        """Returns what changes when the site's file for a version does; None without one."""
        try:
            found = self.site_path(version).stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def versions_with_a_site(self) -> list[str]:
        """Returns the versions for which there is a site's file, sound or not, by name."""
        return sorted(path.name.removesuffix(_SITE) for path in self._root.glob(f"[!.]*{_SITE}"))

    def load_active(self) -> Bundle:
        """Reads the active bundle's manifest.

        Raises:
            BundleError: there is none, or it is invalid.
            OSError: it can not be read.
        """
        version = self.active_version()
        if version is None:
            raise BundleError("no model has been published yet")
        return self.load(version)

    def versions(self) -> list[str]:
        """Returns the versions whose manifest can be read, sorted by name."""
        if not self._root.is_dir():
            return []
        return sorted(path.parent.name for path in self._root.glob(f"[!.]*/{_MANIFEST}"))

    def publish(self, staged: Path, *, activate: bool = True) -> Bundle:
        """Moves a staged bundle folder onto the volume and makes it the active one.

        The folder is copied beside its final name and renamed; `current` is replaced by a rename
        as well: a reader sees the old bundle or the new one, never half of one.

        Args:
            staged: folder with manifest.json, the model, the known-answer input and report/.
            activate: whether `current` shall name it.

        Raises:
            BundleError: the staged bundle is invalid, or its version exists already with another
                model.
        """
        manifest = _read_manifest(staged, staged.name)
        Bundle(staged, manifest).read_files()
        self._root.mkdir(parents=True, exist_ok=True)
        final = self._root / manifest.version
        if final.exists():
            if self.load(manifest.version).manifest != manifest:
                raise BundleError(f"another bundle is published as {manifest.version}")
        else:
            partial = Path(tempfile.mkdtemp(prefix=".publishing-", dir=self._root))
            try:
                shutil.copytree(staged, partial, dirs_exist_ok=True)
                partial.chmod(0o755)
                _sync_tree(partial)
                partial.rename(final)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
        if activate:
            self.activate(manifest.version)
        return Bundle(final, manifest)

    def activate(self, version: str) -> None:
        """Makes a published version the active one.

        Raises:
            BundleError: there is no such valid bundle.
        """
        self.load(version).read_files()
        handle, name = tempfile.mkstemp(prefix=".current-", dir=self._root)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(version + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        partial = Path(name)
        partial.chmod(0o644)
        partial.replace(self._root / _CURRENT)


def _read_manifest(root: Path, name: str) -> Manifest:
    try:
        return _read(Manifest, root / _MANIFEST, f"bundle {name}: manifest")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleError(f"there is no bundle {name}") from error


def _read_site(path: Path, manifest: Manifest) -> SiteCalibration | None:
    try:
        site = _read(SiteCalibration, path, f"the site's threshold in {path.name}")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BundleError(f"{path.name} can not be read: {error.strerror}") from error
    if (site.version, site.model_sha256) != (manifest.version, manifest.model_sha256):
        raise BundleError(
            f"the site's threshold in {path.name} was made for model {site.version} "
            f"({site.model_sha256[:8]}), not for {manifest.version} ({manifest.model_sha256[:8]})"
        )
    return site


def _read(kind: type[_Document], path: Path, name: str) -> _Document:
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise BundleError(
            f"{name} does not fit the schema: "
            f"{error.error_count()} errors, first: {error.errors()[0]['msg']}"
        ) from error


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync_tree(root: Path) -> None:
    for path in root.rglob("*"):
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
