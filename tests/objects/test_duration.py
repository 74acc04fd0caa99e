import pytest

from kapi.objects import duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1h30m", 5400), ("-1.5s", -1.5), ("+.5m", 30), ("0", 0), ("-0", 0), ("1µs", 1e-6), ("2540400h10m10.000000000s", 9145440610)],
)
def test_durations_as_go_reads_them(text: str, seconds: float) -> None:
    assert duration.parse(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", 'time: invalid duration ""'),
        ("x", 'time: invalid duration "x"'),
        ("-", 'time: invalid duration "-"'),
        (".s", 'time: invalid duration ".s"'),
        ("1", 'time: missing unit in duration "1"'),
        ("1d", 'time: unknown unit "d" in duration "1d"'),
        ("1ü\n", r'time: unknown unit "\xc3\xbc\x0a" in duration "1\xc3\xbc\x0a"'),
        ("3000000h", 'time: invalid duration "3000000h"'),
    ],
)
def test_what_is_no_duration(text: str, why: str) -> None:
    with pytest.raises(ValueError) as refused:
        duration.parse(text)
    assert str(refused.value) == why
