import sys

import pytest


def watch_interning(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Returns a list that gets each string that Python code interns from now on."""
    interned: list[str] = []
    intern = sys.intern

    def watch(name: str) -> str:
        interned.append(name)
        return intern(name)

    monkeypatch.setattr(sys, "intern", watch)
    return interned
