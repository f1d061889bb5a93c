"""The fuzzer's way into archives: that what it is to find broken is looked at at all."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipInfo

import pytest

from fuzz.archives import OUTCOMES, archive_seeds, outcome_of_archive
from support.hostile.case import READ
from tbscreen_gateway.batches.archive import Archive
from tbscreen_gateway.batches.draft import BatchDraft


def outcomes(directory: Path) -> Counter[str]:
    found: Counter[str] = Counter()
    for number, seed in enumerate(archive_seeds()):
        path = directory / str(number)
        path.write_bytes(seed)
        found[outcome_of_archive(path)] += 1
    return found


def test_the_fuzzers_seeds_are_unpacked(tmp_path: Path) -> None:
    found = outcomes(tmp_path)
    assert found.keys() <= OUTCOMES
    assert found[READ] >= 5
    assert len(found) >= 3


def test_an_archive_whose_files_are_passed_over_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpack = Archive.unpack

    def pass_over_all_but_the_first(
        archive: Archive, index: int, entry: ZipInfo, draft: BatchDraft
    ) -> Iterator[bool]:
        return unpack(archive, index, entry, draft) if index == 0 else iter(())

    monkeypatch.setattr(Archive, "unpack", pass_over_all_but_the_first)
    assert "not every file was stored or refused" in outcomes(tmp_path)
