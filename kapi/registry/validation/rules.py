"""`Errors`, a list of causes with the rules of single values; selectors; columns and cells of tables.

`e.enum("spec.type", "x", ("A", "B"))` adds the cause of stock. Order matters: causes are answered in the order they were found.
Rules of a field are in kapi.registry.validation.part, which shows how a kind is added.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import orjson

from kapi import limits
from kapi.cel.types import DYN, Environment, Type
from kapi.objects import causes, duration, integers, names
from kapi.objects.errors import Cause, Causes
from kapi.objects.meta import Object
from kapi.objects.quoting import go_quote
from kapi.registry.strategy import AGE_COLUMN, NAME_COLUMN, Column

IMMUTABLE = "field is immutable"
PROTOCOLS = ("TCP", "UDP", "SCTP")


class Errors(Causes):
    """Causes in order; every method adds at most what its rule finds."""

    def required(self, field: str, detail: str = "") -> None:
        self.append(causes.required(field, detail))

    def invalid(self, field: str, value: Any, detail: str) -> None:
        self.append(causes.invalid(field, value, detail))

    def forbidden(self, field: str, detail: str = "") -> None:
        self.append(causes.forbidden(field, detail))

    def internal(self, field: str, detail: str) -> None:
        self.append(causes.internal(field, detail))

    def duplicate(self, field: str, value: Any) -> None:
        self.append(causes.duplicate(field, value))

    def not_found(self, field: str, value: Any) -> None:
        self.append(causes.not_found(field, value))

    def omitted(self, field: str, detail: str) -> None:
        """Invalid, in the few places where stock does not show the value."""
        self.append(Cause("FieldValueInvalid", f"Invalid value: {detail}", field))

    def too_long(self, field: str, limit: int) -> None:
        self.append(causes.too_long(field, limit))

    def too_many(self, field: str, actual: int, limit: int) -> None:
        self.append(causes.too_many(field, actual, limit))

    def unsupported(self, field: str, value: Any, allowed: Iterable[str], *, sort: bool = True) -> None:
        """`sort=False`: the few places where stock lists the values in its own order."""
        if sort:
            self.append(causes.not_supported(field, value, allowed))
        else:
            listed = ", ".join(go_quote(v) for v in allowed)
            self.append(Cause("FieldValueNotSupported", f"Unsupported value: {causes.shown(value)}: supported values: {listed}", field))

    def need(self, field: str, value: Any, detail: str = "") -> bool:
        """Required: adds a cause and returns False when the value is empty."""
        if value:
            return True
        self.required(field, detail)
        return False

    def enum(self, field: str, value: Any, allowed: Sequence[str], need: str | None = None, *, sort: bool = True) -> bool:
        """One of `allowed`; with `need`, nothing at all is "Required value: <need>"."""
        if value in allowed:
            return True
        if need is not None and not value:
            self.required(field, need)
        else:
            self.unsupported(field, value or "", allowed, sort=sort)
        return False

    def text(self, field: str, value: str, check: Callable[[str], list[str]]) -> bool:
        """A check of kapi.objects.names."""
        messages = check(value)
        for message in messages:
            self.invalid(field, value, message)
        return not messages

    def named(self, field: str, value: str, check: Callable[[str], list[str]], detail: str = "") -> bool:
        """Required and checked."""
        return self.need(field, value, detail) and self.text(field, value, check)

    def between(self, field: str, value: int, low: int, high: int) -> bool:
        if low <= value <= high:
            return True
        self.invalid(field, value, f"must be between {low} and {high}, inclusive")
        return False

    def immutable(self, field: str, new: Any, old: Any) -> bool:
        if same(new, old):
            return True
        self.invalid(field, new, IMMUTABLE)
        return False

    def unique(self, field: str, value: Any, seen: set[Any]) -> bool:
        """Duplicate when seen before, else remembered."""
        if value in seen:
            self.duplicate(field, value)
            return False
        seen.add(value)
        return True

    def expression(self, field: str, text: str, environment: Environment | dict[str, Type], *returns: str) -> Type:
        """A CEL expression over the environment's variables with one of the types `returns`. Returns its type."""
        from kapi.cel import checking  # only servers that are given expressions load CEL

        fault, kind = checking.check(text, environment, returns)
        if fault:
            self.invalid(field, text, fault)
        return kind or DYN

    def qualified(self, field: str, value: str) -> bool:
        return self.text(field, value, names.qualified_name)


