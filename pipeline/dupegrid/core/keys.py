"""Keys: short digests that are equal when what they describe is the same."""

import hashlib
import json
from typing import Any


def fingerprint(*parts: Any) -> str:
    """A short digest of settings and names: equal when the work they describe is the same."""
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=12).hexdigest()


def number_of(key: str) -> int:
    """A key as an int64, for what holds numbers only."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little", signed=True)
