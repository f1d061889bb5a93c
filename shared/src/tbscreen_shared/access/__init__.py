"""Who may use the gateway: what its keys are, the file they are kept in, when they are needed.

api_keys     a key, its scopes, its token and how one is recognised
key_file     the file: read, and changed without a reader ever seeing half of it
policy       whether requests need a key, from where the gateway can be reached
"""

from tbscreen_shared.access.api_keys import ApiKey, KeyState, Scope, issue_key, recognise
from tbscreen_shared.access.key_file import KeyFileError, edited_keys, read_keys
from tbscreen_shared.access.policy import (
    AuthMode,
    NoKeyError,
    host_of,
    how_others_reach,
    is_loopback,
    keys_are_needed,
    listed,
)

__all__ = [
    "ApiKey",
    "AuthMode",
    "KeyFileError",
    "KeyState",
    "NoKeyError",
    "Scope",
    "edited_keys",
    "host_of",
    "how_others_reach",
    "is_loopback",
    "issue_key",
    "keys_are_needed",
    "listed",
    "read_keys",
    "recognise",
]
