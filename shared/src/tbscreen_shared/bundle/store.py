"""The models volume: `<version>/` folders and `current`, a file that names the active one."""

import hashlib
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from tbscreen_shared.bundle.manifest import VERSION_PATTERN, Manifest
from tbscreen_shared.errors import BundleError

_CURRENT: Final = "current"
_MANIFEST: Final = "manifest.json"


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk, its manifest read and valid; the model's bytes not yet checked."""

    root: Path
    manifest: Manifest

    @property
    def model_path(self) -> Path:
        """Path of the TensorFlow Lite file."""
        return self.root / self.manifest.model_file

    @property
    def known_answer_path(self) -> Path:
        """Path of the known-answer test's input."""
        return self.root / self.manifest.known_answer.file

    @property
    def report_dir(self) -> Path:
        """Folder of the evaluation report (index.html, metrics.json, plots)."""
        return self.root / "report"

    def check_files(self) -> None:
        """Checks size and SHA-256 of the model and of the known-answer input.

        Raises:
            BundleError: a file is missing or is not the one the manifest describes.
        """
        manifest = self.manifest
        size = self.model_path.stat().st_size if self.model_path.is_file() else -1
        if size != manifest.model_bytes:
            raise BundleError(
                f"bundle {manifest.version}: model is {size} bytes, manifest says "
                f"{manifest.model_bytes}"
            )
        for path, expected in (
            (self.model_path, manifest.model_sha256),
            (self.known_answer_path, manifest.known_answer.sha256),
        ):
            if not path.is_file() or sha256_of(path) != expected:
                raise BundleError(
                    f"bundle {manifest.version}: {path.name} is not the file the manifest describes"
                )


class ModelStore:
    """Bundles under one directory. Readers see whole bundles only, whenever they look."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def active_version(self) -> str | None:
        """Returns the version that `current` names, or None before the first bundle."""
        try:
            version = (self._root / _CURRENT).read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return None
        return version or None

    def load(self, version: str) -> Bundle:
        """Reads a bundle's manifest.

        Raises:
            BundleError: no such version, or its manifest is missing or invalid.
        """
        if not re.fullmatch(VERSION_PATTERN, version):
            raise BundleError("no such model version")
        root = self._root / version
        manifest = _read_manifest(root, version)
        if manifest.version != version:
            raise BundleError(f"bundle {version}: manifest names version {manifest.version}")
        return Bundle(root, manifest)

    def load_active(self) -> Bundle:
        """Reads the active bundle's manifest.

        Raises:
            BundleError: there is none, or it is invalid.
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
        Bundle(staged, manifest).check_files()
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
        self.load(version).check_files()
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
        text = (root / _MANIFEST).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleError(f"there is no bundle {name}") from error
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        raise BundleError(
            f"bundle {name}: manifest does not fit the schema: "
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
