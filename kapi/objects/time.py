"""The clock. All code reads the time here, so that tests can set it."""

import time as _time
from collections.abc import Callable
from datetime import UTC, datetime

_clock: Callable[[], float] = _time.time


def set_clock(clock: Callable[[], float] | None) -> None:
    """Replace the clock (seconds since the epoch); None puts the real one back."""
    global _clock
    _clock = clock or _time.time


def now() -> float:
    """Seconds since the epoch."""
    return _clock()


_last: tuple[int, str] = (0, "1970-01-01T00:00:00Z")


def stamp(at: float | None = None) -> str:
    """'2026-01-02T03:04:05Z': metav1.Time. The text of the current second is cached: it is needed thousands of times per second."""
    global _last
    second = int(_clock() if at is None else at)
    if _last[0] != second:
        _last = (second, _time.strftime("%Y-%m-%dT%H:%M:%SZ", _time.gmtime(second)).zfill(20))  # C leaves the zeros of a year out
    return _last[1]


def micro_stamp(at: float | None = None) -> str:
    """'2026-01-02T03:04:05.000006Z': metav1.MicroTime."""
    return datetime.fromtimestamp(_clock() if at is None else at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").zfill(27)


def parse(text: str | None) -> float:
    """Seconds since the epoch of an RFC 3339 time; 0.0 for None and the empty text. Raises ValueError."""
    return datetime.fromisoformat(text).timestamp() if text else 0.0