_MAPS = frozenset(("labels", "annotations", "matchLabels", "nodeSelector", "limits", "requests", "overhead", "volumeAttributes", "options"))
"""Fields that are maps: an empty one is none. Of structures an empty one is something."""


def same(a: Any, b: Any, name: str = "") -> bool:
    """Equal as stock compares: nothing, an empty text, an empty list and an empty map (of one of these names) are alike."""
    if isinstance(a, dict) and isinstance(b, dict):
        return all(same(a.get(k), b.get(k), k) for k in {*a, *b})
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b) or (_blank(a, name) and _blank(b, name))


def _blank(value: Any, name: str) -> bool:
    return value is None or value in ("", []) or (value == {} and name in _MAPS)


def amount(value: int | str | None) -> int:
    """The number in 3, "3" and "30%"; 0 for what is none of them."""
    if isinstance(value, str):
        return integers.parse(value.rstrip("%")) if re.fullmatch("[0-9]+%|[+-]?[0-9]+", value) else 0
    return value or 0


def each(at: str, part: Object, name: str) -> Iterator[tuple[str, Any]]:
    """The items of a list with their paths: ("spec.ports[0]", {...}); `at` is '' for a whole object."""
    path = f"{at}.{name}" if at else name
    for i, item in enumerate(part.get(name) or ()):
        yield f"{path}[{i}]", item


def labels(e: Errors, field: str, values: Mapping[str, str] | None) -> None:
    """A map of labels: keys and values, both reported at the map's own path."""
    for key, value in (values or {}).items():
        e.text(field, key, names.label_key)
        e.text(field, value, names.label_value)


def label_selector(e: Errors, field: str, selector: Object | None, *, values: bool = True) -> None:
    """A metav1.LabelSelector; `values=False` leaves the values of expressions unchecked (old objects may carry bad ones)."""
    if not selector:
        return
    labels(e, f"{field}.matchLabels", selector.get("matchLabels"))
    for i, part in enumerate(selector.get("matchExpressions") or ()):
        requirement(e, f"{field}.matchExpressions[{i}]", part, values=values)


