"""Types of settings: Python types annotated with a parser, whose error message states what is allowed.

Messages are those of kube-apiserver and kubelet where they check the same.
"""

import errno
import ipaddress
import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from kapi.objects import image_names, names, quantity
from kapi.settings import Form

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_SPAN = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}")
_SYSCTL = re.compile(r"[a-z0-9](?:[-_a-z0-9]*[a-z0-9])?(?:[./][a-z0-9](?:[-_a-z0-9]*[a-z0-9])?)*(?:[./]?\*)?")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_RESERVABLE = ("cpu", "memory", "ephemeral-storage", "pid")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
NAME_BYTES = 255
"""The longest name of a file (NAME_MAX)."""
_SOCKET_BYTES = 107
"""The longest path of a Unix socket (sun_path without its final NUL)."""


def integer(low: int, high: int | None = None) -> Callable[[str], int]:
    """A parser of whole numbers in a range."""
    allowed = f"must be between {low} and {high}, inclusive" if high is not None else f"must be an integer of at least {low}"

    def parse(text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text) or not low <= int(text) <= (int(text) if high is None else high):
            raise ValueError(allowed)
        return int(text)

    return parse


def seconds(text: str) -> float:
    """'90', '1.5' or as Go writes durations: '1m30s'. Raises ValueError."""
    spans = _SPAN.findall(text)
    whole = "".join(number + unit for number, unit in spans) == text
    try:
        value = sum(float(number) * _UNITS[unit] for number, unit in spans) if spans and whole else float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ValueError("must be a duration greater than zero, e.g. 90, 1.5 or 1m30s")
    return value


def size(text: str) -> int:
    """'10485760' or '10Mi'. Raises ValueError."""
    try:
        value = quantity.value(text)
    except ValueError:
        value = 0
    if value < 1:
        raise ValueError("must be a number of bytes greater than zero, e.g. 10485760 or 10Mi")
    return value


def checked(check: Callable[[str], list[str]]) -> Callable[[str], str]:
    """A parser of texts that one of `kapi.objects.names` finds nothing wrong with."""

    def parse(text: str) -> str:
        if wrong := check(text):
            raise ValueError("; ".join(wrong))
        return text

    return parse


def address(text: str) -> str:
    """An IP address, in its usual spelling. Raises ValueError."""
    if (parsed := names.parse_ip(text)) is None:
        raise ValueError(names.BAD_IP)
    return str(parsed)


def cidr(text: str) -> str:
    """A network; bits behind the mask are cleared, as stock does. Raises ValueError."""
    if (parsed := names.parse_cidr(text)) is None:
        raise ValueError(names.BAD_CIDR)
    return str(parsed)


def service_range(text: str) -> str:
    """A network of at least 8 addresses. Raises ValueError."""
    parsed = cidr(text)
    if ipaddress.ip_network(parsed).num_addresses < 8:
        raise ValueError("the service cluster IP range must be at least 8 IP addresses")
    return parsed


def items(parse: Callable[[str], Any], text: str) -> tuple[Any, ...]:
    """What a list with commas holds. Raises ValueError for one that is wrong, and which."""
    out = []
    for word in text.split(","):
        try:
            out.append(parse(word))
        except ValueError as why:
            raise ValueError(f"{word!r} {why}" if len(text) > len(word) else str(why)) from None
    return tuple(out)


def addresses(text: str) -> tuple[str, ...]:
    """'10.96.0.10,fd00::a'. Raises ValueError."""
    return items(address, text)


def node_addresses(text: str) -> tuple[str, ...]:
    """One address, or one of each family. Raises ValueError."""
    parsed = addresses(text)
    if len(parsed) > 2 or len({":" in ip for ip in parsed}) < len(parsed):
        raise ValueError("must be one IP address or a dual-stack pair of them")
    return parsed


def pairs(text: str) -> dict[str, str]:
    """'a=b,c=d' as {"a": "b", "c": "d"}. Raises ValueError."""
    out: dict[str, str] = {}
    for word in text.split(","):
        key, equals, value = word.partition("=")
        if not key or not equals or key in out:
            raise ValueError("must be a list of key=value with commas, each key once")
        out[key] = value
    return out


