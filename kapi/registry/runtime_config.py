"""--runtime-config: which built-in API versions and resources are served. Light: settings are read with it."""

import re
from collections.abc import Iterable, Mapping

from kapi.objects.quoting import go_quote
from openapi import tables

_STAGES = {
    "api/all": re.compile(r"v.*"), "api/ga": re.compile(r"v\d+"), "api/beta": re.compile(r"v\d+beta\d+"),
    "api/alpha": re.compile(r"v\d+alpha\d+"),
}  # fmt: skip
"""Keys that stand for many versions, in the order in which they apply."""
_BOOLS = dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True) | dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False)
"""What Go reads as a bool."""


def parse(text: str) -> dict[str, bool]:
    """{"api/beta": True, "batch/v1/jobs": False} of "api/beta=true,batch/v1/jobs=false". Raises ValueError as stock words it."""
    out: dict[str, bool] = {}
    for word in text.split(","):
        key, _, value = word.strip().partition("=")
        out[key] = _value(key, value)
    if out == {"api/all": False}:
        raise ValueError("invalid key with only api/all=false")
    _check([key.split("/") for key in out if key not in _STAGES])
    return out


def _value(key: str, value: str) -> bool:
    """A key alone switches on, unless it stands for many."""
    if key in _STAGES:
        if value not in ("true", "false"):
            raise ValueError(f"invalid value {key}={value}; allowed are true and false")
        return value == "true"
    if value and value not in _BOOLS:
        raise ValueError(f"invalid value of {key}: {value}, err: strconv.ParseBool: parsing {go_quote(value)}: invalid syntax")
    return _BOOLS.get(value, True)


def _check(keys: Iterable[list[str]]) -> None:
    """Raises ValueError for a group, version or resource that is not built in."""
    rows = list(tables.resources())
    groups, versions = {str(row["group"]) for row in rows}, {(row["group"], row["version"]) for row in rows}
    plurals = {(row["group"], row["version"], row["plural"]) for row in rows}
    for key in keys:
        if len(key) not in (2, 3):
            allowed = "allowed are group/version, group/version/resource, api/all, api/ga, api/beta and api/alpha"
            raise ValueError(f"runtime-config invalid key {'/'.join(key)}; {allowed}")
    if unknown := sorted({key[0] for key in keys} - groups):
        raise ValueError(f"unknown api groups {','.join(unknown)}")
    for key in keys:
        if (key[0], key[1]) not in versions:
            raise ValueError(f"group version {key[0]}/{key[1]} that has not been registered")
        if key[2:] and tuple(key) not in plurals:
            raise ValueError(f"invalid key {'/'.join(key)}: there is no such resource; resources are written in lower case and plural")


def served(group: str, version: str, plural: str, config: Mapping[str, bool]) -> bool:
    """Whether a resource is served: the most exact key decides; unnamed ones are when their version is stable."""
    if (key := f"{group}/{version}/{plural}") in config or (key := f"{group}/{version}") in config:
        return config[key]
    out = bool(_STAGES["api/ga"].fullmatch(version))
    for key, matches in _STAGES.items():
        if key in config and matches.fullmatch(version):
            out = config[key]
    return out


def shown(config: Mapping[str, bool]) -> str:
    """The text that `parse` reads."""
    return ",".join(f"{key}={str(value).lower()}" for key, value in config.items())
