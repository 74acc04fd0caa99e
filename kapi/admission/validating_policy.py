"""ValidatingAdmissionPolicy: where an expression is false the request is denied, or causes a warning or an audit annotation."""

from collections.abc import Awaitable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import orjson

from kapi.admission.plugin import OutOfBudget, forbidden
from kapi.admission.policies import Failure, Invocation, Policies, Policy, resources
from kapi.objects.errors import StatusError
from kapi.registry.admission import AdmissionAttributes

if TYPE_CHECKING:
    from kapi.admission.expressions import Evaluation, Validation

FAILURE_ANNOTATION = "validation.policy.admission.k8s.io/validation_failure"
_LONGEST_MESSAGE, _LONGEST_ANNOTATION = 5 * 1024, 10 * 1024
_CODES = {"Forbidden": 403, "Unauthorized": 401, "RequestEntityTooLarge": 413}


class PolicyDecision(NamedTuple):
    """A validation that was false, or could not be evaluated."""

    expression: int
    """Index in spec.validations."""
    message: str
    reason: str = ""


class ValidatingAdmissionPolicy(Policies):
    name = "ValidatingAdmissionPolicy"
    listed, bindings = resources("validatingadmissionpolicies", "ValidatingAdmissionPolicy")

    def validate(self, attrs: AdmissionAttributes) -> Awaitable[None] | None:
        return self._validate(attrs) if self.hooks() else None

    async def _validate(self, attrs: AdmissionAttributes) -> None:
        failures: list[Failure] = []
        notes: dict[str, list[str]] = {}
        for invocation in self.invocations(attrs, failures):
            await invocation.versioned.prepare()
            await attrs.run(self._validate_policy, invocation, attrs, failures, notes, long=invocation.policy.long, rules=True)
        attrs.annotations |= {key: ", ".join(values) for key, values in notes.items()}
        if failures:
            raise denial(attrs, failures[0])

    def _validate_policy(
        self, invocation: Invocation, attrs: AdmissionAttributes, failures: list[Failure], notes: dict[str, list[str]]
    ) -> None:
        """Evaluate one policy with one parameter object; `notes` collects audit annotations, "policy/key" -> values."""
        evaluation, wrong = self.evaluation(invocation, attrs)
        if evaluation is None:
            decisions = [PolicyDecision(0, wrong)] if wrong else []
        else:
            decisions = list(_decisions(invocation.policy, evaluation))
        for decision in decisions:
            _enforce(invocation, attrs, decision, failures)
        if evaluation is not None:
            for key, value, wrong in _audit_annotations(invocation.policy, evaluation):
                if wrong and not invocation.policy.ignore_errors:
                    failures.append(Failure(invocation.policy, invocation.binding, wrong))
                elif value and value not in notes.setdefault(f"{invocation.policy.name}/{key}", []):
                    notes[f"{invocation.policy.name}/{key}"].append(value)


def _enforce(invocation: Invocation, attrs: AdmissionAttributes, decision: PolicyDecision, failures: list[Failure]) -> None:
    """Carry out the binding's validationActions."""
    policy, binding = invocation.policy, invocation.binding
    for action in binding.actions:
        if action == "Deny":
            failures.append(Failure(policy, binding, decision.message, decision.reason))
        elif action == "Warn":
            where = f"ValidatingAdmissionPolicy '{policy.name}' with binding '{binding.name}'"
            attrs.warnings.append(f"Validation failed for {where}: {decision.message}")
        elif action == "Audit":
            note = {"message": decision.message, "policy": policy.name, "binding": binding.name, "expressionIndex": decision.expression}
            attrs.annotations.setdefault(FAILURE_ANNOTATION, orjson.dumps([note | {"validationActions": binding.actions}]).decode())


def _decisions(policy: Policy, evaluation: "Evaluation") -> Iterator[PolicyDecision]:
    """The validations that are false. Errors count as false unless failurePolicy is Ignore."""
    try:
        outcomes = [(validation, *evaluation.run(validation.expression)) for validation in policy.compiled.validations]
        for index, (validation, value, error) in enumerate(outcomes):
            if not error and value is not True:
                yield PolicyDecision(index, _message(validation, evaluation), validation.raw.get("reason") or "Invalid")
            elif error and not policy.ignore_errors:
                yield PolicyDecision(index, error)
    except OutOfBudget as out:
        if not policy.ignore_errors:
            yield PolicyDecision(0, str(out))


def _message(validation: "Validation", evaluation: "Evaluation") -> str:
    """The value of messageExpression, else `message`, else the expression itself."""
    if validation.message is not None:
        value, _ = evaluation.run(validation.message)
        text = value.strip() if isinstance(value, str) else ""
        if text and "\n" not in text and len(text.encode()) <= _LONGEST_MESSAGE:
            return text
    return (validation.raw.get("message") or "").strip() or f"failed expression: {validation.raw['expression'].strip()}"


def _audit_annotations(policy: Policy, evaluation: "Evaluation") -> Iterator[tuple[str, str, str]]:
    """(key, value, error) of each audit annotation; value and error are '' where there is none."""
    for key, expression in policy.compiled.audit_annotations:
        try:
            value, error = evaluation.run(expression)
        except OutOfBudget as out:
            value, error = None, str(out)
        yield key, value.strip()[:_LONGEST_ANNOTATION] if isinstance(value, str) else "", error


def denial(attrs: AdmissionAttributes, failure: Failure) -> StatusError:
    """The error for the client."""
    bound = f" with binding '{failure.binding.name}'" if failure.binding else ""
    message = f"ValidatingAdmissionPolicy '{failure.policy.name}'{bound} denied request: {failure.message}"
    reason = failure.reason or "Invalid"
    plain, causes = forbidden(attrs, message), [{"message": message}]
    return StatusError(plain.message, {**(plain.details or {}), "causes": causes}, code=_CODES.get(reason, 422), reason=reason)
