"""Validates values against their OpenAPI schema: types, bounds, enums, patterns, required fields, and the junctors (allOf, anyOf ...).

A schema is made into a short list of checks once. Order and words are those of kube-openapi's validation, as apiextensions-apiserver
puts them into field errors (v1.36). What did not change in an update is not looked at: errors there are old ones (ratcheting, KEP-4008).
"""

from collections.abc import Callable, Iterable
from typing import Any

import orjson

from kapi.objects import causes, patterns
from kapi.objects.errors import Cause, Causes
from kapi.objects.meta import Object, hashed
from kapi.objects.quoting import go_quote
from kapi.schema import formats, numbers
from kapi.schema.structural import INT_OR_STRING, LIST_KEYS, LIST_TYPE, MAP_TYPE

ABSENT = object()
"""In place of an old value: there is none that the new one could be compared with."""
NOWHERE = "<nil>"
"""The path of an error that has none in stock."""
KINDS = {bool: "boolean", str: "string", int: "integer", float: "number", list: "array", dict: "object"}
GO_FORMATS = {int: "int64", float: "double"}


BASE = {bool: 4, str: 5, int: 6, float: 6, list: 6, dict: 5}
"""How many checks a value of a type counts for: of alternatives that all fail, stock reports the one with the most checks."""


class Found:
    """Errors so far, and the number of checks a value has passed: of several alternatives the best one is reported."""

    __slots__ = ("causes", "passed")

    def __init__(self) -> None:
        self.causes = Causes()
        self.passed = 0

    def merge(self, other: "Found") -> None:
        """Add the errors of an alternative, without duplicates."""
        self.causes += [cause for cause in other.causes if cause not in self.causes]
        self.passed += other.passed


Check = Callable[[Any, Any, str, Found], None]
"""(value, old value, path, what is found)."""


class Validator:
    """The checks of one schema, made when first needed."""

    __slots__ = ("_checks", "_nulls", "_openapi")

    def __init__(self, openapi: Object) -> None:
        self._openapi = openapi
        self._checks: dict[type, list[Check]] | None = None
        self._nulls: list[Check] = []

    def validate(self, value: Any, old: Any = ABSENT) -> list[Cause]:
        """The causes of a whole object."""
        found = Found()
        self.run(value, old, "", found)
        return found.causes

    def run(self, value: Any, old: Any, path: str, found: Found) -> None:
        if old is not ABSENT and old == value and type(old) is type(value):
            return
        if found.causes.full:
            return
        if self._checks is None:
            self._make()
        assert self._checks is not None
        for check in self._nulls if value is None else self._checks.get(type(value), ()):
            check(value, old, path, found)
        found.passed += BASE.get(type(value), 0)

    def _make(self) -> None:
        """Which checks values of each type go through, in stock's order."""
        given = self._openapi
        types = _types(given)
        typed = [_type_check(types, given.get("format") or "", bool(given.get("nullable")))] if types or given.get("format") else []
        enum = [_enum_check(given["enum"])] if given.get("enum") else []
        common: list[Check] = [*typed, *_junctors(given)]
        number = _number_checks(given, types[0] if len(types) == 1 else "")
        self._nulls = [*typed, *enum]
        self._checks = {
            bool: common + enum,
            str: common + _text_checks(given) + enum,
            int: common + number + enum,
            float: common + number + enum,
            list: common + _list_checks(given) + enum,
            dict: common + enum + _object_checks(given),
        }


def _types(given: Object) -> tuple[str, ...]:
    if given.get(INT_OR_STRING):
        return ("integer", "string")
    return (given["type"],) if given.get("type") else ()


def _field(path: str) -> str:
    return path.removeprefix(".") or NOWHERE


def _invalid(path: str, value: Any, text: str) -> Cause:
    return causes.invalid(_field(path), value, f"{path} in body {text}")


# types ------------------------------------------------------------------------------------------------------------------------------


