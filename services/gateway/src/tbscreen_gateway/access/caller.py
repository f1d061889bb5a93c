"""Who sends a request."""

from dataclasses import dataclass

from tbscreen_shared.access import ApiKey, Scope


@dataclass(frozen=True)
class Caller:
    """Whose request it is.

    Attributes:
        key_id: the key it came with, directly or by a session; None where no keys are needed.
        name: whose key that is, for people.
        scopes: what they may.
    """

    key_id: str | None
    name: str | None
    scopes: frozenset[Scope]

    @classmethod
    def with_key(cls, key: ApiKey) -> "Caller":
        """The caller that came with `key`."""
        return cls(key.id, key.name, frozenset(key.scopes))


UNCHECKED = Caller(None, None, frozenset(Scope))
"""Everybody, where no keys are needed."""
