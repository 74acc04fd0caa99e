"""JSON Web Tokens signed with ES256 or RS256, the algorithms of service account keys (RFC 7515, 7518).

Only the signature is verified here; claims are checked in `kapi.access.tokens`. The cryptography library is loaded with the first key.

Not PyJWT: that costs another 1.6 MB and 50 ms of import, and 30 % more time per verification, for the two algorithms used here.
"""

import base64
import hashlib
from pathlib import Path
from typing import Any

import orjson

from kapi import limits

Claims = dict[str, Any]
INVALID = "invalid bearer token"


class InvalidToken(Exception):
    """A token that is not accepted; the text is stock's message."""


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    """Strict base64url (RFC 7515): no padding, no other characters, no unused bits that are set. Raises ValueError."""
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if _encode(raw) != text:
        raise ValueError("not base64url")
    return raw


def _part(text: str) -> dict[str, Any]:
    """A header or the claims, as JSON. Raises InvalidToken."""
    try:
        claims = orjson.loads(_decode(text))
    except ValueError as error:
        raise InvalidToken(INVALID) from error
    if not isinstance(claims, dict):
        raise InvalidToken(INVALID)
    return claims


def unverified_claims(token: str) -> Claims:
    """The claims of a token whose signature has not been verified. Raises InvalidToken."""
    parts = token.split(".", 3)
    if len(token) > limits.TOKEN_BYTES or len(parts) != 3:
        raise InvalidToken(INVALID)
    return _part(parts[1])


class Key:
    """A public or private key from a PEM file."""

    def __init__(self, pem: bytes) -> None:
        from cryptography.exceptions import InvalidSignature  # heavy, and of no use without keys
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

        self._utils, self._invalid = utils, InvalidSignature
        private = serialization.load_pem_private_key(pem, None) if b"PRIVATE KEY" in pem else None
        public = private.public_key() if private else serialization.load_pem_public_key(pem)
        if isinstance(public, ec.EllipticCurvePublicKey) and isinstance(public.curve, ec.SECP256R1):
            self.algorithm = "ES256"
            self._scheme: tuple[Any, ...] = (ec.ECDSA(hashes.SHA256()),)
        elif isinstance(public, rsa.RSAPublicKey):
            self.algorithm = "RS256"
            self._scheme = (padding.PKCS1v15(), hashes.SHA256())
        else:
            raise ValueError("a token key is an RSA key or an elliptic curve key on P-256")
        self._private: Any = private
        self._public: Any = public
        der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.id = _encode(hashlib.sha256(der).digest())
        """The `kid`, as stock has it: the digest of the public key."""

    def sign(self, claims: Claims) -> str:
        """A token with these claims. Raises ValueError for a public key."""
        if self._private is None:
            raise ValueError("a public key cannot sign tokens")
        head = {"alg": self.algorithm, "kid": self.id}
        text = f"{_encode(orjson.dumps(head))}.{_encode(orjson.dumps(claims))}"
        signature = self._private.sign(text.encode(), *self._scheme)
        if self.algorithm == "ES256":
            r, s = self._utils.decode_dss_signature(signature)
            signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return f"{text}.{_encode(signature)}"

    def verifies(self, token: str) -> bool:
        """Whether this key signed the token."""
        text, _, signature = token.rpartition(".")
        try:
            raw = _decode(signature)
            if self.algorithm == "ES256":
                if len(raw) != 64:
                    return False
                raw = self._utils.encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
            self._public.verify(raw, text.encode(), *self._scheme)
        except (ValueError, self._invalid):
            return False
        return True

    def public(self) -> Claims:
        """The public key as a JSON Web Key, for /openid/v1/jwks."""
        numbers = self._public.public_numbers()
        head = {"use": "sig", "kty": "EC", "kid": self.id, "alg": self.algorithm}
        if self.algorithm == "ES256":
            return {**head, "crv": "P-256", "x": _encode(numbers.x.to_bytes(32, "big")), "y": _encode(numbers.y.to_bytes(32, "big"))}
        size = (numbers.n.bit_length() + 7) // 8
        return {**head, "kty": "RSA", "n": _encode(numbers.n.to_bytes(size, "big")), "e": _encode(numbers.e.to_bytes(3, "big"))}


class Keys:
    """The keys that verify tokens, read from their files on first use."""

    def __init__(self, files: tuple[Path, ...]) -> None:
        self._files = files
        self._keys: list[Key] | None = None

    def all(self) -> list[Key]:
        if self._keys is None:
            keys = {key.id: key for key in (Key(file.read_bytes()) for file in self._files)}
            self._keys = list(keys.values())
        return self._keys

    def check(self, token: str) -> None:
        """Raises InvalidToken unless one of the keys, selected by the header, verifies the signature."""
        head = _part(token.partition(".")[0])
        algorithm, kid = head.get("alg"), head.get("kid")
        if "crit" in head:  # critical extensions; none are supported (RFC 7515, 4.1.11)
            raise InvalidToken(INVALID)
        keys = [key for key in self.all() if key.algorithm == algorithm and (not kid or key.id == kid)]
        if not any(key.verifies(token) for key in keys):
            raise InvalidToken(INVALID)
