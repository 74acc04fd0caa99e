"""MutatingAdmissionPolicy: expressions that say what is to be applied to the object, or the JSON patch to be made.

Policies are followed one after the other; those that wish so once more when something changed after them.
"""

from collections.abc import Awaitable, Iterator
from typing import Any

import orjson

from kapi.admission.plugin import OutOfBudget, forbidden
from kapi.admission.policies import Failure, Invocation, Policies, resources
from kapi.admission.webhooks import Rounds
from kapi.objects import errors, nested, patch
from kapi.objects.errors import StatusError
from kapi.objects.meta import Object
from kapi.registry.admission import Review
from kapi.schema import fieldset, merging
from kapi.schema.reading import DecodeError
from kapi.schema.schema import ANY, Schema


class Unpatchable(Exception):
    """A mutation cannot be made; the text says why."""


class MutatingAdmissionPolicy(Policies):
    name = "MutatingAdmissionPolicy"
    listed, bindings = resources("mutatingadmissionpolicies", "MutatingAdmissionPolicy")

    def mutate(self, review: Review) -> Awaitable[None] | None:
        return self._mutate(review) if self.hooks() else None

    async def _mutate(self, review: Review) -> None:
        failures: list[Failure] = []
        rounds: Rounds = review.notes.setdefault(self.name, Rounds())
        if review.reinvoked and rounds.left != review.new:
            rounds.changed()
        for found in self.invocations(review, failures):
            key = "/".join(found.key)
            if review.reinvoked and key not in rounds.due:
                continue
            if await review.run(self._follow, found, review, failures, long=found.policy.long):
                rounds.changed()
                review.again = True
            if found.policy.spec.get("reinvocationPolicy") == "IfNeeded":
                rounds.asked.add(key)
        rounds.left = nested.loads(orjson.dumps(review.new)) if rounds.asked or rounds.due else None
        if failures:
            raise refusal(review, failures)

    def _follow(self, found: Invocation, review: Review, failures: list[Failure]) -> bool:
        """Makes the mutations of a policy; whether they changed something."""
        before = found.subject.show(review.new)
        if before is None:
            return False
        before = nested.loads(orjson.dumps(before))
        for kind, expression in found.policy.compiled.mutations:
            evaluation, wrong = self.evaluation(found, review)
            if evaluation is None and not wrong:
                return False
            try:
                if evaluation is None:
                    raise Unpatchable(wrong)
                made, error = evaluation.json(expression)
                if error:
                    raise Unpatchable(error.removeprefix("compilation error: "))
                current = nested.loads(orjson.dumps(found.subject.show(review.new)))
                found.subject.take(_laid_over(found, current, made) if kind == "ApplyConfiguration" else _json_patched(current, made))
            except (Unpatchable, OutOfBudget, DecodeError) as why:
                if not found.policy.forgiving:
                    failures.append(Failure(found.policy, found.binding, str(why), "Invalid"))
        return bool(found.subject.show(review.new) != before)


def _json_patched(current: Object, operations: list[Object]) -> Any:
    """A test that fails leaves the object as it is."""
    try:
        return patch.json_patch(nested.loads(orjson.dumps(current)), operations)
    except errors.Invalid as why:
        text = str(why.__cause__ or why)
        if "test" in text and "failed" in text:
            return current
        raise Unpatchable(f"JSONPath: {text}") from None


def _laid_over(found: Invocation, current: Object, applied: Object) -> Object:
    """The configuration merged into the object, as server-side apply would; nobody owns what it sets."""
    schema = found.subject.kind.schema
    wrong = merging.check(schema, applied)
    if wrong:
        listed = wrong[0] if len(wrong) == 1 else "\n".join(["errors:", *(f"  {text}" for text in wrong)])
        raise Unpatchable(f"error applying patch: failed to convert patch object to typed object: {listed}")
    atomic = list(_atomics(schema, applied, ""))
    if atomic:
        listed = ", ".join(atomic)
        raise Unpatchable(f"error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {listed}")
    merged: Object = merging.merge(schema, current, applied)
    return merged


def _atomics(schema: Schema, value: Any, path: str) -> Iterator[str]:
    """Paths of what has one owner as a whole: a patch of a part of it would remove the rest."""
    if isinstance(value, dict):
        if schema.atomic:
            yield path
        for key, item in value.items():
            yield from _atomics(fieldset.child(schema, key), item, f"{path}.{key}")
    elif isinstance(value, list):
        if schema.type == "list" and schema.list_type == "atomic":
            yield path
        for i, item in enumerate(value):
            yield from _atomics(schema.item or ANY, item, f"{path}[{i}]")


def refusal(review: Review, failures: list[Failure]) -> StatusError:
    """The answer to the client: the first failure, all of them as causes."""
    told = [_told(failure) for failure in failures]
    plain = forbidden(review, "")
    causes = [{"message": text} for text in told]
    return StatusError(told[0], {**(plain.details or {}), "causes": causes}, code=403, reason=failures[0].reason or "Forbidden")


def _told(failure: Failure) -> str:
    if failure.binding is None:
        return f'policy "{failure.policy.name}" denied request: {failure.message}'
    return f"policy '{failure.policy.name}' with binding '{failure.binding.name}' denied request: {failure.message}"