def labels(text: str) -> dict[str, str]:
    """Labels as `a=b,c=d`. Raises ValueError."""
    parsed = pairs(text)
    for key, value in parsed.items():
        if wrong := [*names.label_key(key), *names.label_value(value)]:
            raise ValueError(f"invalid label {key}={value}: {'; '.join(wrong)}")
    return parsed


def reserved(text: str) -> dict[str, str]:
    """Resources as `cpu=100m,memory=200Mi`. Raises ValueError."""
    parsed = pairs(text)
    for name, amount in parsed.items():
        if name not in _RESERVABLE:
            raise ValueError(f'cannot reserve "{name}" resource; allowed are {", ".join(_RESERVABLE)}')
        try:
            negative = quantity.milli(amount) < 0
        except ValueError as why:
            raise ValueError(f'failed to parse quantity "{amount}" for "{name}" resource: {why}') from None
        if negative:
            raise ValueError(f'resource quantity for "{name}" cannot be negative: {amount}')
    return parsed


def taint(text: str) -> dict[str, str]:
    """'a=b:NoSchedule' or 'a:NoExecute' as a taint. Raises ValueError."""
    pair, colon, effect = text.rpartition(":")
    key, _, value = pair.partition("=")
    if not colon or effect not in _EFFECTS:
        raise ValueError(f"must be key=value:Effect or key:Effect, the effect one of {', '.join(_EFFECTS)}")
    if wrong := [*names.label_key(key), *names.label_value(value)]:
        raise ValueError("; ".join(wrong))
    return {"key": key, "effect": effect} | ({"value": value} if value else {})


def sysctl(text: str) -> str:
    """'kernel.msgmax' or 'net.ipv4.*'. Raises ValueError."""
    if len(text) > 253 or not _SYSCTL.fullmatch(text):
        raise ValueError("must be the name of a sysctl, or its beginning and * (e.g. kernel.msgmax or net.ipv4.*)")
    return text


def endpoint(text: str) -> str:
    """'unix:///run/containerd/containerd.sock'; a bare path is one too. Raises ValueError."""
    parts = urlsplit(text if not text.startswith("/") else f"unix://{text}")
    if parts.scheme != "unix" or parts.netloc or not parts.path.startswith("/") or len(parts.path.encode()) > _SOCKET_BYTES:
        raise ValueError(f"must be the path of a Unix socket of at most {_SOCKET_BYTES} bytes (e.g. unix:///run/containerd/containerd.sock)")
    return f"unix://{parts.path}"


def storage(text: str) -> str:
    """'memory:' or a path. Raises ValueError."""
    if text != "memory:" and (_SCHEME.match(text) or Path(text).is_dir() or text.endswith("/")):
        raise ValueError('must be "memory:" or the path of an SQLite file')
    return text


def check_place(path: Path) -> None:
    """Check a path of a directory that may not exist: it can be shown, and nothing but its absence keeps it from being opened.

    Raises ValueError.
    """
    try:
        whole = path.absolute()
    except FileNotFoundError:
        raise ValueError("must be an absolute path: the current directory was deleted") from None
    if not str(whole).isprintable():
        raise ValueError("must be a path of printable characters, in UTF-8")
    try:
        path.stat()
    except OSError as why:
        if why.errno in (errno.ELOOP, errno.ENAMETOOLONG):
            raise ValueError(f"must be the path of a directory: {why.strerror}") from None


def directory(text: str) -> Path:
    """A directory, or where one can be made. Raises ValueError, OSError."""
    if not text:
        raise ValueError("must be the path of a directory")
    check_place(Path(text))
    there = next(path for path in (Path(text), *Path(text).absolute().parents) if path.exists())
    if not there.is_dir():
        raise ValueError(f"must be a directory, but {there} is none" if there != Path(text) else "must be a directory")
    return Path(text)


def absolute(text: str) -> str:
    """A path from the root, in its usual spelling. Raises ValueError."""
    if not text.startswith("/") or ".." in Path(text).parts:
        raise ValueError("must be an absolute path without ..")
    return text


def output_file(text: str) -> str:
    """The path of a file to write; its directory may still have to be made. Raises ValueError."""
    if not text.isprintable() or len(os.fsencode(Path(text).name)) > NAME_BYTES or Path(text).is_dir():
        raise ValueError("must be the path of a file to write")
    directory(str(Path(text).parent))
    return text


