"""Admission policies and their bindings, validating and mutating. Expressions are compiled."""

import re
from typing import Any

from kapi.cel import admission
from kapi.cel.types import Environment, Type
from kapi.objects import names
from kapi.objects.meta import Object
from kapi.registry.kinds.admissionregistration import webhooks
from kapi.registry.strategy import Column
from kapi.registry.validation import rules
from kapi.registry.validation.part import Part, RuledStrategy

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


class _PolicyStrategy(RuledStrategy):
    """What validating and mutating policies have in common."""

    long = True
    loose_finalizers = True
    unconditional_update = False
    defaults = {"spec.failurePolicy": "Fail", **webhooks.matching("spec.matchConstraints", "resourceRules", "excludeResourceRules")}

    def cells(self, obj: Object) -> list[Any]:
        kind = obj["spec"].get("paramKind")
        return [f"{kind.get('apiVersion')}/{kind.get('kind')}" if kind else "<unset>"]


def _columns(counted: str) -> tuple[Column, ...]:
    kind = "ParamKind: ParamKind specifies the kind of resources used to parameterize this policy"
    return rules.columns("Name", f"{counted} rules defined in this configuration", kind, "Age")


class ValidatingPolicyStrategy(_PolicyStrategy):
    """ValidatingAdmissionPolicy."""

    columns = _columns("Validations#@spec.validations: Validations indicates the number of validation")

    def check(self, new: Part, old: Object | None) -> None:
        spec = new.part("spec")
        known = policy_frame(spec)
        if not spec.items("validations") and not spec.items("auditAnnotations"):
            spec.required("validations", SOMETHING)
            spec.required("auditAnnotations", SOMETHING)
        for check in spec.parts("validations"):
            _check_validation(check, known)
        _check_notes(spec, new.part("metadata").text("name"))
        for note in spec.parts("auditAnnotations"):
            if note.text("valueExpression").strip():
                note.expression("valueExpression", known, "string", "null_type")


def policy_frame(spec: Part) -> dict[str, Type]:
    """The rules of both kinds of policy, in stock's order; returns the environment of their expressions."""
    declared: dict[str, Type] = {}
    known = admission.frame(params="paramKind" in spec, variables=declared if spec.items("variables") else None)
    spec.enum("failurePolicy", webhooks.FAILURES)
    if "paramKind" in spec:
        _check_kind(spec.part("paramKind"))
    if "matchConstraints" in spec:
        match = spec.part("matchConstraints")
        match_resources(match)
        match.need("resourceRules")
    else:
        spec.required("matchConstraints")
    webhooks.check_conditions(spec, admission.frame(params="paramKind" in spec))
    for variable in spec.parts("variables"):
        name = variable.text("name")
        identifier = bool(_IDENTIFIER.fullmatch(name))
        if variable.need("name", "name is not specified") and (not identifier or name in CEL_WORDS):
            variable.invalid("name", "must be a valid CEL identifier")
        kind = variable.expression("expression", known, need=NOT_GIVEN)
        if kind is not None and identifier:
            declared[name] = admission.declared(kind)
    return known


def _check_kind(kind: Part) -> None:
    version, name = kind.text("apiVersion"), kind.text("kind")
    if kind.need("apiVersion"):
        group, _, served = version.rpartition("/")
        if "/" in group:
            kind.invalid("apiVersion", f"unexpected GroupVersion string: {version}")
        else:
            for message in (names.dns_subdomain(group) if group else []) + names.dns1035_label(served):
                kind.invalid("apiVersion", message)
    if kind.need("kind") and (bad := names.dns1035_label(name.lower())):
        kind.invalid("kind", "may have mixed case, but should otherwise match: " + ", ".join(bad))


def match_resources(match: Part) -> None:
    match.selector("namespaceSelector")
    match.selector("objectSelector")
    for field in ("resourceRules", "excludeResourceRules"):
        for rule in match.parts(field):
            rule.each("resourceNames", names.path_segment, set())
            webhooks.check_rule(rule)
    match.choice("matchPolicy", webhooks.MATCHES)


