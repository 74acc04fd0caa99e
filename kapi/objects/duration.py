"""Durations as kubectl prints them in AGE columns: "5s", "3m20s", "4d2h", "<unknown>"."""

from kapi.objects import time


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
