"""Admission policies and their bindings: which of them match a request, with which parameter objects. Evaluation is in the two plugins.

Policies without a binding do nothing. Source: the page on validating admission policies, and the policy plugins of the API server (v1.36).
"""

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from kapi import limits
from kapi.admission.admission_review import VersionedAttributes
from kapi.admission.matching import GROUP, Criteria, is_exempt
from kapi.admission.plugin import Authorizer, Plugin, Reader
from kapi.objects import errors, labels
from kapi.objects.meta import Object
from kapi.objects.resource import NAMESPACES, Resource
from kapi.registry.admission import AdmissionAttributes
from kapi.registry.catalogue import Catalogue
from kapi.registry.kind import Kind

if TYPE_CHECKING:
    from kapi.admission.expressions import CompiledPolicy, Evaluation

PARAMS_NOT_FOUND = "no params found for policy binding with `Deny` parameterNotFoundAction"


class ConfigurationError(Exception):
    """A policy or binding is misconfigured; the text says how."""


class Policy:
    """One parsed policy; its expressions are compiled when it first matches a request."""

    def __init__(self, obj: Object) -> None:
        self.name: str = obj["metadata"]["name"]
        self.spec: Object = obj["spec"]
        self.criteria = Criteria(self.spec.get("matchConstraints") or {})
        self.ignore_errors = self.spec.get("failurePolicy") == "Ignore"
        self.param_kind: Object | None = self.spec.get("paramKind")

    @cached_property
    def compiled(self) -> "CompiledPolicy":
        from kapi.admission import expressions  # only servers with policies load CEL

        return expressions.CompiledPolicy(self.spec, self.ignore_errors)

    @property
    def long(self) -> bool:
        """Whether its expressions may take long, or are not compiled yet."""
        return "compiled" not in self.__dict__ or self.compiled.max_cost > limits.OFFLOAD_COST


class Binding:
    """One parsed binding of a policy."""

    def __init__(self, obj: Object) -> None:
        self.name: str = obj["metadata"]["name"]
        spec: Object = obj["spec"]
        self.policy: str = spec.get("policyName") or ""
        self.ref: Object | None = spec.get("paramRef")
        self.actions: list[str] = spec.get("validationActions") or []
        self.criteria = Criteria(spec.get("matchResources") or {}, always=True)


class Failure(NamedTuple):
    """Why a policy denies the request. `binding` is None when the policy itself is misconfigured."""

    policy: Policy
    binding: Binding | None
    message: str
    reason: str = ""


class Invocation(NamedTuple):
    """A policy with a binding that matches the request, and one of its parameter objects."""

    policy: Policy
    binding: Binding
    versioned: VersionedAttributes
    params: Object | None

    @property
    def key(self) -> tuple[str, ...]:
        meta = (self.params or {}).get("metadata") or {}
        return (self.policy.name, self.binding.name, meta.get("namespace") or "", meta.get("name") or "")


