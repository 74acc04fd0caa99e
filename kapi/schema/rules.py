"""x-kubernetes-validations: evaluates the CEL rules of a schema on objects.

`of(openapi)` gives the Rules of a custom resource's schema, None without any: then nothing of CEL is loaded. Types and
required fields are validated before, in kapi.schema.values. Source: the apiextensions API server's CEL validation (v1.36).
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from kapi import limits
from kapi.objects import causes
from kapi.objects.errors import Cause, Causes
from kapi.objects.meta import Object
from kapi.objects.quoting import go_quote

if TYPE_CHECKING:
    from kapi.cel.declaring import Adapter
    from kapi.cel.evaluating import Program


RULES = "x-kubernetes-validations"
_OUT = "validation failed due to running out of cost budget, no further validation rules will be run"
_OUT_OF_MESSAGE = "messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run"
_COSTLY_MESSAGE = "no further validation rules will be run due to call cost exceeds limit for messageExpression: "
_CANCELLED = "operation cancelled: actual cost limit exceeded"
_LONGEST_MESSAGE = 5 * 1024
_SOME = 4096
"""More items than an object has that is validated in the event loop."""


class OutOfBudget(Exception):
    """No further rules are run."""


class _Rule(NamedTuple):
    """A compiled rule of a node."""

    raw: Object
    program: "Program"
    message: "Program | None"
    transition: bool
    """It uses oldSelf."""
    path: str
    """The path that fieldPath adds: '.spec.x'."""


class Budget:
    """The CEL cost units that several validations share."""

    def __init__(self) -> None:
        self.remaining = limits.RULES_COST


class _Run:
    """One validation: its causes and warnings, and the remaining budget."""

    def __init__(self, budget: Budget) -> None:
        self.causes = Causes()
        self.warnings: list[str] = []
        self.budget = budget

    def charge(self, cost: int, at: "_At", text: str = _OUT) -> None:
        if cost > self.budget.remaining:
            self.stop(at, text)
        self.budget.remaining -= cost

    def stop(self, at: "_At", text: str) -> None:
        self.causes.append(at.wrong(text))
        self.budget.remaining = -1
        raise OutOfBudget


class _At(NamedTuple):
    """Where a rule is evaluated: the path, and the type in the schema."""

    path: str
    kind: str

    @property
    def field(self) -> str:
        return self.path.removeprefix(".") or "<nil>"

    def wrong(self, detail: str) -> Cause:
        """A rule that could not be evaluated; stock shows the type in place of the value."""
        return causes.invalid(self.field, self.kind, detail)

    def refused(self, value: Any, reason: str | None, detail: str) -> Cause:
        """The cause of a rule that is false; objects and lists are not shown."""
        if reason == "FieldValueForbidden":
            return causes.forbidden(self.field, detail)
        if reason == "FieldValueRequired":
            return causes.required(self.field, detail)
        hidden = self.kind in ("object", "array")
        if reason == "FieldValueDuplicate":
            return Cause(reason, "Duplicate value", self.field) if hidden else causes.duplicate(self.field, value)
        return causes.wrong(self.field, detail) if hidden else causes.invalid(self.field, value, detail)


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
        """The rules of a field or item; callers handle header fields themselves."""
        return Related(new, old, self if self.old is not None else self.parent)


class Rules:
    """The rules of a node and of what lies below it."""

    def __init__(self, node: Object, spine: Object, root: bool) -> None:
        from kapi.cel import declaring  # only servers whose kinds have rules load CEL

        self.keys = tuple(spine.get("x-kubernetes-list-map-keys") or ()) if spine.get("x-kubernetes-list-type") == "map" else ()
        self.kind: str = spine.get("type") or ""
        self.adapter: Adapter | None = None
        self.own: list[_Rule] = []
        if node.get(RULES):
            self.adapter = declaring.adapter(spine)
            self.own = list(_compiled(node[RULES], spine, root))
        self.fields = {key: found for key, part in (node.get("properties") or {}).items() if (found := _below(part, _field(spine, key)))}
        self.items = _below(node.get("items"), spine.get("items"))
        self.values = _below(node.get("additionalProperties"), spine.get("additionalProperties"))
        self.all = [found for part in node.get("allOf") or () if (found := _below(part, spine, root=root))]
        self.max_cost = self._worst(spine)
        """What they may cost for an object of no unusual size."""

    def _worst(self, spine: Object) -> int:
        cost = sum(rule.program.code.max_cost for rule in self.own)
        cost += sum(part.max_cost for part in (*self.fields.values(), *self.all))
        for part, most in ((self.items, spine.get("maxItems")), (self.values, spine.get("maxProperties"))):
            if part is not None:
                cost += part.max_cost * (_SOME if most is None else most)
        return cost

    @property
    def empty(self) -> bool:
        return not (self.own or self.fields or self.items or self.values or self.all)

    def validate(
        self, new: Any, old: Any, warnings: list[str] | None = None, budget: Budget | None = None, *, ratchets: bool = True
    ) -> list[Cause]:
        """The causes of rules that do not hold. What an unchanged part breaks is only warned of, when it `ratchets`."""
        run = _Run(budget or Budget())
        with suppress(OutOfBudget):
            self._check(run, "", Related(new, old), top=True, ratchets=ratchets)
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
            self._check_items(run, at, related, ratchets)
        elif isinstance(new, dict):
            self._check_fields(run, at, related, top, ratchets)

    def _check_fields(self, run: _Run, at: str, related: Related, top: bool, ratchets: bool) -> None:
        before = related.old if isinstance(related.old, dict) else {}
        for key, value in related.new.items():
            if self.values is None and key not in self.fields:
                continue
            inner = Related(value) if top and key in ("apiVersion", "kind") else related.child(value, before.get(key))
            if self.values is not None:
                self.values._check(run, f"{at}[{key}]", inner, ratchets=ratchets)
            if key in self.fields:
                self.fields[key]._check(run, f"{at}.{key}", inner, ratchets=ratchets)

    def _check_items(self, run: _Run, at: str, related: Related, ratchets: bool) -> None:
        """Only the items of map lists have old ones."""
        if self.items is None:
            return
        known = {}
        if self.keys and isinstance(related.old, list):
            known = {_key(item, self.keys): item for item in related.old if isinstance(item, dict)}
        for i, item in enumerate(related.new):
            old = known.get(_key(item, self.keys)) if isinstance(item, dict) else None
            self.items._check(run, f"{at}[{i}]", related.child(item, old), ratchets=ratchets)

    def _check_own(self, run: _Run, at: str, related: Related, ratchets: bool) -> None:
        if run.budget.remaining <= 0:
            run.stop(_At(at, self.kind), _OUT)
        value = self.adapter(related.new) if self.adapter else related.new
        old = self.adapter(related.old) if self.adapter and related.old is not None else related.old
        for rule in self.own:
            optional = bool(rule.raw.get("optionalOldSelf"))
            if rule.transition and old is None and not optional:
                continue
            activation = {"self": value, "oldSelf": _optional(old) if optional else old}
            cause = _evaluate(run, rule, _At(at, self.kind), related.new, activation)
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


def _evaluate(run: _Run, rule: _Rule, at: _At, value: Any, activation: Object) -> Cause | None:
    """Evaluate a rule on a value; None when it is true."""
    outcome = rule.program.run(activation)
    run.charge(outcome.cost, at)
    message = (rule.raw.get("message") or rule.raw["rule"]).strip()
    if outcome.error is not None:
        error = str(outcome.error)
        if error.startswith(_CANCELLED):
            run.stop(at, f"'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {message}")
        if error.startswith("no such overload"):
            unmatched = "call arguments did not match a supported operator, function or macro signature"
            return at.wrong(f"'{error}': {unmatched} for rule: {message}")
        return at.wrong(f"{error} evaluating rule: {message}")
    if outcome.value is True:
        return None
    there = _At(at.path + rule.path, at.kind)
    detail = rule.message and _message(run, rule, there, activation)
    return there.refused(value, rule.raw.get("reason"), detail or (message if rule.raw.get("message") else f"failed rule: {message}"))


def _message(run: _Run, rule: _Rule, at: _At, activation: Object) -> str:
    """The value of messageExpression, '' where it is unusable."""
    assert rule.message is not None
    outcome = rule.message.run(activation)
    run.charge(outcome.cost, at, _OUT_OF_MESSAGE)
    if outcome.error is not None and str(outcome.error).startswith(_CANCELLED):
        run.stop(at, _COSTLY_MESSAGE + go_quote(rule.raw["messageExpression"]))
    text = outcome.value.strip() if isinstance(outcome.value, str) else ""
    return text if len(text.encode()) <= _LONGEST_MESSAGE and "\n" not in text else ""


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
    """The variables of a rule."""
    from kapi.cel import types  # see Rules

    return {"self": kind, "oldSelf": types.optional_of(kind) if raw.get("optionalOldSelf") else kind}


def parts(openapi: Object) -> Iterator[Object]:
    """The schema and all below it."""
    yield openapi
    inner = (*(openapi.get("properties") or {}).values(), openapi.get("items"), openapi.get("additionalProperties"))
    for part in (*inner, *(openapi.get("allOf") or ())):
        if isinstance(part, dict):
            yield from parts(part)


def of(openapi: Object, *, root: bool = True) -> Rules | None:
    """The rules of a schema, of a whole custom resource or (`root` false) of a part; None when it has none."""
    return Rules(openapi, openapi, root) if any(part.get(RULES) for part in parts(openapi)) else None