def requirement(e: Errors, field: str, part: Object, *, values: bool = True, numbers: bool = False) -> None:
    """One expression of a selector; `numbers`: nodes may also be chosen by more (Gt) or less (Lt) than a number."""
    operator, listed = part.get("operator") or "", part.get("values") or ()
    if operator in ("In", "NotIn"):
        e.need(f"{field}.values", listed, "must be specified when `operator` is 'In' or 'NotIn'")
    elif operator in ("Exists", "DoesNotExist"):
        if listed:
            e.forbidden(f"{field}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
    elif numbers and operator in ("Gt", "Lt"):
        if len(listed) != 1:
            e.required(f"{field}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'")
    else:
        e.invalid(f"{field}.operator", operator, "not a valid selector operator")
    e.text(f"{field}.key", part.get("key") or "", names.label_key)
    for i, value in enumerate(listed if values else ()):
        e.text(f"{field}.values[{i}]", value, names.label_value)


def node_selector(e: Errors, field: str, selector: Object) -> None:
    """A core/v1 NodeSelector (node affinity of pods, volumes and slices)."""
    terms = selector.get("nodeSelectorTerms") or ()
    e.need(f"{field}.nodeSelectorTerms", terms, "must have at least one node selector term")
    for i, term in enumerate(terms):
        node_selector_term(e, f"{field}.nodeSelectorTerms[{i}]", term)


def node_selector_term(e: Errors, field: str, term: Object, *, values: bool = True) -> None:
    """One of its terms; `values`: whether label values are validated, which stock does not do for preferences."""
    for i, part in enumerate(term.get("matchExpressions") or ()):
        requirement(e, f"{field}.matchExpressions[{i}]", part, values=values, numbers=True)
    for i, part in enumerate(term.get("matchFields") or ()):
        _field_requirement(e, f"{field}.matchFields[{i}]", part)


def _field_requirement(e: Errors, field: str, part: Object) -> None:
    operator, listed, key = part.get("operator") or "", part.get("values") or [], part.get("key") or ""
    if operator not in ("In", "NotIn"):
        e.invalid(f"{field}.operator", operator, "not a valid selector operator")
    elif len(listed) != 1:
        e.required(f"{field}.values", "must be only one value when `operator` is 'In' or 'NotIn' for node field selector")
    if key != "metadata.name":
        e.invalid(f"{field}.key", key, "not a valid field selector key")
        return
    for i, value in enumerate(listed):
        e.text(f"{field}.values[{i}]", value, names.dns_subdomain)


def age(obj: Object, now: float) -> str:
    """What an Age cell holds."""
    return duration.since(obj["metadata"].get("creationTimestamp"), now)


def value_at(obj: Object, path: str) -> Any:
    """The value of the field at a path like "spec.nodeName"; None when it or an object on the way is absent."""
    value: Any = obj
    for step in path.split("."):
        value = (value or {}).get(step)
    return value


def selectable(*paths: str) -> dict[str, Callable[[Object], str]]:
    """Field selectors named after the fields they compare, for `Strategy.fields`: the text at each path."""
    return {path: partial(_text_at, path) for path in paths}


def _text_at(path: str, obj: Object) -> str:
    return value_at(obj, path) or ""


def columns(*titles: str, of: str = "") -> tuple[Column, ...]:
    """Columns by title: "Data#" is an integer, "Suspend!" a boolean, "Selector+" shows with -o wide only; Name and Age are the usual ones.

    The path of the field that the cell shows may follow, with what is shown without it: "Zone@spec.timeZone|<none>". Then what
    describes the column: a field, "Data=core.v1.ConfigMap.data", or a text, "Roles: The roles of the node"; without either
    the field at the path in the type `of`, "core.v1.Node".
    """
    known = {"Name": NAME_COLUMN, "Age": AGE_COLUMN}
    return tuple(known.get(title) or _column(title, of) for title in titles)


def _column(title: str, of: str) -> Column:
    title, _, text = title.partition(": ")
    title, _, source = title.partition("=")
    title, _, path = title.partition("@")
    path, _, absent = path.partition("|")
    name = title.rstrip("+#!")
    type = "integer" if "#" in title else "boolean" if "!" in title else "string"
    format = "name" if name == "Name" else ""
    if of and path and not source and not text:
        source = f"{of}:{path}"
    return Column(name, type, text or f"{name} of the object.", int("+" in title), format, source, path, absent)


def field_cell(column: Column, obj: Object) -> Any:
    """The cell of a column with a path: of a list or a map in a column of integers the number of items."""
    value = value_at(obj, column.path)
    if column.type == "integer":
        return value if isinstance(value, int) else len(value or ())
    return shown(value, column.absent)


def label_cell(values: dict[str, str] | None) -> str:
    """Labels or a selector of labels: 'a=b,c=d'."""
    return ",".join(f"{key}={values[key]}" for key in sorted(values)) if values else "<none>"


def selector_cell(selector: Object | None) -> str:
    """A LabelSelector as text: 'a=b,c in (d,e),!f', '<none>' for the empty one."""
    parts = [(key, f"{key}={value}") for key, value in ((selector or {}).get("matchLabels") or {}).items()]
    for part in (selector or {}).get("matchExpressions") or ():
        key, values = part.get("key") or "", ",".join(sorted(part.get("values") or ()))
        forms = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "DoesNotExist": f"!{key}"}
        parts.append((key, forms.get(part.get("operator") or "", key)))
    return ",".join(text for _, text in sorted(parts, key=lambda part: part[0])) or "<none>"


def shown(value: Any, default: str = "<none>") -> str:
    """A cell: lists joined by commas, booleans in lower case, nothing as `default`."""
    if value is None or value in ("", []):
        return default
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, list) else str(value)


def difference(old: Any, new: Any) -> str:
    """The tail of a message that shows what changed: a line feed and the changed lines of both as JSON."""
    texts = [orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).splitlines() for value in (old, new)]
    first = next((i for i, (a, b) in enumerate(zip(*texts, strict=False)) if a != b), min(map(len, texts)))
    before = max(0, first - _AROUND)
    mine, theirs = ([causes.shortened(line) for line in text[before : first + limits.DIFFERENCE_LINES]] for text in texts)
    hunks = (_moved(line, before) for line in difflib.unified_diff(mine, theirs, n=_AROUND, lineterm=""))
    return "\n" + causes.shortened("\n".join(list(hunks)[2:]).encode()) + "\n"


_AROUND = 3
"""Unchanged lines shown around changed ones."""


def _moved(line: str, by: int) -> str:
    """A line of a difference; what says where a hunk begins counts so many lines before."""
    return re.sub(r"([-+])(\d+)", lambda found: f"{found[1]}{int(found[2]) + by}", line) if line.startswith("@@") else line
