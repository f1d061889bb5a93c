"""The sets that can be fetched: where they are, what they may be used for, how they are checked."""

from importlib.resources import files
from typing import Final

from pydantic import Field, TypeAdapter

from tbscreen_shared.contracts import Frozen

_REGISTRY: Final = "registry.json"


class DataSet(Frozen):
    """One public set.

    `sha256` is None where no one has stated the archive's checksum; `sha256_source` says who did.
    `url` is None where the publisher's way needs a browser, which `by_hand` describes.
    """

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    title: str
    homepage: str
    archive: str
    url: str | None
    bytes: int | None = Field(ge=1)
    sha256: str | None = Field(pattern=r"^[0-9a-f]{64}$")
    sha256_source: str | None
    licence: str
    citations: tuple[str, ...]
    by_hand: str | None

    def describe(self) -> str:
        """Returns what its user has to know before using it."""
        checksum = (
            f"sha256 {self.sha256} ({self.sha256_source})"
            if self.sha256
            else "none known: the first download's is recorded, later ones must equal it"
        )
        lines = [
            self.title,
            f"  from      {self.homepage}",
            f"  licence   {self.licence}",
            *(f"  cite      {citation}" for citation in self.citations),
            f"  checksum  {checksum}",
        ]
        return "\n".join(lines) + "\n"


def load_registry() -> dict[str, DataSet]:
    """Returns the sets by name."""
    text = files(__package__).joinpath(_REGISTRY).read_bytes()
    return {entry.name: entry for entry in TypeAdapter(list[DataSet]).validate_json(text)}
