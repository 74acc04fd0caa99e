"""Cron schedules: five fields, or a descriptor such as @hourly or @every 1h30m. Error messages are those of stock's parser.

`parse("*/5 * * * *").minutes` is the set of minutes. Times of a schedule are computed in kapi.controllers.schedule.
"""

import re
import zoneinfo
from typing import NamedTuple

from kapi.objects import duration, integers
from kapi.objects.quoting import go_quote

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_BOUNDS: tuple[tuple[int, int, dict[str, int]], ...] = (
    (0, 59, {}),
    (0, 23, {}),
    (1, 31, {}),
    (1, 12, {name: i + 1 for i, name in enumerate(_MONTHS)}),
    (0, 6, {name: i for i, name in enumerate(_DAYS)}),
)
_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


class Schedule(NamedTuple):
    """The matching minutes, hours, days of month, months and days of week (0: Sunday); or a period in seconds."""

    minutes: frozenset[int] = frozenset()
    hours: frozenset[int] = frozenset()
    days: frozenset[int] = frozenset()
    months: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()
    any_day: bool = True
    """Whether the day-of-month field is "*"."""
    any_weekday: bool = True
    every: int = 0
    zone: str = ""


def parse(text: str) -> Schedule:
    """Raises ValueError with stock's message."""
    if not text:
        raise ValueError("empty spec string")
    zone = ""
    if text.startswith(("TZ=", "CRON_TZ=")):
        head, _, rest = text.partition(" ")
        zone = head.partition("=")[2]
        bad = zone_error(zone)
        if bad:
            raise ValueError(f"provided bad location {zone}: {bad}")
        text = rest.strip()
    if text.startswith("@every "):
        return Schedule(every=max(1, int(_every(text[7:]))), zone=zone)
    if text.startswith("@"):
        if text not in _DESCRIPTORS:
            raise ValueError(f"unrecognized descriptor: {text}")
        text = _DESCRIPTORS[text]
    fields = text.split()
    if len(fields) != 5:
        raise ValueError(f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]")
    sets = [_field(field, *bounds) for field, bounds in zip(fields, _BOUNDS, strict=True)]
    minutes, hours, days, months, weekdays = (found for found, _ in sets)
    return Schedule(minutes, hours, days, months, weekdays, sets[2][1], sets[4][1], 0, zone)


def zone_error(name: str) -> str:
    """Why a time zone's name is invalid; "" if it is valid."""
    if name in ("", "UTC", "Local"):
        return ""
    if ".." in name or name[0] in "/\\":
        return "time: invalid location name"
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return f"unknown time zone {name}"
    return ""


def _every(text: str) -> float:
    try:
        return duration.parse(text)
    except ValueError as why:
        raise ValueError(f"failed to parse duration @every {text}: {why}") from None


def _field(text: str, low: int, high: int, names: dict[str, int]) -> tuple[frozenset[int], bool]:
    """(values of a field, whether it is "*")."""
    out: set[int] = set()
    star = False
    for part in text.split(","):
        if part:
            found, starred = _range(part, low, high, names)
            out |= found
            star = star or starred
    return frozenset(out), star


def _range(text: str, low: int, high: int, names: dict[str, int]) -> tuple[set[int], bool]:
    parts = text.split("/")
    ends = parts[0].split("-")
    star = ends[0] in ("*", "?")
    if star:
        start, end = low, high
    else:
        start = end = _number(ends[0], names)
        if len(ends) == 2:
            end = _number(ends[1], names)
        elif len(ends) > 2:
            raise ValueError(f"too many hyphens: {text}")
    step = 1
    if len(parts) == 2:
        step = _number(parts[1], {})
        if len(ends) == 1:
            end = high
        star = star and step <= 1
    elif len(parts) > 2:
        raise ValueError(f"too many slashes: {text}")
    if start < low:
        raise ValueError(f"beginning of range ({start}) below minimum ({low}): {text}")
    if end > high:
        raise ValueError(f"end of range ({end}) above maximum ({high}): {text}")
    if start > end:
        raise ValueError(f"beginning of range ({start}) beyond end of range ({end}): {text}")
    if step == 0:
        raise ValueError(f"step of range should be a positive number: {text}")
    return set(range(start, end + 1, step)), star


def _number(text: str, names: dict[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    if not re.fullmatch(r"[-+]?[0-9]+", text):
        raise ValueError(f"failed to parse int from {text}: strconv.Atoi: parsing {go_quote(text)}: invalid syntax")
    number = integers.parse(text)
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"failed to parse int from {text}: strconv.Atoi: parsing {go_quote(text)}: value out of range")
    if number < 0:
        raise ValueError(f"negative number ({number}) not allowed: {text}")
    return number
