"""Field errors: the causes of a 422, with the texts and reasons of stock (apimachinery's field.Error, v1.36).

`causes.invalid("spec.replicas", -1, "must be greater than or equal to 0")` is
Cause("FieldValueInvalid", "Invalid value: -1: must be greater than or equal to 0", "spec.replicas").
"""

import math
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import orjson

from kapi import limits
from kapi.objects.errors import Cause
from kapi.objects.quoting import go_quote

NON_NEGATIVE = "must be greater than or equal to 0"


def go_number(value: float) -> str:
    """A number as Go's %v prints it: a double shortest, as '1', '0.5' or '1e+06'."""
    if not isinstance(value, float):
        return str(value)
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    exact = Decimal(repr(value)).normalize()
    power = exact.adjusted()
    if -4 <= power < 6 or value == 0:
        return f"{exact:f}"
    return f"{exact.scaleb(-power):f}e{'-' if power < 0 else '+'}{abs(power):02}"


_HTML = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}
"""Characters that Go's JSON encoder escapes for use in HTML and scripts."""


def shown(value: Any) -> str:
    """A value as a field error shows it: strings quoted, numbers plain, others as JSON, None as null."""
    if value is True:
        return "true"
    if value is False:
        return "false"
    if value is None:
        return "null"
    if isinstance(value, str):
        return go_quote(value)
    if isinstance(value, int | float):
        return go_number(value)
    return shortened(orjson.dumps(value)).translate(_HTML)


def shortened(text: bytes) -> str:
    """The text, cut where it is longer than a message shows of objects and lists."""
    if len(text) <= limits.QUOTED_VALUE:
        return text.decode()
    return text[: limits.QUOTED_VALUE].decode(errors="ignore") + "…"


def _tail(detail: str) -> str:
    return f": {detail}" if detail else ""


def required(field: str, detail: str = "") -> Cause:
    return Cause("FieldValueRequired", "Required value" + _tail(detail), field)


def invalid(field: str, value: Any, detail: str) -> Cause:
    return Cause("FieldValueInvalid", f"Invalid value: {shown(value)}{_tail(detail)}", field)


def wrong(field: str, detail: str) -> Cause:
    """Invalid, without a value: for rules on a whole object."""
    return Cause("FieldValueInvalid", f"Invalid value: {detail}", field)


def type_invalid(field: str, value: Any, detail: str) -> Cause:
    return Cause("FieldValueTypeInvalid", f"Invalid value: {shown(value)}{_tail(detail)}", field)


def duplicate(field: str, value: Any) -> Cause:
    return Cause("FieldValueDuplicate", f"Duplicate value: {shown(value)}", field)


def forbidden(field: str, detail: str) -> Cause:
    return Cause("FieldValueForbidden", "Forbidden" + _tail(detail), field)


def not_found(field: str, value: Any) -> Cause:
    return Cause("FieldValueNotFound", f"Not found: {shown(value)}", field)


def not_supported(field: str, value: Any, supported: Iterable[str]) -> Cause:
    """`supported` is sorted and quoted, as in stock."""
    listed = ", ".join(go_quote(v) for v in sorted(supported))
    return Cause("FieldValueNotSupported", f"Unsupported value: {shown(value)}: supported values: {listed}", field)


def too_long(field: str, limit: int) -> Cause:
    return Cause("FieldValueTooLong", f"Too long: may not be more than {limit} bytes", field)


def too_many(field: str, actual: int, limit: int) -> Cause:
    return Cause("FieldValueTooMany", f"Too many: {actual}: must have at most {limit} item{'s' if limit != 1 else ''}", field)


def internal(field: str, detail: str) -> Cause:
    return Cause("InternalError", f"Internal error: {detail}", field)
