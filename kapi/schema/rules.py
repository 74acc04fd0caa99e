"""x-kubernetes-validations: the rules a schema has for its values, checked on the objects, and whether the rules themselves are good.

`of(openapi)` gives the Rules of a custom resource's schema, None without any: then nothing of CEL is loaded. What no rule sees (types,
required fields) is checked before, by others. Source: the apiextensions API server's CEL validation (v1.36).
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from kapi import limits
from kapi.objects import causes
from kapi.objects.errors import Cause, Causes
from kapi.objects.meta import Object

if TYPE_CHECKING:
    from kapi.cel.declaring import Adapter
    from kapi.cel.evaluating import Program


RULES = "x-kubernetes-validations"
_OUT = "validation failed due to running out of cost budget, no further validation rules will be run"
_OUT_OF_MESSAGE = "messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run"
_LONGEST_MESSAGE = 5 * 1024
_SOME = 4096
"""More items than an object has that is worked on in the event loop."""


class OutOfBudget(Exception):
    """No further rules are run."""


class _Rule(NamedTuple):
    """A compiled rule of a node."""

    raw: Object
    program: "Program"
    message: "Program | None"
    transition: bool
    """It speaks of oldSelf."""
    path: str
    """What fieldPath adds: '.spec.x'."""


class _Run:
    """One validation: what was found, what may still be spent."""

    def __init__(self) -> None:
        self.causes = Causes()
        self.warnings: list[str] = []
        self.left = limits.RULES_COST

    def pay(self, cost: int, at: str, text: str = _OUT) -> None:
        if cost > self.left:
            self.stop(at, text)
        self.left -= cost

    def stop(self, at: str, text: str) -> None:
        self.causes.append(causes.wrong(_shown(at), text))
        raise OutOfBudget


def _shown(at: str) -> str:
    return at.removeprefix(".") or "<nil>"


class Related(NamedTuple):
    """A new value with the old one it is related to; `parent` where there is none: the nearest that could be related."""

    new: Any
    old: Any = None
    parent: "Related | None" = None

    def same(self) -> bool:
        """Whether what the value breaks, the old one broke too."""
        if self.old is not None:
            return bool(self.new == self.old)
        return self.parent is not None and self.parent.same()

    def child(self, new: Any, old: Any) -> "Related":
        """That of a part; header fields are told apart by the caller."""
        return Related(new, old, self if self.old is not None else self.parent)


class Rules:
    """The rules of a node and of what lies below it."""

    def __init__(self, node: Object, spine: Object, root: bool) -> None:
        from kapi.cel import declaring  # only servers whose kinds have rules load CEL

        self.keys = tuple(spine.get("x-kubernetes-list-map-keys") or ()) if spine.get("x-kubernetes-list-type") == "map" else ()
        self.adapter: Adapter | None = None
        self.own: list[_Rule] = []
        if node.get(RULES):
            self.adapter = declaring.adapter(spine)
            self.own = list(_compiled(node[RULES], spine, root))
        self.fields = {key: found for key, part in (node.get("properties") or {}).items() if (found := _below(part, _field(spine, key)))}
        self.items = _below(node.get("items"), spine.get("items"))
        self.values = _below(node.get("additionalProperties"), spine.get("additionalProperties"))
        self.all = [found for part in node.get("allOf") or () if (found := _below(part, spine, root=root))]
        self.worst = self._worst(spine)
        """What they may cost for an object of no unusual size."""

    def _worst(self, spine: Object) -> int:
        cost = sum(rule.program.code.worst for rule in self.own)
        cost += sum(part.worst for part in (*self.fields.values(), *self.all))
        for part, most in ((self.items, spine.get("maxItems")), (self.values, spine.get("maxProperties"))):
            if part is not None:
                cost += part.worst * (_SOME if most is None else most)
        return cost

    @property
    def empty(self) -> bool:
        return not (self.own or self.fields or self.items or self.values or self.all)

    def validate(self, new: Object, old: Object | None, warnings: list[str] | None = None) -> list[Cause]:
        """The causes of rules that do not hold. What an unchanged part breaks is only warned of."""
        run = _Run()
        with suppress(OutOfBudget):
            self._check(run, "", Related(new, old), top=True)
        if warnings is not None:
            warnings += run.warnings
        return run.causes

    def _check(self, run: _Run, at: str, related: Related, *, top: bool = False, ratchets: bool = True) -> None:
        new = related.new
        if new is None:
            return
        if self.own:
            self._check_own(run, at, related, ratchets)
        for part in self.all:
            part._check(run, at, related, top=top, ratchets=False)
        if isinstance(new, list):
            self._check_items(run, at, related)
        elif isinstance(new, dict):
            self._check_fields(run, at, related, top)

    def _check_fields(self, run: _Run, at: str, related: Related, top: bool) -> None:
        before = related.old if isinstance(related.old, dict) else {}
        for key, value in related.new.items():
            if self.values is None and key not in self.fields:
                continue
            inner = Related(value) if top and key in ("apiVersion", "kind") else related.child(value, before.get(key))
            if self.values is not None:
                self.values._check(run, f"{at}[{key}]", inner)
            if key in self.fields:
                self.fields[key]._check(run, f"{at}.{key}", inner)

    def _check_items(self, run: _Run, at: str, related: Related) -> None:
        """Only the items of map lists have old ones."""
        if self.items is None:
            return
        known = {}
        if self.keys and isinstance(related.old, list):
            known = {_key(item, self.keys): item for item in related.old if isinstance(item, dict)}
        for i, item in enumerate(related.new):
            old = known.get(_key(item, self.keys)) if isinstance(item, dict) else None
            self.items._check(run, f"{at}[{i}]", related.child(item, old))

    def _check_own(self, run: _Run, at: str, related: Related, ratchets: bool) -> None:
        if run.left <= 0:
            run.stop(_shown(at), _OUT)
        value = self.adapter(related.new) if self.adapter else related.new
        old = self.adapter(related.old) if self.adapter and related.old is not None else related.old
        for rule in self.own:
            optional = bool(rule.raw.get("optionalOldSelf"))
            if rule.transition and old is None and not optional:
                continue
            cause = _verdict(run, rule, at, {"self": value, "oldSelf": _optional(old) if optional else old})
            if cause is None:
                continue
            if not rule.transition and ratchets and related.same():
                run.warnings.append(f"{cause.field}: {cause.message}")
            else:
                run.causes.append(cause)


def _optional(old: Any) -> Any:
    from kapi.cel.values import NONE, Optional  # loaded already where there are rules

    return NONE if old is None else Optional(True, old)


def _key(item: Object, keys: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(item.get(key) for key in keys)


def _field(spine: Object, key: str) -> Any:
    return (spine.get("properties") or {}).get(key)


def _below(node: Any, spine: Any, *, root: bool = False) -> Rules | None:
    """The rules of a part; None without any, or where the schema has no such part."""
    if not isinstance(node, dict) or not isinstance(spine, dict):
        return None
    made = Rules(node, spine, root or bool(spine.get("x-kubernetes-embedded-resource")))
    return None if made.empty else made


def _verdict(run: _Run, rule: _Rule, at: str, given: Object) -> Cause | None:
    """What is wrong with a value; None when the rule holds."""
    outcome = rule.program.run(given)
    run.pay(outcome.cost, at)
    told = (rule.raw.get("message") or rule.raw["rule"]).strip()
    if outcome.error is not None:
        error = str(outcome.error)
        if error.startswith("operation cancelled: actual cost limit exceeded"):
            run.stop(at, f"'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {told}")
        if error.startswith("no such overload"):
            why = f"'{error}': call arguments did not match a supported operator, function or macro signature for rule: {told}"
            return causes.wrong(_shown(at), why)
        return causes.wrong(_shown(at), f"{error} evaluating rule: {told}")
    if outcome.value is True:
        return None
    field = _shown(at + rule.path)
    detail = rule.message and _message(run, rule.message, field, given)
    return _refusal(rule.raw.get("reason"), field, detail or (told if rule.raw.get("message") else f"failed rule: {told}"))


def _message(run: _Run, program: "Program", at: str, given: Object) -> str:
    """What messageExpression says; '' where that cannot be used."""
    outcome = program.run(given)
    run.pay(outcome.cost, at, _OUT_OF_MESSAGE)
    text = outcome.value.strip() if isinstance(outcome.value, str) else ""
    return text if len(text.encode()) <= _LONGEST_MESSAGE and "\n" not in text else ""


def _refusal(reason: str | None, field: str, detail: str) -> Cause:
    if reason == "FieldValueForbidden":
        return causes.forbidden(field, detail)
    if reason == "FieldValueRequired":
        return causes.required(field, detail)
    if reason == "FieldValueDuplicate":
        return Cause("FieldValueDuplicate", "Duplicate value", field)
    return causes.wrong(field, detail)


def _compiled(rules: list[Object], spine: Object, root: bool) -> Iterator[_Rule]:
    """The rules of a node, as far as they can be compiled: definitions with others are refused."""
    from kapi.cel import compiling, declaring  # see Rules

    found = declaring.declared(spine, root=root)
    if found is None:
        return
    for raw in rules:
        known = variables(raw, found.type)
        try:
            program = compiling.compiled(raw["rule"], known)
            message = compiling.compiled(raw["messageExpression"], known) if raw.get("messageExpression") else None
        except compiling.CompilationError:
            continue
        path = raw.get("fieldPath") or ""
        yield _Rule(raw, program, message, "oldSelf" in program.used, path)


def variables(raw: Object, kind: Any) -> dict[str, Any]:
    """What a rule may speak of."""
    from kapi.cel import types  # see Rules

    return {"self": kind, "oldSelf": types.optional_of(kind) if raw.get("optionalOldSelf") else kind}


def parts(openapi: Object) -> Iterator[Object]:
    """The schema and all below it."""
    yield openapi
    inner = (*(openapi.get("properties") or {}).values(), openapi.get("items"), openapi.get("additionalProperties"))
    for part in (*inner, *(openapi.get("allOf") or ())):
        if isinstance(part, dict):
            yield from parts(part)


def of(openapi: Object) -> Rules | None:
    """The rules of a custom resource's schema; None when it has none."""
    return Rules(openapi, openapi, True) if any(part.get(RULES) for part in parts(openapi)) else None