def context_name(text: str) -> str:
    """A name for a context of a kubeconfig. Raises ValueError."""
    if not text.isprintable() or " " in text or text.startswith("-") or len(text) > NAME_BYTES:
        raise ValueError(f"must be at most {NAME_BYTES} printable characters without spaces, the first not '-'")
    return text


def existing_file(text: str) -> Path:
    """A file that is there and may be read. Raises ValueError."""
    try:
        with Path(text).open("rb"):
            return Path(text)
    except OSError as why:
        raise ValueError(f"must be a file that can be read: {why.strerror}") from None


def existing_directory(text: str) -> Path:
    """A directory that is there. Raises ValueError."""
    if not text or not Path(text).is_dir():
        raise ValueError("must be a directory that exists")
    return Path(text)


def table(text: str) -> str:
    """A name nftables takes. Raises ValueError."""
    if not _TABLE.fullmatch(text):
        raise ValueError("must begin with a letter and consist of letters, digits, '_', '.' or '-' (at most 63)")
    return text


def shown_pairs(value: Mapping[str, str], between: str = "=") -> str:
    """{"a": "b"} as 'a=b'."""
    return ",".join(f"{key}{between}{item}" for key, item in value.items())


def check_pod_ranges(first: str, count: int) -> None:
    """Raises ValueError when as many pod ranges of the size of `first` do not fit behind it."""
    network = ipaddress.ip_network(first)
    if int(network.network_address) + count * network.num_addresses > 1 << network.max_prefixlen:
        raise ValueError(f"--pod-cidr {first} leaves no room for the pods of {count} nodes")


Port = Annotated[int, Form(integer(1, 65535), "PORT")]
OptionalPort = Annotated[int, Form(integer(0, 65535), "PORT")]
"""0 stands for none."""
Count = Annotated[int, Form(integer(1), "N")]
NonNegative = Annotated[int, Form(integer(0), "N")]
Percentage = Annotated[int, Form(integer(0, 100), "PERCENT")]
Seconds = Annotated[float, Form(seconds, "SECONDS", lambda value: f"{value:g}")]
Bytes = Annotated[int, Form(size, "BYTES")]
Address = Annotated[str, Form(address, "ADDRESS")]
Addresses = Annotated[tuple[str, ...], Form(addresses, "ADDRESS,…", ",".join)]
NodeAddresses = Annotated[tuple[str, ...], Form(node_addresses, "ADDRESS,…", ",".join)]
CIDR = Annotated[str, Form(cidr, "CIDR")]
ServiceRange = Annotated[str, Form(service_range, "CIDR")]
NodeName = Annotated[str, Form(checked(names.dns_subdomain), "NAME")]
Domain = Annotated[str, Form(checked(names.dns_subdomain), "DOMAIN")]
Labels = Annotated[Mapping[str, str], Form(labels, "KEY=VALUE,…", shown_pairs)]
Reserved = Annotated[Mapping[str, str], Form(reserved, "RESOURCE=AMOUNT,…", shown_pairs)]
Taints = Annotated[tuple[dict[str, str], ...], Form(lambda text: items(taint, text), "KEY=VALUE:EFFECT,…")]
Sysctls = Annotated[tuple[str, ...], Form(lambda text: items(sysctl, text), "NAME,…", ",".join)]
Endpoint = Annotated[str, Form(endpoint, "ENDPOINT")]
Storage = Annotated[str, Form(storage, "STORAGE")]
Directory = Annotated[Path, Form(directory, "DIRECTORY")]
RootDirectory = Annotated[Path, Form(lambda text: directory(text).absolute(), "DIRECTORY")]
AbsolutePath = Annotated[str, Form(absolute, "PATH")]
ContextName = Annotated[str, Form(context_name, "NAME")]
OutputFile = Annotated[str, Form(output_file, "FILE")]
ExistingFile = Annotated[Path, Form(existing_file, "FILE")]
ExistingDirectory = Annotated[Path, Form(existing_directory, "DIRECTORY")]
ImageName = Annotated[str, Form(image_names.full_name, "NAME")]
"""Kept in full."""
TableName = Annotated[str, Form(table, "NAME")]
