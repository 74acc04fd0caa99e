"""Template hashes for names, encoded without vowels so that they spell no words ("6d4cf56db6")."""

import hashlib
from typing import Any

import orjson

ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


def safe_encoded(text: str) -> str:
    """Replace every character by one of the alphabet."""
    return "".join(ALPHABET[ord(c) % len(ALPHABET)] for c in text)


def short_hash(value: Any, collisions: int = 0) -> str:
    """A 32-bit hash of a JSON value and a collision count, as up to ten characters."""
    data = orjson.dumps(value, option=orjson.OPT_SORT_KEYS) + (b"" if not collisions else str(collisions).encode())
    return safe_encoded(str(int.from_bytes(hashlib.blake2s(data, digest_size=4).digest(), "big")))
