"""CEL expressions about requests, compiled and evaluated: match conditions, variables, validations, mutations, audit annotations.

Only servers that have a policy, or a webhook with conditions, load this module and with it CEL. Source: the admission plugins' CEL of the
API server (v1.36): variables, budgets, error texts.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from kapi import limits
from kapi.admission import admission_review
from kapi.admission.admission_review import VersionedAttributes
from kapi.admission.matching import name_of
from kapi.admission.plugin import Authorizer, OutOfBudget
from kapi.cel import admission, checking
from kapi.cel.authorizing import AuthorizerValue, request_resource
from kapi.cel.compiling import CompilationError
from kapi.cel.types import DYN, Environment, Type
from kapi.cel.values import EvaluationError, parse_timestamp, plain
from kapi.objects.meta import Object
from kapi.objects.user import Attributes
from kapi.registry.admission import AdmissionAttributes


class Expression:
    """One compiled expression. A compilation error is kept in `fault` and reported when the expression is evaluated."""

    def __init__(self, text: str, environment: Environment, *returns: str) -> None:
        self.text, self.fault = text, ""
        self.type: Type | None = None
        try:
            self.program = checking.compiled(text, environment, returns)
            self.type = self.program.code.type
        except CompilationError as fault:
            self.fault = str(fault)


class Evaluation:
    """Evaluates the expressions of one policy on one request: their activation (variable -> value) and the remaining cost budget."""

    def __init__(self, activation: Mapping[str, Any], variables: Mapping[str, Expression], budget: int = limits.RULES_COST) -> None:
        self.remaining = budget
        self.activation = {"params": None, **activation, "variables": Variables(self, variables)}

    def run(self, expression: Expression) -> tuple[Any, str]:
        """(value, error text or ''). Raises OutOfBudget."""
        if expression.fault:
            return None, f"compilation error: {expression.fault}"
        value, error, cost = expression.program.run(self.activation)
        self.charge(cost)
        return value, f"expression '{expression.text}' resulted in error: {error}" if error else ""

    def json(self, expression: Expression) -> tuple[Any, str]:
        """The same with the value converted to JSON."""
        value, error = self.run(expression)
        return plain(value), error

    def charge(self, cost: int) -> None:
        if cost > self.remaining:
            raise OutOfBudget
        self.remaining -= cost


class Variables(dict[str, Any]):
    """`variables`: each is evaluated at its first use."""

    def __init__(self, evaluation: Evaluation, declared: Mapping[str, Expression]) -> None:
        super().__init__()
        self.evaluation, self.declared = evaluation, declared

    def __contains__(self, name: object) -> bool:
        return name in self.declared

    def __missing__(self, name: str) -> Any:
        expression = self.declared[name]
        if expression.fault:
            raise EvaluationError(f'composited variable "{name}" fails to compile: {expression.fault}')
        value, error, cost = expression.program.run(self.evaluation.activation)
        self.evaluation.charge(cost)
        if error is not None:
            raise EvaluationError(f'composited variable "{name}" fails to evaluate: {error}')
        self[name] = value
        return value


class Validation(NamedTuple):
    """One entry of spec.validations."""

    raw: Object
    expression: Expression
    message: Expression | None


class CompiledPolicy:
    """The compiled expressions of a policy."""

    def __init__(self, spec: Object, ignore_errors: bool) -> None:
        known: dict[str, Type] = {}
        params = spec.get("paramKind") is not None
        env = Environment(admission.frame(params=params, authorizer=True, variables=known))
        without = Environment(admission.frame(params=params, authorizer=False, variables=known))
        self.variables: dict[str, Expression] = {}
        for variable in spec.get("variables") or ():
            made = self.variables[variable["name"]] = Expression(variable["expression"], env)
            known[variable["name"]] = admission.declared(made.type or DYN)
        self.match_conditions = MatchConditions(spec.get("matchConditions") or [], ignore_errors, env)
        self.validations = [
            Validation(raw, Expression(raw["expression"], env, "bool"), _optional(raw.get("messageExpression"), without))
            for raw in spec.get("validations") or ()
        ]
        audit_annotations = spec.get("auditAnnotations") or ()
        self.audit_annotations = [
            (note["key"], Expression(note["valueExpression"], env, "string", "null_type")) for note in audit_annotations
        ]
        making = Environment(env.variables, admission.messages)
        self.mutations = [_mutation(raw, making) for raw in spec.get("mutations") or ()]
        messages = [validation.message for validation in self.validations if validation.message is not None]
        every = [*self.variables.values(), *(validation.expression for validation in self.validations), *messages]
        every += [expression for _, expression in (*self.audit_annotations, *self.mutations)]
        self.max_cost = self.match_conditions.max_cost + _max_cost(every)
        """Estimated cost of all of them."""


def _max_cost(expressions: Iterable[Expression]) -> int:
    return sum(expression.program.code.max_cost for expression in expressions if not expression.fault)


def _optional(text: str | None, environment: Environment) -> Expression | None:
    return Expression(text, environment, "string") if text else None


def _mutation(raw: Object, environment: Environment) -> tuple[str, Expression]:
    """(patchType, expression that returns the patch)."""
    kind: str = raw["patchType"]
    if kind == "ApplyConfiguration":
        return kind, Expression(raw["applyConfiguration"]["expression"], environment, "Object")
    return kind, Expression(raw["jsonPatch"]["expression"], environment, "list(JSONPatch)")


class MatchConditions:
    """Compiled matchConditions."""

    def __init__(self, listed: Sequence[Object], ignore_errors: bool, environment: Environment | None = None) -> None:
        """`ignore_errors`: a condition that cannot be evaluated is false instead of an error."""
        self.ignore_errors = ignore_errors
        known = environment or Environment(admission.frame())
        self.expressions = [Expression(condition["expression"], known, "bool") for condition in listed]
        self.max_cost = _max_cost(self.expressions)
        """Estimated cost."""

    def matches(self, activation: Mapping[str, Any], declared: Mapping[str, Expression] | None = None) -> tuple[bool, str]:
        """(whether all are true, error text or ''). A false condition decides, even where others have errors."""
        evaluation, wrong = Evaluation({**activation, "namespaceObject": None}, declared or {}, limits.CONDITIONS_COST), []
        try:
            for expression in self.expressions:
                value, error = evaluation.run(expression)
                if error:
                    wrong.append(error)
                elif value is False:
                    return False, ""
        except OutOfBudget as out:
            wrong = [str(out)]
        if not wrong:
            return True, ""
        return False, "" if self.ignore_errors else wrong[0] if len(wrong) == 1 else f"[{', '.join(wrong)}]"


def activation(
    attrs: AdmissionAttributes, versioned: VersionedAttributes, authorizer: Authorizer, namespace: Object | None = None
) -> Object:
    """The activation of expressions about a request: variable -> value."""
    resource, authorizer_value = attrs.kind.resource, AuthorizerValue(attrs.user, authorizer)
    attributes = Attributes(
        attrs.user, "", resource.group, "*", resource.plural, attrs.subresource, attrs.namespace, name_of(attrs)
    )  # fmt: skip
    return {
        "object": versioned.convert(attrs.new),
        "oldObject": versioned.convert(attrs.old),
        "request": admission_review.admission_request(attrs, versioned),
        "namespaceObject": namespace and _namespace(namespace),
        "authorizer": authorizer_value,
        "authorizer.requestResource": request_resource(authorizer_value, attributes),
    }


def _namespace(obj: Object) -> Object:
    """A Namespace with its timestamps as CEL timestamps."""
    meta = dict(obj["metadata"])
    for stamp in ("creationTimestamp", "deletionTimestamp"):
        if meta.get(stamp):
            meta[stamp] = parse_timestamp(meta[stamp])
    return {**obj, "metadata": meta}
