"""ValidatingAdmissionPolicy: expressions that must hold, or the request is refused, warned of, or noted for the audit."""

from collections.abc import Awaitable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import orjson

from kapi.admission.plugin import OutOfBudget, forbidden
from kapi.admission.policies import Failure, Invocation, Policies, Policy, resources
from kapi.objects.errors import StatusError
from kapi.registry.admission import Review

if TYPE_CHECKING:
    from kapi.admission.expressions import Check, Evaluation

FAILURE_NOTE = "validation.policy.admission.k8s.io/validation_failure"
_LONGEST_MESSAGE, _LONGEST_NOTE = 5 * 1024, 10 * 1024
_CODES = {"Forbidden": 403, "Unauthorized": 401, "RequestEntityTooLarge": 413}


class Said(NamedTuple):
    """An expression that did not hold, or could not be evaluated."""

    place: int
    message: str
    reason: str = ""


class ValidatingAdmissionPolicy(Policies):
    name = "ValidatingAdmissionPolicy"
    listed, bindings = resources("validatingadmissionpolicies", "ValidatingAdmissionPolicy")

    def validate(self, review: Review) -> Awaitable[None] | None:
        return self._validate(review) if self.hooks() else None

    async def _validate(self, review: Review) -> None:
        failures: list[Failure] = []
        notes: dict[str, list[str]] = {}
        for found in self.invocations(review, failures):
            await review.run(self._follow, found, review, failures, notes, long=found.policy.long)
        review.annotations |= {key: ", ".join(values) for key, values in notes.items()}
        if failures:
            raise refusal(review, failures[0])

    def _follow(self, found: Invocation, review: Review, failures: list[Failure], notes: dict[str, list[str]]) -> None:
        """One policy with one parameter."""
        evaluation, wrong = self.evaluation(found, review)
        if evaluation is None:
            said = [Said(0, wrong)] if wrong else []
        else:
            said = list(_said(found.policy, evaluation))
        for one in said:
            _act(found, review, one, failures)
        if evaluation is not None:
            for key, value, wrong in _noted(found.policy, evaluation):
                if wrong and not found.policy.forgiving:
                    failures.append(Failure(found.policy, found.binding, wrong))
                elif value and value not in notes.setdefault(f"{found.policy.name}/{key}", []):
                    notes[f"{found.policy.name}/{key}"].append(value)


def _act(found: Invocation, review: Review, said: Said, failures: list[Failure]) -> None:
    """Does what the binding wants done about it."""
    policy, binding = found.policy, found.binding
    for action in binding.actions:
        if action == "Deny":
            failures.append(Failure(policy, binding, said.message, said.reason))
        elif action == "Warn":
            where = f"ValidatingAdmissionPolicy '{policy.name}' with binding '{binding.name}'"
            review.warnings.append(f"Validation failed for {where}: {said.message}")
        elif action == "Audit":
            note = {"message": said.message, "policy": policy.name, "binding": binding.name, "expressionIndex": said.place}
            review.annotations.setdefault(FAILURE_NOTE, orjson.dumps([note | {"validationActions": binding.actions}]).decode())


def _said(policy: Policy, evaluation: "Evaluation") -> Iterator[Said]:
    """What does not hold. Errors count as such unless the policy forgives."""
    try:
        outcomes = [(check, *evaluation.run(check.expression)) for check in policy.compiled.checks]
        for place, (check, value, error) in enumerate(outcomes):
            if not error and value is not True:
                yield Said(place, _message(check, evaluation), check.raw.get("reason") or "Invalid")
            elif error and not policy.forgiving:
                yield Said(place, error)
    except OutOfBudget as out:
        if not policy.forgiving:
            yield Said(0, str(out))


def _message(check: "Check", evaluation: "Evaluation") -> str:
    """messageExpression's, else message, else the expression itself."""
    if check.message is not None:
        value, _ = evaluation.run(check.message)
        text = value.strip() if isinstance(value, str) else ""
        if text and "\n" not in text and len(text.encode()) <= _LONGEST_MESSAGE:
            return text
    return (check.raw.get("message") or "").strip() or f"failed expression: {check.raw['expression'].strip()}"


def _noted(policy: Policy, evaluation: "Evaluation") -> Iterator[tuple[str, str, str]]:
    """(key, value, what went wrong) of the audit annotations."""
    for key, expression in policy.compiled.notes:
        try:
            value, error = evaluation.run(expression)
        except OutOfBudget as out:
            value, error = None, str(out)
        yield key, value.strip()[:_LONGEST_NOTE] if isinstance(value, str) else "", error


def refusal(review: Review, failure: Failure) -> StatusError:
    """The answer to the client."""
    bound = f" with binding '{failure.binding.name}'" if failure.binding else ""
    message = f"ValidatingAdmissionPolicy '{failure.policy.name}'{bound} denied request: {failure.message}"
    reason = failure.reason or "Invalid"
    plain, causes = forbidden(review, message), [{"message": message}]
    return StatusError(plain.message, {**(plain.details or {}), "causes": causes}, code=_CODES.get(reason, 422), reason=reason)
