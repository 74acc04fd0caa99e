"""Admission policies and their bindings, validating and mutating. Expressions are compiled."""

import re
from typing import Any

from kapi.objects import names
from kapi.objects.errors import Cause
from kapi.registry.kinds import rules, webhooks
from kapi.registry.kinds.rules import Errors
from kapi.registry.strategy import Strategy
from kapi.schema.cel import admission
from kapi.schema.cel.types import Environment, Type

Object = dict[str, Any]

REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized")
SHOWN_REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge")
NOT_GIVEN = "expression is not specified"
SOMETHING = "validations or auditAnnotations must contain at least one item"
BOTH_WAYS = (
    "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers "
    "serves no purpose)"
)
EXCLUSIVE = "name and selector are mutually exclusive"
_IDENTIFIER = re.compile("[_a-zA-Z][_a-zA-Z0-9]*")
CEL_WORDS = frozenset(("true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let",
                       "loop", "package", "namespace", "return", "var", "void", "while"))  # fmt: skip


MUTATIONS = {"ApplyConfiguration": "Object", "JSONPatch": "list(JSONPatch)"}
"""What the expression of each kind of patch is worth."""


class ValidatingPolicyStrategy(Strategy):
    """ValidatingAdmissionPolicy."""

    loose_finalizers = True
    unconditional_update = False
    columns = rules.columns(
        "Name", "Validations#: Validations indicates the number of validation rules defined in this configuration",
        "ParamKind: ParamKind specifies the kind of resources used to parameterize this policy", "Age",
    )  # fmt: skip

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("failurePolicy", "Fail")
        default_resources(spec.get("matchConstraints"))
        obj.setdefault("status", {})

    def prepare(self, new: Object, old: Object | None) -> None:
        new["status"] = (old or {}).get("status") or {}

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        spec, name = new["spec"], new["metadata"].get("name") or ""
        known = policy_frame(e, spec)
        checks, notes = spec.get("validations") or [], spec.get("auditAnnotations") or []
        if not checks and not notes:
            e.required("spec.validations", SOMETHING)
            e.required("spec.auditAnnotations", SOMETHING)
        for i, check in enumerate(checks):
            _validate_check(e, f"spec.validations[{i}]", check, known)
        _validate_notes(e, "spec.auditAnnotations", notes, name)
        for i, note in enumerate(notes):
            if (note.get("valueExpression") or "").strip():
                e.expression(f"spec.auditAnnotations[{i}].valueExpression", note["valueExpression"], known, "string", "null_type")
        return e

    def row(self, obj: Object, now: float) -> list[Any]:
        spec = obj["spec"]
        return [obj["metadata"]["name"], len(spec.get("validations") or ()), shown_kind(spec), rules.age(obj, now)]


def shown_kind(spec: Object) -> str:
    kind = spec.get("paramKind")
    return f"{kind.get('apiVersion')}/{kind.get('kind')}" if kind else "<unset>"


def default_resources(match: Object | None) -> None:
    if match is not None:
        webhooks.default_match(match)
        webhooks.default_rules(match.get("resourceRules"))
        webhooks.default_rules(match.get("excludeResourceRules"))


def policy_frame(e: Errors, spec: Object) -> dict[str, Type]:
    """What validating and mutating policies have in common, in stock's order; answers with what their expressions may speak of."""
    declared: dict[str, Type] = {}
    params, variables = spec.get("paramKind") is not None, declared if spec.get("variables") else None
    known = admission.frame(params=params, variables=variables)
    e.enum("spec.failurePolicy", spec.get("failurePolicy"), webhooks.FAILURES, need="" if spec.get("failurePolicy") is None else None)
    if params:
        _validate_kind(e, "spec.paramKind", spec["paramKind"])
    match = spec.get("matchConstraints")
    if match is None:
        e.required("spec.matchConstraints")
    else:
        match_resources(e, "spec.matchConstraints", match)
        e.need("spec.matchConstraints.resourceRules", match.get("resourceRules"))
    webhooks.conditions(e, "spec.matchConditions", spec.get("matchConditions") or [], admission.frame(params=params))
    for i, variable in enumerate(spec.get("variables") or ()):
        at, name = f"spec.variables[{i}]", variable.get("name") or ""
        if e.need(f"{at}.name", name, "name is not specified") and (not _IDENTIFIER.fullmatch(name) or name in CEL_WORDS):
            e.invalid(f"{at}.name", name, "must be a valid CEL identifier")
        if e.need(f"{at}.expression", (variable.get("expression") or "").strip(), NOT_GIVEN):
            kind = e.expression(f"{at}.expression", variable["expression"], known)
            if _IDENTIFIER.fullmatch(name):
                declared[name] = admission.declared(kind)
    return known


