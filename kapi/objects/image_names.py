"""Names of images in full, as pods' names are read: 'web' is docker.io/library/web:latest."""

import re

_HOST_PART = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:(?P<host>{_HOST_PART}(?:\.{_HOST_PART})*(?::[0-9]{{1,5}})?)/)?(?P<path>{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?", re.ASCII
)  # fmt: skip
_LONGEST = 255
"""Characters of a name without tag and digest."""
DEFAULT_HOST = "docker.io"


def is_host(word: str) -> bool:
    """Whether what stands before a name's first slash is a registry."""
    return "." in word or ":" in word or word == "localhost" or word != word.lower()


def full_name(text: str) -> str:
    """The name with its registry, its library and its tag, or its digest. Raises ValueError."""
    found = _REFERENCE.fullmatch(text)
    if found is None or (found["host"] and not is_host(found["host"]) and not re.fullmatch(_PART, found["host"])):
        raise ValueError("must be the name of an image, e.g. example.com/team/web:1")
    host, path = found["host"] or "", found["path"]
    if host and not is_host(host):
        host, path = "", f"{host}/{path}"
    if host in ("", "index.docker.io", DEFAULT_HOST):
        host, path = DEFAULT_HOST, path if "/" in path else f"library/{path}"
    if len(f"{host}/{path}") > _LONGEST:
        raise ValueError(f"must be the name of an image of at most {_LONGEST} characters")
    return f"{host}/{path}" + (f"@{found['digest']}" if found["digest"] else f":{found['tag'] or 'latest'}")
