"""Files with keys and certificates: written atomically, readable by their owner only.

Only the validity of a certificate is parsed here, so that a start with valid files does not load the cryptography library. A certificate
file begins with a comment line, the note with its spec: if the spec changes, the note differs.
"""

import base64
import contextlib
import os
import re
import tempfile
from datetime import UTC, datetime
from pathlib import Path

_VALIDITY = re.compile(rb"\x30\x1e\x17\x0d(\d{12})Z\x17\x0d(\d{12})Z")
"""A sequence of two UTCTimes: notBefore, notAfter (RFC 5280, 4.1.2.5; good to the end of 2049)."""
_BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)


_ANY_BLOCK = re.compile(rb"-----BEGIN ([A-Z ]+)-----(.*?)-----END \1-----", re.DOTALL)


def home() -> Path:
    """The user's home directory; / where neither HOME nor the user database has one."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/")


def write(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace the file atomically; an existing file keeps its owner."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(descriptor, mode)
            if path.exists():
                owner = path.stat()
                with contextlib.suppress(PermissionError):
                    os.fchown(descriptor, owner.st_uid, owner.st_gid)
            os.fsync(descriptor)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_if_new(path: Path, data: bytes, mode: int = 0o600) -> None:
    if not path.exists() or path.read_bytes() != data:
        write(path, data, mode)


def note(path: Path) -> str:
    """The first line of a certificate file, e.g. '# CN=kubernetes-admin O=system:masters client by 5f3a…'; "" if it has none."""
    try:
        with path.open() as file:
            return file.readline().rstrip("\n")
    except (OSError, UnicodeDecodeError):
        return ""


def pem(path: Path) -> bytes:
    """The contents of the file without the note."""
    data = path.read_bytes()
    return data[max(data.find(b"-----BEGIN"), 0) :]


def der(path: Path) -> bytes:
    """The first certificate in the file. Raises ValueError."""
    block = _BLOCK.search(path.read_bytes())
    if block is None:
        raise ValueError(f"no certificate in {path}")
    return base64.b64decode(block[1])


def block(path: Path) -> bytes:
    """The DER of the first PEM block of any type; b"" if there is none. Raises OSError."""
    found = _ANY_BLOCK.search(path.read_bytes())
    try:
        return base64.b64decode(found[2], validate=False) if found else b""
    except ValueError:
        return b""


def expiry(path: Path) -> float:
    """notAfter in seconds since the epoch; 0.0 if it cannot be read."""
    return _validity(path)[1]


def begin(path: Path) -> float:
    """notBefore, likewise."""
    return _validity(path)[0]


def _validity(path: Path) -> tuple[float, float]:
    try:
        found = _VALIDITY.search(der(path))
    except (OSError, ValueError):
        return 0.0, 0.0
    return (_seconds(found[1]), _seconds(found[2])) if found else (0.0, 0.0)


def _seconds(time: bytes) -> float:
    return datetime.strptime(time.decode(), "%y%m%d%H%M%S").replace(tzinfo=UTC).timestamp()