class Policies(Plugin):
    """Base of the two policy plugins."""

    listed: ClassVar[Resource]
    bindings: ClassVar[Resource]

    def __init__(self, reader: Reader, catalogue: Catalogue, authorizer: Authorizer) -> None:
        self.reader, self.catalogue, self.authorizer = reader, catalogue, authorizer
        self._listed: tuple[list[Object], list[Object]] = ([], [])
        self._hooks: list[tuple[Policy, list[Binding]]] = []

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return not is_exempt(resource)

    @cached_property
    def _policies(self) -> Callable[[], list[Object]]:
        return self.reader.lister(self.listed)

    @cached_property
    def _bindings(self) -> Callable[[], list[Object]]:
        return self.reader.lister(self.bindings)

    def hooks(self) -> list[tuple[Policy, list[Binding]]]:
        """The current policies that have bindings, by name."""
        policies, bindings = self._policies(), self._bindings()
        if policies is not self._listed[0] or bindings is not self._listed[1]:
            kept = {policy.name: policy for policy, _ in self._hooks} if policies is self._listed[0] else {}
            bound: dict[str, list[Binding]] = {}
            for obj in bindings:
                binding = Binding(obj)
                bound.setdefault(binding.policy, []).append(binding)
            named = [(obj["metadata"]["name"], obj) for obj in policies]
            self._hooks = [(kept.get(name) or Policy(obj), bound[name]) for name, obj in named if name in bound]
            self._listed = (policies, bindings)
        return self._hooks

    def waits(self, attrs: AdmissionAttributes) -> bool:
        return self.handles("", attrs.kind.resource, "") and any(p.criteria.affects(attrs, self.catalogue) for p, _ in self.hooks())

    def invocations(self, attrs: AdmissionAttributes, failures: list[Failure]) -> Iterator[Invocation]:
        """The invocations that match the request. Misconfigurations go into `failures`, unless failurePolicy is Ignore."""
        for policy, bindings in self.hooks():
            try:
                kind = policy.criteria.matches(attrs, self.reader, self.catalogue)
                params = self._param_kind(policy) if kind is not None else None
            except (ConfigurationError, errors.NotFound) as why:
                self._fail(failures, policy, None, f"failed to configure policy: {why}")
                continue
            if kind is None:
                continue
            for binding in bindings:
                try:
                    if binding.criteria.matches(attrs, self.reader, self.catalogue) is None:
                        continue
                    found = self._params(binding, params, attrs.namespace)
                except (ConfigurationError, errors.NotFound) as why:
                    self._fail(failures, policy, binding, f"failed to configure binding: {why}")
                    continue
                for param in found:
                    yield Invocation(policy, binding, VersionedAttributes(attrs, kind), param)

    def _fail(self, failures: list[Failure], policy: Policy, binding: Binding | None, message: str) -> None:
        if not policy.ignore_errors:
            failures.append(Failure(policy, binding, message))

    def _param_kind(self, policy: Policy) -> Kind | None:
        if policy.param_kind is None:
            return None
        version, name = policy.param_kind["apiVersion"], policy.param_kind["kind"]
        found = self.catalogue.by_kind(version, name)
        if found is None:
            shown = f"{version}, Kind={name}" if "/" in version else f"/{version}, Kind={name}"
            raise ConfigurationError(f"failed to find resource referenced by paramKind: '{shown}'")
        return found

    def _params(self, binding: Binding, kind: Kind | None, namespace: str) -> list[Object | None]:
        """The parameter objects of a binding; [None] for a policy without parameters."""
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
            raise ConfigurationError(PARAMS_NOT_FOUND)
        return [{**obj, "kind": kind.resource.kind, "apiVersion": kind.resource.api_version} for obj in found]

    def _within(self, kind: Kind, ref: Object, namespace: str) -> str:
        """The namespace of the parameters."""
        requested: str = ref.get("namespace") or ""
        if not kind.resource.namespaced:
            if requested:
                raise ConfigurationError("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
            return ""
        if not requested and not namespace:
            raise ConfigurationError("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources")
        return requested or namespace

    def evaluation(self, invocation: Invocation, attrs: AdmissionAttributes) -> "tuple[Evaluation | None, str]":
        """(evaluation, error): None where the matchConditions are false, with an error where they cannot be evaluated."""
        from kapi.admission import expressions  # see Policy.compiled

        policy = invocation.policy.compiled
        activation = expressions.activation(attrs, invocation.versioned, self.authorizer, self._namespace(attrs))
        activation["params"] = invocation.params
        matched, wrong = policy.match_conditions.matches(activation, policy.variables)
        return (expressions.Evaluation(activation, policy.variables), "") if matched else (None, wrong)

    def _namespace(self, attrs: AdmissionAttributes) -> Object | None:
        """The Namespace object of the request. Raises NotFound."""
        if not attrs.namespace or attrs.kind.resource == NAMESPACES:
            return None
        found = self.reader.get(NAMESPACES, "", attrs.namespace)
        if found is None:
            raise errors.not_found("namespaces", "", attrs.namespace)
        return found


def resources(plural: str, kind: str) -> tuple[Resource, Resource]:
    """(policy resource, binding resource)."""
    policy = Resource(GROUP, "v1", plural, kind, False)
    return policy, Resource(GROUP, "v1", f"{plural.removesuffix('ies')}ybindings", f"{kind}Binding", False)