def _check_validation(check: Part, known: dict[str, Type]) -> None:
    check.expression("expression", known, "bool", need=NOT_GIVEN)
    message, expression = check.text("message"), check.text("messageExpression")
    if expression and not expression.strip():
        check.invalid("messageExpression", "must be non-empty if specified")
    elif expression:
        without = {name: kind for name, kind in known.items() if not name.startswith("authorizer")}
        check.expression("messageExpression", without, "string")
    if message and not message.strip():
        check.invalid("message", "message must be non-empty if specified")
    elif "\n" in message.strip():
        check.invalid("message", "message must not contain line breaks")
    if "reason" in check and check.text("reason") not in REASONS:
        check.unsupported("reason", SHOWN_REASONS)


def _check_notes(spec: Part, name: str) -> None:
    seen: set[str] = set()
    for note in spec.parts("auditAnnotations"):
        key = note.text("key")
        if not name:
            note.e.invalid(note.path("key"), key, "requires metadata.name be non-empty")
        else:
            note.e.qualified(note.path("key"), f"{name}/{key}")
        note.e.need(note.path("valueExpression"), note.text("valueExpression").strip(), "valueExpression is not specified")
        note.unique("key", seen)


class MutatingPolicyStrategy(_PolicyStrategy):
    """MutatingAdmissionPolicy."""

    status = False
    columns = _columns("Mutations#@spec.mutations: Mutation indicates the number of mutations")

    def check(self, new: Part, old: Object | None) -> None:
        spec = new.part("spec")
        environment = Environment(policy_frame(spec), admission.messages)
        spec.need("mutations", "mutations must contain at least one item")
        for mutation in spec.parts("mutations"):
            kind = mutation.text("patchType")
            if mutation.enum("patchType", ("ApplyConfiguration", "JSONPatch"), need=""):
                field = "applyConfiguration" if kind == "ApplyConfiguration" else "jsonPatch"
                if field not in mutation:
                    mutation.required(field, f"must be specified when patchType is {kind}")
                else:
                    mutation.part(field).expression("expression", environment, MUTATIONS[kind], need=NOT_GIVEN)
        spec.enum("reinvocationPolicy", ("IfNeeded", "Never"), need="")


class MutatingBindingStrategy(RuledStrategy):
    """MutatingAdmissionPolicyBinding."""

    loose_finalizers = True
    status = False
    unconditional_update = False
    columns = rules.columns(
        "Name", "PolicyName@spec.policyName: PolicyName indicates the policy definition which the policy binding binded to",
        "ParamRef: ParamRef indicates the param resource which sets the configration param", "Age",
    )  # fmt: skip
    defaults = webhooks.matching("spec.matchResources", "resourceRules", "excludeResourceRules")

    def check(self, new: Part, old: Object | None) -> None:
        spec = new.part("spec")
        spec.named("policyName", names.dns_subdomain)
        if "paramRef" in spec:
            _check_ref(spec.part("paramRef"))
        if "matchResources" in spec:
            match_resources(spec.part("matchResources"))

    def cells(self, obj: Object) -> list[Any]:
        ref = obj["spec"].get("paramRef") or {}
        shown = "/".join(part for part in (ref.get("namespace"), ref.get("name")) if part) or ("*" if ref.get("selector") else "<unset>")
        return [shown]


class ValidatingBindingStrategy(MutatingBindingStrategy):
    """ValidatingAdmissionPolicyBinding."""

    def check(self, new: Part, old: Object | None) -> None:
        super().check(new, old)
        spec, seen = new.part("spec"), set[str]()
        spec.need("validationActions", "at least one validation action is required")
        for at, action in spec.values("validationActions"):
            spec.e.enum(at, action, ("Audit", "Deny", "Warn"))
            spec.e.unique(at, action, seen)
        if {"Deny", "Warn"} <= seen:
            spec.invalid("validationActions", BOTH_WAYS)


def _check_ref(ref: Part) -> None:
    if ref.text("name") and "selector" in ref:
        ref.forbidden("name", EXCLUSIVE)
        ref.forbidden("selector", EXCLUSIVE)
    elif ref.text("name"):
        ref.checked("name", names.path_segment)
    elif "selector" in ref:
        ref.selector("selector")
    else:
        ref.e.required(ref.at, "one of name or selector must be specified")
    if ref.need("parameterNotFoundAction") and ref.text("parameterNotFoundAction") not in ("Deny", "Allow"):
        ref.unsupported("parameterNotFoundAction", ("Deny", "Allow"), sort=False)
