"""Times of a cron schedule: the next one after, and the last one before a time. Pure; parsing is in kapi.objects.cron."""

import zoneinfo
from datetime import UTC, date, datetime, timedelta, tzinfo

from kapi.objects.cron import Schedule

HORIZON_DAYS = 5 * 366
WINDOWS = (300.0, 7200.0, 2 * 86400.0, 63 * 86400.0, 5 * 366 * 86400.0)


def zone(schedule: Schedule, name: str | None = None) -> tzinfo:
    """The schedule's own time zone, or the named one, or UTC."""
    chosen = schedule.zone or name or ""
    return zoneinfo.ZoneInfo(chosen) if chosen and chosen != "UTC" else UTC


def known_zone(name: str) -> bool:
    try:
        return name in ("", "UTC") or bool(zoneinfo.ZoneInfo(name))
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        return False


def following(schedule: Schedule, after: float, where: tzinfo = UTC) -> float | None:
    """The first time after `after` (seconds since the epoch); None if there is none in five years."""
    if schedule.every:
        return float(int(after) + schedule.every)
    start = datetime.fromtimestamp(int(after) + 1, where)
    day = start.date()
    for _ in range(HORIZON_DAYS):
        if _on(schedule, day):
            found = _within(schedule, day, after, where)
            if found is not None:
                return found
        day += timedelta(days=1)
    return None


def _on(schedule: Schedule, day: date) -> bool:
    """Cron's rule: day of month and day of week must both match, but either suffices if both are restricted."""
    if day.month not in schedule.months:
        return False
    by_date, by_weekday = day.day in schedule.days, day.isoweekday() % 7 in schedule.weekdays
    return by_date and by_weekday if schedule.any_day or schedule.any_weekday else by_date or by_weekday


def _within(schedule: Schedule, day: date, after: float, where: tzinfo) -> float | None:
    for hour in sorted(schedule.hours):
        if datetime(day.year, day.month, day.day, hour, 59, 59, tzinfo=where).timestamp() <= after:
            continue
        for minute in sorted(schedule.minutes):
            moment = datetime(day.year, day.month, day.day, hour, minute, tzinfo=where)
            seconds = moment.timestamp()
            if seconds > after and datetime.fromtimestamp(seconds, where).hour == hour:
                return seconds
    return None


def missed(schedule: Schedule, after: float, until: float, where: tzinfo = UTC, limit: int = 101) -> tuple[float | None, int]:
    """(the last time in (after, until], the number of times in it, counted up to `limit`)."""
    last, count, at = None, 0, following(schedule, after, where)
    while at is not None and at <= until:
        last, count = at, count + 1
        if count >= limit:
            return _latest(schedule, after, until, where), count
        at = following(schedule, at, where)
    return last, count


def _latest(schedule: Schedule, after: float, until: float, where: tzinfo) -> float | None:
    """The last time, searched backwards."""
    if schedule.every:
        return after + (until - after) // schedule.every * schedule.every
    for window in WINDOWS:
        last, at = None, following(schedule, max(after, until - window), where)
        while at is not None and at <= until:
            last, at = at, following(schedule, at, where)
        if last is not None:
            return last
    return None
