"""Expressions about requests, compiled and evaluated: match conditions, variables, whatever policies say.

Only servers that have a policy, or a webhook with conditions, load this module and with it CEL. Source: the admission plugins' CEL of the
API server (v1.36): what expressions see, the budgets, the words.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from kapi import limits
from kapi.admission import admission_review
from kapi.admission.admission_review import Subject
from kapi.admission.matching import name_of
from kapi.admission.plugin import Authorizer, OutOfBudget
from kapi.cel import admission, checking
from kapi.cel.authorizing import Asker, request_resource
from kapi.cel.compiling import CompilationError
from kapi.cel.types import DYN, Environment, Type
from kapi.cel.values import EvaluationError, parse_timestamp, plain
from kapi.objects.meta import Object
from kapi.objects.user import Attributes
from kapi.registry.admission import Review


class Expression:
    """One expression; what is wrong with it is told when it is to run."""

    def __init__(self, text: str, environment: Environment, *returns: str) -> None:
        self.text, self.fault = text, ""
        self.type: Type | None = None
        try:
            self.program = checking.compiled(text, environment, returns)
            self.type = self.program.code.type
        except CompilationError as fault:
            self.fault = str(fault)


class Evaluation:
    """Expressions of one policy on one request: what they see, what they may still spend."""

    def __init__(self, given: Mapping[str, Any], variables: Mapping[str, Expression], budget: int = limits.RULES_COST) -> None:
        self.left = budget
        self.given = {"params": None, **given, "variables": Variables(self, variables)}

    def run(self, expression: Expression) -> tuple[Any, str]:
        """(the value, what went wrong). Raises OutOfBudget."""
        if expression.fault:
            return None, f"compilation error: {expression.fault}"
        value, error, cost = expression.program.run(self.given)
        self.pay(cost)
        return value, f"expression '{expression.text}' resulted in error: {error}" if error else ""

    def json(self, expression: Expression) -> tuple[Any, str]:
        """The same with the value as JSON."""
        value, error = self.run(expression)
        return plain(value), error

    def pay(self, cost: int) -> None:
        if cost > self.left:
            raise OutOfBudget
        self.left -= cost


class Variables(dict[str, Any]):
    """`variables`: each is evaluated when it is first asked for."""

    def __init__(self, evaluation: Evaluation, declared: Mapping[str, Expression]) -> None:
        super().__init__()
        self.evaluation, self.declared = evaluation, declared

    def __contains__(self, name: object) -> bool:
        return name in self.declared

    def __missing__(self, name: str) -> Any:
        expression = self.declared[name]
        if expression.fault:
            raise EvaluationError(f'composited variable "{name}" fails to compile: {expression.fault}')
        value, error, cost = expression.program.run(self.evaluation.given)
        self.evaluation.pay(cost)
        if error is not None:
            raise EvaluationError(f'composited variable "{name}" fails to evaluate: {error}')
        self[name] = value
        return value


class Check(NamedTuple):
    """One of a policy's validations."""

    raw: Object
    expression: Expression
    message: Expression | None


class Compiled:
    """All expressions of a policy."""

    def __init__(self, spec: Object, forgiving: bool) -> None:
        known: dict[str, Type] = {}
        params = spec.get("paramKind") is not None
        env, without = (Environment(admission.frame(params=params, authorizer=told, variables=known)) for told in (True, False))
        self.variables: dict[str, Expression] = {}
        for variable in spec.get("variables") or ():
            made = self.variables[variable["name"]] = Expression(variable["expression"], env)
            known[variable["name"]] = admission.declared(made.type or DYN)
        self.conditions = Conditions(spec.get("matchConditions") or [], forgiving, env)
        self.checks = [
            Check(raw, Expression(raw["expression"], env, "bool"), _optional(raw.get("messageExpression"), without))
            for raw in spec.get("validations") or ()
        ]
        notes = spec.get("auditAnnotations") or ()
        self.notes = [(note["key"], Expression(note["valueExpression"], env, "string", "null_type")) for note in notes]
        making = Environment(env.variables, admission.messages)
        self.mutations = [_mutation(raw, making) for raw in spec.get("mutations") or ()]
        told = [check.message for check in self.checks if check.message is not None]
        every = [*self.variables.values(), *(check.expression for check in self.checks), *told]
        every += [expression for _, expression in (*self.notes, *self.mutations)]
        self.worst = self.conditions.worst + _worst(every)
        """What all of them may cost."""


def _worst(expressions: Iterable[Expression]) -> int:
    return sum(expression.program.code.worst for expression in expressions if not expression.fault)


def _optional(text: str | None, environment: Environment) -> Expression | None:
    return Expression(text, environment, "string") if text else None


def _mutation(raw: Object, environment: Environment) -> tuple[str, Expression]:
    """(the type of patch, what makes it)."""
    kind: str = raw["patchType"]
    if kind == "ApplyConfiguration":
        return kind, Expression(raw["applyConfiguration"]["expression"], environment, "Object")
    return kind, Expression(raw["jsonPatch"]["expression"], environment, "list(JSONPatch)")


class Conditions:
    """matchConditions."""

    def __init__(self, listed: Sequence[Object], forgiving: bool, environment: Environment | None = None) -> None:
        """`forgiving`: what cannot be evaluated is not met, instead of a failure."""
        self.forgiving = forgiving
        known = environment or Environment(admission.frame())
        self.expressions = [Expression(condition["expression"], known, "bool") for condition in listed]
        self.worst = _worst(self.expressions)
        """What they may cost."""

    def met(self, given: Mapping[str, Any], declared: Mapping[str, Expression] | None = None) -> tuple[bool, str]:
        """(whether all are met, why that cannot be said). One that is not met decides, whatever goes wrong with others."""
        evaluation, wrong = Evaluation({**given, "namespaceObject": None}, declared or {}, limits.CONDITIONS_COST), []
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
        return False, "" if self.forgiving else wrong[0] if len(wrong) == 1 else f"[{', '.join(wrong)}]"


def given(review: Review, subject: Subject, authorizer: Authorizer, namespace: Object | None = None) -> Object:
    """What the expressions about a request see."""
    resource, asker = review.kind.resource, Asker(review.user, authorizer)
    asked = Attributes(
        review.user, "", resource.group, "*", resource.plural, review.subresource, review.namespace, name_of(review)
    )  # fmt: skip
    return {
        "object": subject.show(review.new),
        "oldObject": subject.show(review.old),
        "request": admission_review.request(review, subject),
        "namespaceObject": namespace and _namespace(namespace),
        "authorizer": asker,
        "authorizer.requestResource": request_resource(asker, asked),
    }


def _namespace(found: Object) -> Object:
    """A Namespace as its type in expressions has it."""
    meta = dict(found["metadata"])
    for stamp in ("creationTimestamp", "deletionTimestamp"):
        if meta.get(stamp):
            meta[stamp] = parse_timestamp(meta[stamp])
    return {**found, "metadata": meta}
