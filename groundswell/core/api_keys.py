"""API keys: what they look like, and what of them is stored."""

from __future__ import annotations

import hashlib

KEY_PREFIX = "gsk_"
KEY_BYTES = 32


def hash_key(key: str) -> bytes:
    """SHA-256 of the whole key, prefix included: 32 bytes.

    A fast hash is enough, since a key is 256 random bits and cannot be guessed from a list.
    """
    return hashlib.sha256(key.strip().encode()).digest()
