"""Durations: as kubectl prints them in AGE columns ("5s", "3m20s", "4d2h", "<unknown>"), and as Go parses them ("1h30m")."""

import re

from kapi.objects import time
from kapi.objects.quoting import time_quote

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([^0-9.]*)")
_LONGEST = 2**63 / 1e9


def human(seconds: float) -> str:
    """'119s', '2m', '9m59s', '179m', '3h', '7h59m', '47h', '2d', '7d23h', '8d', '2y', '2y10d'."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    minutes, hours = whole // 60, whole // 3600
    if whole < 120:
        return f"{max(whole, 0)}s"
    if minutes < 10:
        return _two(minutes, "m", whole % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return _two(hours // 24, "d", hours % 24, "h")
    days = hours // 24
    if days < 730:
        return f"{days}d"
    if days < 2920:
        return _two(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def _two(big: int, unit: str, small: int, smaller: str) -> str:
    return f"{big}{unit}{small}{smaller}" if small else f"{big}{unit}"


def since(stamp: str | None, now: float) -> str:
    """The age of an RFC 3339 time; '<unknown>' for None."""
    return human(now - time.parse(stamp)) if stamp else "<unknown>"


def parse(text: str) -> float:
    """Seconds of a duration as Go writes it: "1h30m", "-1.5s", "0". Raises ValueError in the words of time.ParseDuration."""
    sign, rest = re.match("([-+]?)(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    if rest == "0":
        return 0.0
    total, at = 0.0, 0
    while found := _PART.match(rest, at):
        number, unit = found.groups()
        if not unit:
            raise ValueError(f"time: missing unit in duration {time_quote(text)}")
        if unit not in _UNITS:
            raise ValueError(f"time: unknown unit {time_quote(unit)} in duration {time_quote(text)}")
        total, at = total + float(number) * _UNITS[unit], found.end()
    if not rest or at != len(rest) or total > _LONGEST:
        raise ValueError(f"time: invalid duration {time_quote(text)}")
    return -total if sign == "-" else total
