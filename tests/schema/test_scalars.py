from collections.abc import Callable
from typing import Any

import pytest

from kapi.objects import quantity
from kapi.schema import scalars

SECONDS, MICROS = scalars.SECONDS, scalars.MICROS


@pytest.mark.parametrize(
    ("read", "value", "out"),
    [
        (scalars.time, "2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        (scalars.time, "2026-01-02T03:04:05.9-01:30", "2026-01-02T04:34:05Z"),
        (scalars.time, "0001-01-01T00:00:00Z", None),
        (scalars.microtime, "2026-01-02T03:04:05.000006Z", "2026-01-02T03:04:05.000006Z"),
        (scalars.microtime, "2026-12-31T23:59:59.000006Z", "2026-12-31T23:59:59.000006Z"),
        (scalars.microtime, "2024-02-29T01:00:00.500000+01:00", "2024-02-29T00:00:00.500000Z"),
        (scalars.microtime, "0001-01-01T00:00:00.000000Z", None),
        (scalars.base64, "dg==", "dg=="),
        (scalars.base64, "d\ng==", "dg=="),
        (scalars.base64, "dh==", "dg=="),
        (scalars.base64, "", ""),
        (scalars.intstr, 5, 5),
        (scalars.intstr, "50%", "50%"),
        (scalars.amount, " 1000m ", "1"),
        (scalars.amount, 7, "7"),
        (scalars.duration, "5m", "5m"),
    ],
)
def test_canonical_forms(read: Callable[[Any], Any], value: Any, out: Any) -> None:
    assert read(value) == out


@pytest.mark.parametrize(
    ("read", "value", "text"),
    [
        (scalars.time, "yesterday", f'parsing time "yesterday" as "{SECONDS}": cannot parse "yesterday" as "2006"'),
        (scalars.time, "2026/01", f'parsing time "2026/01" as "{SECONDS}": cannot parse "/01" as "-"'),
        (scalars.time, "2026-01-02T03:04:05", f'parsing time "2026-01-02T03:04:05" as "{SECONDS}": cannot parse "" as "Z07:00"'),
        (scalars.time, "2026-13-01T00:00:00Z", 'parsing time "2026-13-01T00:00:00Z": month out of range'),
        (scalars.time, "2026-02-30T00:00:00Z", 'parsing time "2026-02-30T00:00:00Z": day out of range'),
        (scalars.time, "\u0662026-01-01T00:00:00Z", f'parsing time "\\xd9\\xa2026-01-01T00:00:00Z" as "{SECONDS}": '
         'cannot parse "\\xd9\\xa2026-01-01T00:00:00Z" as "2006"'),
        (scalars.microtime, "2026-04-31T00:00:00.000000Z", 'parsing time "2026-04-31T00:00:00.000000Z": day out of range'),
        (scalars.time, "2026-01-01T00:00:00Zx", 'parsing time "2026-01-01T00:00:00Zx": extra text: "x"'),
        (scalars.microtime, "2026-01-01T00:00:00Z", f'parsing time "2026-01-01T00:00:00Z" as "{MICROS}": cannot parse "Z" as ".000000"'),
        (scalars.time, 7, "json: cannot unmarshal number into Go value of type string"),
        (scalars.microtime, True, "json: cannot unmarshal bool into Go value of type string"),
        (scalars.duration, [], "json: cannot unmarshal array into Go value of type string"),
        (scalars.base64, "x", "illegal base64 data at input byte 0"),
        (scalars.base64, "Bad_Value!", "illegal base64 data at input byte 3"),
        (scalars.base64, "dg=", "illegal base64 data at input byte 3"),
        (scalars.base64, "dg=x", "illegal base64 data at input byte 3"),
        (scalars.base64, "dg==x", "illegal base64 data at input byte 4"),
        (scalars.base64, "dgx=dgxx", "illegal base64 data at input byte 4"),
        (scalars.base64, {}, "json: cannot unmarshal object into Go value of type []uint8"),
        (scalars.intstr, 1.5, "json: cannot unmarshal number 1.5 into Go value of type int32"),
        (scalars.intstr, 2**31, "json: cannot unmarshal number 2147483648 into Go value of type int32"),
        (scalars.intstr, True, "json: cannot unmarshal bool into Go value of type int32"),
        (scalars.amount, "x", quantity.BAD_FORMAT),
        (scalars.amount, {}, quantity.BAD_FORMAT),
    ],
)
def test_refusals(read: Callable[[Any], Any], value: Any, text: str) -> None:
    with pytest.raises(ValueError) as found:
        read(value)
    assert str(found.value) == text
