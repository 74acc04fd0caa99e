"""Admission policies and their bindings: which of them a request concerns, with which parameters. What follows is for the two plugins.

Policies without a binding do nothing. Source: the page on validating admission policies, and the policy plugins of the API server (v1.36).
"""

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from kapi import limits
from kapi.admission.admission_review import Subject
from kapi.admission.matching import GROUP, Criteria, asked
from kapi.admission.plugin import Authorizer, Plugin, Reader
from kapi.objects import errors, labels
from kapi.objects.meta import Object
from kapi.objects.resource import NAMESPACES, Resource
from kapi.registry.admission import Review
from kapi.registry.catalogue import Catalogue
from kapi.registry.kind import Kind

if TYPE_CHECKING:
    from kapi.admission.expressions import Compiled, Evaluation

GIVEN_UP = "no params found for policy binding with `Deny` parameterNotFoundAction"


class Misconfigured(Exception):
    """A policy or binding cannot be followed; the text says why."""


class Policy:
    """One policy, understood; its expressions are compiled when it first concerns a request."""

    def __init__(self, given: Object) -> None:
        self.name: str = given["metadata"]["name"]
        self.spec: Object = given["spec"]
        self.criteria = Criteria(self.spec.get("matchConstraints") or {})
        self.forgiving = self.spec.get("failurePolicy") == "Ignore"
        self.param_kind: Object | None = self.spec.get("paramKind")

    @cached_property
    def compiled(self) -> "Compiled":
        from kapi.admission import expressions  # only servers with policies load CEL

        return expressions.Compiled(self.spec, self.forgiving)

    @property
    def long(self) -> bool:
        """Whether its expressions may take long, or are yet to be compiled."""
        return "compiled" not in self.__dict__ or self.compiled.worst > limits.OFFLOAD_COST


class Binding:
    """One binding of a policy, understood."""

    def __init__(self, given: Object) -> None:
        self.name: str = given["metadata"]["name"]
        spec: Object = given["spec"]
        self.policy: str = spec.get("policyName") or ""
        self.ref: Object | None = spec.get("paramRef")
        self.actions: list[str] = spec.get("validationActions") or []
        self.criteria = Criteria(spec.get("matchResources") or {}, always=True)


class Failure(NamedTuple):
    """A request that may not pass."""

    policy: Policy
    binding: Binding | None
    message: str
    reason: str = ""


class Invocation(NamedTuple):
    """A policy with a binding that concerns the request, and one of the parameters it is to be followed with."""

    policy: Policy
    binding: Binding
    subject: Subject
    params: Object | None

    @property
    def key(self) -> tuple[str, ...]:
        meta = (self.params or {}).get("metadata") or {}
        return (self.policy.name, self.binding.name, meta.get("namespace") or "", meta.get("name") or "")


