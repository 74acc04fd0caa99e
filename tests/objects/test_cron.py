"""Schedules: what the fields stand for, and stock's words for those that stand for nothing."""

import re

import pytest

from kapi.objects import cron


def test_fields() -> None:
    found = cron.parse("*/15 9-17 1,15 jan-MAR mon")
    assert found.minutes == {0, 15, 30, 45}
    assert found.hours == set(range(9, 18))
    assert found.days == {1, 15}
    assert found.months == {1, 2, 3}
    assert found.weekdays == {1}
    assert (found.any_day, found.any_weekday, found.every) == (False, False, 0)


def test_descriptors_and_periods() -> None:
    assert cron.parse("@hourly") == cron.parse("0 * * * *")
    assert cron.parse("@weekly").weekdays == {0}
    assert cron.parse("@every 1h30m").every == 5400
    assert cron.parse("@every 1ms").every == 1


def test_zone_of_its_own() -> None:
    found = cron.parse("CRON_TZ=Europe/Berlin 0 0 * * *")
    assert (found.zone, found.any_day) == ("Europe/Berlin", True)


def test_open_end_and_steps() -> None:
    assert cron.parse("50/5 * * * *").minutes == {50, 55}
    assert not cron.parse("* * */2 * *").any_day


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty spec string"),
        ("* * *", "expected exactly 5 fields, found 3: [* * *]"),
        ("a * * * *", 'failed to parse int from a: strconv.Atoi: parsing "a": invalid syntax'),
        ("-1 * * * *", 'failed to parse int from : strconv.Atoi: parsing "": invalid syntax'),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("5-2 * * * *", "beginning of range (5) beyond end of range (2): 5-2"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("@often", "unrecognized descriptor: @often"),
        ("@every x", 'failed to parse duration @every x: time: invalid duration "x"'),
        ("@every 5", 'failed to parse duration @every 5: time: missing unit in duration "5"'),
        ("TZ=Nowhere * * * * *", "provided bad location Nowhere: unknown time zone Nowhere"),
    ],
)
def test_bad(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        cron.parse(text)