def _validate_kind(e: Errors, at: str, kind: Object) -> None:
    version, name = kind.get("apiVersion") or "", kind.get("kind") or ""
    if e.need(f"{at}.apiVersion", version):
        group, _, served = version.rpartition("/")
        if "/" in group:
            e.invalid(f"{at}.apiVersion", version, f"unexpected GroupVersion string: {version}")
        else:
            for message in (names.dns_subdomain(group) if group else []) + names.dns1035_label(served):
                e.invalid(f"{at}.apiVersion", version, message)
    if e.need(f"{at}.kind", name):
        bad = names.dns1035_label(name.lower())
        if bad:
            e.invalid(f"{at}.kind", name, "may have mixed case, but should otherwise match: " + ", ".join(bad))


def match_resources(e: Errors, at: str, match: Object) -> None:
    for field in ("namespaceSelector", "objectSelector"):
        rules.label_selector(e, f"{at}.{field}", match.get(field))
    for field in ("resourceRules", "excludeResourceRules"):
        for i, rule in enumerate(match.get(field) or ()):
            seen: set[str] = set()
            for j, name in enumerate(rule.get("resourceNames") or ()):
                e.text(f"{at}.{field}[{i}].resourceNames[{j}]", name, names.path_segment)
                e.unique(f"{at}.{field}[{i}].resourceNames[{j}]", name, seen)
            webhooks.operations_rule(e, f"{at}.{field}[{i}]", rule)
    if match.get("matchPolicy") is not None:
        e.enum(f"{at}.matchPolicy", match["matchPolicy"], webhooks.MATCHES)


def _validate_check(e: Errors, at: str, check: Object, known: dict[str, Type]) -> None:
    if e.need(f"{at}.expression", (check.get("expression") or "").strip(), NOT_GIVEN):
        e.expression(f"{at}.expression", check["expression"], known, "bool")
    message, expression = check.get("message") or "", check.get("messageExpression") or ""
    if expression and not expression.strip():
        e.invalid(f"{at}.messageExpression", expression, "must be non-empty if specified")
    elif expression:
        without = {name: kind for name, kind in known.items() if not name.startswith("authorizer")}
        e.expression(f"{at}.messageExpression", expression, without, "string")
    if message and not message.strip():
        e.invalid(f"{at}.message", message, "message must be non-empty if specified")
    elif "\n" in message.strip():
        e.invalid(f"{at}.message", message, "message must not contain line breaks")
    if check.get("reason") is not None and check["reason"] not in REASONS:
        e.unsupported(f"{at}.reason", check["reason"], SHOWN_REASONS)


def _validate_notes(e: Errors, at: str, notes: list[Object], name: str) -> None:
    seen: set[str] = set()
    for i, note in enumerate(notes):
        key = note.get("key") or ""
        if not name:
            e.invalid(f"{at}[{i}].key", key, "requires metadata.name be non-empty")
        else:
            for message in names.qualified_name(f"{name}/{key}"):
                e.invalid(f"{at}[{i}].key", f"{name}/{key}", message)
        e.need(f"{at}[{i}].valueExpression", (note.get("valueExpression") or "").strip(), "valueExpression is not specified")
        e.unique(f"{at}[{i}].key", key, seen)