def _type_check(types: tuple[str, ...], form: str, nullable: bool) -> Check:
    listed, numeric = ",".join(types), "number" in types or "integer" in types

    def refuse(path: str, wanted: str, got: str, found: Found) -> None:
        text = f"{path} in body must be of type {wanted}: {go_quote(got)}"
        found.causes.append(causes.type_invalid(_field(path), got, text))

    def check(value: Any, old: Any, path: str, found: Found) -> None:
        if value is None:
            if types and not nullable:
                refuse(path, listed, "null", found)
            else:
                found.passed += 1
            return
        found.passed += 1
        kind = KINDS[type(value)]
        fits = kind in types or (kind == "integer" and "number" in types)
        fits = fits or (kind == "number" and "integer" in types and numbers.whole(value))
        if not fits and form and kind not in ("string", "array") and GO_FORMATS.get(type(value), "") != form:
            refuse(path, form, GO_FORMATS.get(type(value), ""), found)
        elif not fits and not (form and not numeric and kind in ("string", "array")):
            refuse(path, listed, kind, found)
        else:
            found.passed += 1

    return check


def _compared(value: Any) -> Any:
    """A value in a form that can be looked up: true is not 1, and 1.0 is."""
    return hashed(value) if isinstance(value, list | dict) else (isinstance(value, bool), value)


def _enum_check(allowed: list[Any]) -> Check:
    """A value that is one of those; null never is. A float may be a whole number once it is cut, as Go converts it."""
    listed = ", ".join(go_quote(one if isinstance(one, str) else orjson.dumps(one).decode()) for one in allowed)
    known = set(map(_compared, allowed))

    def check(value: Any, old: Any, path: str, found: Found) -> None:
        cut = type(value) is float and _compared(int(value)) in known
        if value is None or not (cut or _compared(value) in known):
            text = f"Unsupported value: {causes.shown(value)}: supported values: {listed}"
            found.causes.append(Cause("FieldValueNotSupported", text, _field(path)))

    return check


# scalars ----------------------------------------------------------------------------------------------------------------------------


def _number_checks(given: Object, kind: str) -> list[Check]:
    bounds = numbers.bounds_check(given, kind)
    if bounds is None:
        return []

    def check(value: Any, old: Any, path: str, found: Found) -> None:
        for fault in bounds(value, path):
            field, shown = (NOWHERE, "") if fault.value is None else (_field(path), fault.value)
            found.causes.append(causes.invalid(field, shown, fault.text))

    return [check]


def _matches(pattern: str, value: str) -> bool:
    """Whether a part of the text matches; an invalid pattern matches every text."""
    try:
        return patterns.compiled(pattern).search(value) is not None
    except ValueError:
        return True


def _text_checks(given: Object) -> list[Check]:
    most, least, wanted = given.get("maxLength"), given.get("minLength"), given.get("pattern")
    known = formats.check(given.get("format") or "")

    def check(value: Any, old: Any, path: str, found: Found) -> None:
        if most is not None and len(value) > most:
            found.causes.append(causes.too_long(_field(path), most))
        elif least is not None and len(value) < least:
            found.causes.append(_invalid(path, value, f"should be at least {least} chars long"))
        elif wanted and not _matches(wanted, value):
            found.causes.append(_invalid(path, value, f"should match '{wanted}'"))

    def check_format(value: Any, old: Any, path: str, found: Found) -> None:
        assert known is not None
        found.passed += 1
        if known(value):
            return
        text = f"{path} in body must be of type {given['format']}: {go_quote(value)}"
        found.causes.append(causes.type_invalid(_field(path), value, text))

    bounded = most is not None or least is not None or wanted
    return [*([check] if bounded else []), *([check_format] if known else [])]


# lists and objects ------------------------------------------------------------------------------------------------------------------


