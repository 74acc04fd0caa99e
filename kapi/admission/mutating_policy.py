"""MutatingAdmissionPolicy: expressions return an apply configuration or a JSON patch, which is applied to the object.

Policies are applied one after the other, and again by their reinvocationPolicy when the object changed after them.
"""

from collections.abc import Awaitable, Iterator
from typing import Any

import orjson

from kapi.admission.plugin import OutOfBudget, forbidden
from kapi.admission.policies import Failure, Invocation, Policies, resources
from kapi.admission.webhooks import ReinvokeContext
from kapi.objects import errors, nested, patch
from kapi.objects.errors import StatusError
from kapi.objects.meta import Object
from kapi.registry.admission import AdmissionAttributes
from kapi.schema import fieldset, merging
from kapi.schema.reading import DecodeError
from kapi.schema.schema import ANY, Schema


class MutationError(Exception):
    """A mutation cannot be applied; the text says why."""


class MutatingAdmissionPolicy(Policies):
    name = "MutatingAdmissionPolicy"
    listed, bindings = resources("mutatingadmissionpolicies", "MutatingAdmissionPolicy")

    def mutate(self, attrs: AdmissionAttributes) -> Awaitable[None] | None:
        return self._mutate(attrs) if self.hooks() else None

    async def _mutate(self, attrs: AdmissionAttributes) -> None:
        failures: list[Failure] = []
        context: ReinvokeContext = attrs.reinvocation_values.setdefault(self.name, ReinvokeContext())
        if attrs.is_reinvoke and context.last_output != attrs.new:
            context.require_reinvocation()
        for invocation in self.invocations(attrs, failures):
            key = "/".join(invocation.key)
            if attrs.is_reinvoke and key not in context.reinvoke:
                continue
            await invocation.versioned.prepare()
            if await attrs.run(self._apply_policy, invocation, attrs, failures, long=invocation.policy.long, rules=True):
                await invocation.versioned.settle()
                context.require_reinvocation()
                attrs.should_reinvoke = True
            if invocation.policy.spec.get("reinvocationPolicy") == "IfNeeded":
                context.previously_invoked.add(key)
        context.last_output = nested.loads(orjson.dumps(attrs.new)) if context.previously_invoked or context.reinvoke else None
        if failures:
            raise denial(attrs, failures)

    def _apply_policy(self, invocation: Invocation, attrs: AdmissionAttributes, failures: list[Failure]) -> bool:
        """Apply the mutations of a policy; True when they changed the object."""
        before = invocation.versioned.convert(attrs.new)
        if before is None:
            return False
        before = nested.loads(orjson.dumps(before))
        for kind, expression in invocation.policy.compiled.mutations:
            evaluation, wrong = self.evaluation(invocation, attrs)
            if evaluation is None and not wrong:
                return False
            try:
                if evaluation is None:
                    raise MutationError(wrong)
                mutation, error = evaluation.json(expression)
                if error:
                    raise MutationError(error.removeprefix("compilation error: "))
                current = nested.loads(orjson.dumps(invocation.versioned.convert(attrs.new)))
                if kind == "ApplyConfiguration":
                    patched = _apply_configuration(invocation, current, mutation)
                else:
                    patched = _apply_json_patch(current, mutation)
                invocation.versioned.replace(patched)
            except (MutationError, OutOfBudget, DecodeError) as why:
                if not invocation.policy.ignore_errors:
                    failures.append(Failure(invocation.policy, invocation.binding, str(why), "Invalid"))
        return bool(invocation.versioned.convert(attrs.new) != before)


def _apply_json_patch(current: Object, operations: list[Object]) -> Any:
    """Apply a JSON patch; a failed 'test' operation leaves the object as it is."""
    try:
        return patch.json_patch(nested.loads(orjson.dumps(current)), operations)
    except errors.Invalid as why:
        text = str(why.__cause__ or why)
        if "test" in text and "failed" in text:
            return current
        raise MutationError(f"JSONPath: {text}") from None


def _apply_configuration(invocation: Invocation, current: Object, applied: Object) -> Object:
    """Merge the configuration into the object as server-side apply does, without field ownership."""
    schema = invocation.versioned.kind.schema
    wrong = merging.check(schema, applied)
    if wrong:
        listed = wrong[0] if len(wrong) == 1 else "\n".join(["errors:", *(f"  {text}" for text in wrong)])
        raise MutationError(f"error applying patch: failed to convert patch object to typed object: {listed}")
    atomic = list(_atomic_paths(schema, applied, ""))
    if atomic:
        listed = ", ".join(atomic)
        raise MutationError(f"error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {listed}")
    merged: Object = merging.merge(schema, current, applied)
    return merged


def _atomic_paths(schema: Schema, value: Any, path: str) -> Iterator[str]:
    """Paths of atomic lists, maps and structs: applying a part of one would remove the rest."""
    if isinstance(value, dict):
        if schema.atomic:
            yield path
        for key, item in value.items():
            yield from _atomic_paths(fieldset.child(schema, key), item, f"{path}.{key}")
    elif isinstance(value, list):
        if schema.type == "list" and schema.list_type == "atomic":
            yield path
        for i, item in enumerate(value):
            yield from _atomic_paths(schema.item or ANY, item, f"{path}[{i}]")


def denial(attrs: AdmissionAttributes, failures: list[Failure]) -> StatusError:
    """The error for the client: the first failure, all of them as causes."""
    messages = [_denial_message(failure) for failure in failures]
    plain = forbidden(attrs, "")
    causes = [{"message": text} for text in messages]
    return StatusError(messages[0], {**(plain.details or {}), "causes": causes}, code=403, reason=failures[0].reason or "Forbidden")


def _denial_message(failure: Failure) -> str:
    if failure.binding is None:
        return f'policy "{failure.policy.name}" denied request: {failure.message}'
    return f"policy '{failure.policy.name}' with binding '{failure.binding.name}' denied request: {failure.message}"