class MutatingPolicyStrategy(Strategy):
    """MutatingAdmissionPolicy."""

    loose_finalizers = True
    status = False
    unconditional_update = False
    columns = rules.columns(
        "Name", "Mutations#: Mutation indicates the number of mutations rules defined in this configuration",
        "ParamKind: ParamKind specifies the kind of resources used to parameterize this policy", "Age",
    )  # fmt: skip

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("failurePolicy", "Fail")
        default_resources(spec.get("matchConstraints"))

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        spec = new["spec"]
        environment = Environment(policy_frame(e, spec), admission.messages)
        e.need("spec.mutations", spec.get("mutations"), "mutations must contain at least one item")
        for i, mutation in enumerate(spec.get("mutations") or ()):
            at, kind = f"spec.mutations[{i}]", mutation.get("patchType") or ""
            if e.enum(f"{at}.patchType", kind, ("ApplyConfiguration", "JSONPatch"), need=""):
                field = "applyConfiguration" if kind == "ApplyConfiguration" else "jsonPatch"
                if mutation.get(field) is None:
                    e.required(f"{at}.{field}", f"must be specified when patchType is {kind}")
                elif e.need(f"{at}.{field}.expression", (mutation[field].get("expression") or "").strip(), NOT_GIVEN):
                    e.expression(f"{at}.{field}.expression", mutation[field]["expression"], environment, MUTATIONS[kind])
        e.enum("spec.reinvocationPolicy", spec.get("reinvocationPolicy"), ("IfNeeded", "Never"), need="")
        return e

    def row(self, obj: Object, now: float) -> list[Any]:
        spec = obj["spec"]
        return [obj["metadata"]["name"], len(spec.get("mutations") or ()), shown_kind(spec), rules.age(obj, now)]


class MutatingBindingStrategy(Strategy):
    """MutatingAdmissionPolicyBinding."""

    loose_finalizers = True
    status = False
    unconditional_update = False
    columns = rules.columns(
        "Name", "PolicyName: PolicyName indicates the policy definition which the policy binding binded to",
        "ParamRef: ParamRef indicates the param resource which sets the configration param", "Age",
    )  # fmt: skip

    def default(self, obj: Object) -> None:
        default_resources(obj.setdefault("spec", {}).get("matchResources"))

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        spec = new["spec"]
        e.named("spec.policyName", spec.get("policyName") or "", names.dns_subdomain)
        if spec.get("paramRef") is not None:
            _validate_ref(e, "spec.paramRef", spec["paramRef"])
        if spec.get("matchResources") is not None:
            match_resources(e, "spec.matchResources", spec["matchResources"])
        return e

    def row(self, obj: Object, now: float) -> list[Any]:
        spec = obj["spec"]
        ref = spec.get("paramRef") or {}
        shown = "/".join(part for part in (ref.get("namespace"), ref.get("name")) if part) or ("*" if ref.get("selector") else "<unset>")
        return [obj["metadata"]["name"], spec.get("policyName", ""), shown, rules.age(obj, now)]


class ValidatingBindingStrategy(MutatingBindingStrategy):
    """ValidatingAdmissionPolicyBinding."""

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors(super().validate(new, old))
        actions, seen = new["spec"].get("validationActions") or [], set[str]()
        e.need("spec.validationActions", actions, "at least one validation action is required")
        for i, action in enumerate(actions):
            e.enum(f"spec.validationActions[{i}]", action, ("Audit", "Deny", "Warn"))
            e.unique(f"spec.validationActions[{i}]", action, seen)
        if {"Deny", "Warn"} <= seen:
            e.invalid("spec.validationActions", actions, BOTH_WAYS)
        return e


def _validate_ref(e: Errors, at: str, ref: Object) -> None:
    name, selector = ref.get("name") or "", ref.get("selector")
    if name and selector is not None:
        e.forbidden(f"{at}.name", EXCLUSIVE)
        e.forbidden(f"{at}.selector", EXCLUSIVE)
    elif name:
        e.text(f"{at}.name", name, names.path_segment)
    elif selector is None:
        e.required(at, "one of name or selector must be specified")
    else:
        rules.label_selector(e, f"{at}.selector", selector)
    action = ref.get("parameterNotFoundAction")
    if not action:
        e.required(f"{at}.parameterNotFoundAction")
    elif action not in ("Deny", "Allow"):
        e.unsupported(f"{at}.parameterNotFoundAction", action, ("Deny", "Allow"), sort=False)