def _list_checks(given: Object) -> list[Check]:
    item = Validator(given["items"]) if isinstance(given.get("items"), dict) else None
    least, most = given.get("minItems"), given.get("maxItems")
    keys = given.get(LIST_KEYS) or [] if given.get(LIST_TYPE) == "map" else []

    def check(value: Any, old: Any, path: str, found: Found) -> None:
        before = by_keys(old, keys) if keys and type(old) is list else {}
        for at, one in enumerate(value) if item else ():
            was = before.get(keys_of(one, keys), ABSENT) if before else ABSENT
            item.run(one, was, f"{path}[{at}]", found)  # type: ignore[union-attr]
        if least is not None and len(value) < least:
            found.causes.append(_invalid(path, len(value), f"should have at least {least} items"))
        if most is not None and len(value) > most:
            found.causes.append(causes.too_many(_field(path), len(value), most))

    return [check] if item or least is not None or most is not None else []


def keys_of(item: Any, keys: Iterable[str]) -> str:
    """What names an item of a list that is a map."""
    return orjson.dumps([item.get(key) for key in keys]).decode() if isinstance(item, dict) else ""


def by_keys(items: list[Any], keys: list[str]) -> dict[str, Any]:
    return {keys_of(item, keys): item for item in items}


def _object_checks(given: Object) -> list[Check]:
    fields = {name: Validator(part) for name, part in (given.get("properties") or {}).items()}
    more = given.get("additionalProperties")
    rest = Validator(more) if isinstance(more, dict) else None
    needed, atomic = given.get("required") or (), given.get(MAP_TYPE) == "atomic"
    least, most = given.get("minProperties"), given.get("maxProperties")

    def check(value: Any, old: Any, path: str, found: Found) -> None:
        if least is not None and len(value) < least:
            found.causes.append(_invalid(path, len(value), f"should have at least {least} properties"))
            return
        if most is not None and len(value) > most:
            found.causes.append(causes.too_many(_field(path), len(value), most))
            return
        before = old if type(old) is dict and not atomic else {}
        for name in value:
            if rest is not None and name not in fields:
                rest.run(value[name], before.get(name, ABSENT), f"{path}.{name}", found)
        for name, field in fields.items():
            if name in value:
                field.run(value[name], before.get(name, ABSENT), f"{path}.{name}" if path else name, found)
        found.causes += [causes.required(f"{path}.{name}".removeprefix(".")) for name in needed if name not in value]

    return [check] if fields or rest or needed or least is not None or most is not None else []


# junctors ---------------------------------------------------------------------------------------------------------------------------


def _junctors(given: Object) -> list[Check]:
    every = {field: [Validator(part) for part in given.get(field) or ()] for field in ("anyOf", "oneOf", "allOf")}
    excluded = Validator(given["not"]) if isinstance(given.get("not"), dict) else None
    if not any(every.values()) and excluded is None:
        return []

    def check(value: Any, old: Any, path: str, found: Found) -> None:
        def say(text: str) -> None:
            found.causes.append(causes.invalid(NOWHERE, "", f"{go_quote(path)} must {text}"))

        results = {field: [_tried(part, value, path) for part in parts] for field, parts in every.items()}
        if results["anyOf"]:
            good = [result for result in results["anyOf"] if not result.causes]
            if not good:
                say("validate at least one schema (anyOf)")
            found.merge(good[0] if good else _best(results["anyOf"]))
        if results["oneOf"]:
            _one_of(results["oneOf"], found, say)
        for result in results["allOf"]:
            found.merge(result)
        if failed := sum(bool(result.causes) for result in results["allOf"]):
            say("validate all the schemas (allOf)" + (". None validated" if failed == len(results["allOf"]) else ""))
        if excluded is not None and not _tried(excluded, value, path).causes:
            say("not validate the schema (not)")

    return [check]


def _one_of(results: list[Found], found: Found, say: Callable[[str], None]) -> None:
    good = [result for result in results if not result.causes]
    if len(good) == 1:
        found.merge(good[0])
        return
    how = f"Found {len(good)} valid alternatives" if good else "Found none valid"
    say(f"validate one and only one schema (oneOf). {how}")
    if not good:
        found.merge(_best(results))


def _tried(part: Validator, value: Any, path: str) -> Found:
    found = Found()
    part.run(value, ABSENT, path, found)
    return found


def _best(results: list[Found]) -> Found:
    """The first of those that passed most checks."""
    return max(results, key=lambda result: result.passed)
