"""Short names for templates: a hash written without vowels, so that no words come of it ("6d4cf56db6")."""

import hashlib
from typing import Any

import orjson

ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


def safe_encoded(text: str) -> str:
    """Every character replaced by one of the alphabet that can't spell anything."""
    return "".join(ALPHABET[ord(c) % len(ALPHABET)] for c in text)


def short_hash(value: Any, collisions: int = 0) -> str:
    """32 bits of any JSON value and the number of collisions met so far, as up to ten such characters."""
    data = orjson.dumps(value, option=orjson.OPT_SORT_KEYS) + (b"" if not collisions else str(collisions).encode())
    return safe_encoded(str(int.from_bytes(hashlib.blake2s(data, digest_size=4).digest(), "big")))