class Policies(Plugin):
    """What both plugins have in common."""

    listed: ClassVar[Resource]
    bindings: ClassVar[Resource]

    def __init__(self, reader: Reader, catalogue: Catalogue, authorizer: Authorizer) -> None:
        self.reader, self.catalogue, self.authorizer = reader, catalogue, authorizer
        self._known: tuple[list[Object], list[Object]] = ([], [])
        self._hooks: list[tuple[Policy, list[Binding]]] = []

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return asked(resource)

    @cached_property
    def _policies(self) -> Callable[[], list[Object]]:
        return self.reader.listing(self.listed)

    @cached_property
    def _bindings(self) -> Callable[[], list[Object]]:
        return self.reader.listing(self.bindings)

    def hooks(self) -> list[tuple[Policy, list[Binding]]]:
        """The policies there are now that have bindings, by name."""
        policies, bindings = self._policies(), self._bindings()
        if policies is not self._known[0] or bindings is not self._known[1]:
            kept = {policy.name: policy for policy, _ in self._hooks} if policies is self._known[0] else {}
            bound: dict[str, list[Binding]] = {}
            for given in bindings:
                binding = Binding(given)
                bound.setdefault(binding.policy, []).append(binding)
            named = [(obj["metadata"]["name"], obj) for obj in policies]
            self._hooks = [(kept.get(name) or Policy(obj), bound[name]) for name, obj in named if name in bound]
            self._known = (policies, bindings)
        return self._hooks

    def invocations(self, review: Review, failures: list[Failure]) -> Iterator[Invocation]:
        """What concerns the request; what cannot be followed is told to `failures`, unless the policy forgives."""
        for policy, bindings in self.hooks():
            try:
                kind = policy.criteria.meets(review, self.reader, self.catalogue)
                params = self._param_kind(policy) if kind is not None else None
            except (Misconfigured, errors.NotFound) as why:
                self._fail(failures, policy, None, f"failed to configure policy: {why}")
                continue
            if kind is None:
                continue
            for binding in bindings:
                try:
                    if binding.criteria.meets(review, self.reader, self.catalogue) is None:
                        continue
                    found = self._params(binding, params, review.namespace)
                except (Misconfigured, errors.NotFound) as why:
                    self._fail(failures, policy, binding, f"failed to configure binding: {why}")
                    continue
                for param in found:
                    yield Invocation(policy, binding, Subject(review, kind), param)

    def _fail(self, failures: list[Failure], policy: Policy, binding: Binding | None, message: str) -> None:
        if not policy.forgiving:
            failures.append(Failure(policy, binding, message))

    def _param_kind(self, policy: Policy) -> Kind | None:
        if policy.param_kind is None:
            return None
        version, name = policy.param_kind["apiVersion"], policy.param_kind["kind"]
        found = self.catalogue.by_kind(version, name)
        if found is None:
            shown = f"{version}, Kind={name}" if "/" in version else f"/{version}, Kind={name}"
            raise Misconfigured(f"failed to find resource referenced by paramKind: '{shown}'")
        return found

    def _params(self, binding: Binding, kind: Kind | None, namespace: str) -> list[Object | None]:
        """The parameters a binding means; [None] where there are none to be had."""
        ref = binding.ref
        if kind is None or ref is None:
            return [None]
        within = self._within(kind, ref, namespace)
        if ref.get("name"):
            one = self.reader.get(kind.resource, within, ref["name"])
            found = [] if one is None else [one]
        else:
            selector = labels.from_object(ref.get("selector") or {})
            found = [obj for obj in self.reader.list(kind.resource, within) if selector.matches(obj["metadata"].get("labels"))]
        if not found and ref.get("parameterNotFoundAction") == "Deny":
            raise Misconfigured(GIVEN_UP)
        return [{**obj, "kind": kind.resource.kind, "apiVersion": kind.resource.api_version} for obj in found]

    def _within(self, kind: Kind, ref: Object, namespace: str) -> str:
        """The namespace of the parameters."""
        given: str = ref.get("namespace") or ""
        if not kind.resource.namespaced:
            if given:
                raise Misconfigured("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
            return ""
        if not given and not namespace:
            raise Misconfigured("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources")
        return given or namespace

    def evaluation(self, found: Invocation, review: Review) -> "tuple[Evaluation | None, str]":
        """What the policy's expressions see; None where its conditions are not met, with why that cannot be said."""
        from kapi.admission import expressions  # see Policy.compiled

        variables = found.policy.compiled.variables
        given = expressions.given(review, found.subject, self.authorizer, self._namespace(review)) | {"params": found.params}
        met, wrong = found.policy.compiled.conditions.met(given, variables)
        return (expressions.Evaluation(given, variables), "") if met else (None, wrong)

    def _namespace(self, review: Review) -> Object | None:
        """The namespace the request is in. Raises NotFound."""
        if not review.namespace or review.kind.resource == NAMESPACES:
            return None
        found = self.reader.get(NAMESPACES, "", review.namespace)
        if found is None:
            raise errors.not_found("namespaces", "", review.namespace)
        return found


def resources(plural: str, kind: str) -> tuple[Resource, Resource]:
    """Policies of a sort, and their bindings."""
    policy = Resource(GROUP, "v1", plural, kind, False)
    return policy, Resource(GROUP, "v1", f"{plural.removesuffix('ies')}ybindings", f"{kind}Binding", False)
