"""Which requests a webhook, policy or binding matches: its rules, its selectors, and equivalent versions of the resource (matchPolicy).

Source: "Matching requests" of the page on dynamic admission control. Calls and evaluation are in the plugins.
"""

from collections.abc import Iterator
from typing import Any

from kapi.admission.plugin import CREATE, UPDATE, Reader
from kapi.objects import errors, labels
from kapi.objects.labels import Selector
from kapi.objects.meta import Object
from kapi.objects.resource import NAMESPACES, Resource
from kapi.registry.admission import AdmissionAttributes
from kapi.registry.catalogue import Catalogue
from kapi.registry.kind import Kind

GROUP = "admissionregistration.k8s.io"
EXEMPT = frozenset(
    f"{phase}{what}"
    for phase in ("mutating", "validating")
    for what in ("webhookconfigurations", "admissionpolicies", "admissionpolicybindings")
)
"""Resources no webhook or policy is called for: one that rejected changes of these could not be removed any more."""


def is_exempt(resource: Resource) -> bool:
    """Whether webhooks and policies are never called for a resource."""
    return resource.group == GROUP and resource.plural in EXEMPT


def _is_namespace(resource: Resource) -> bool:
    return resource.plural == NAMESPACES.plural and not resource.group


def name_of(attrs: AdmissionAttributes) -> str:
    """The name in the URL, else the name in the new object."""
    return attrs.name or ((attrs.new or {}).get("metadata") or {}).get("name") or ""


def namespace_of(attrs: AdmissionAttributes) -> str:
    """The request's namespace; for a request on a Namespace its own name."""
    return name_of(attrs) if _is_namespace(attrs.kind.resource) else attrs.namespace


def _contains(listed: list[str], wanted: str) -> bool:
    return "*" in listed or wanted in listed


def rule_matches(rule: Object, attrs: AdmissionAttributes, resource: Resource) -> bool:
    """Whether a rule matches the request, as if it were on `resource`."""
    return (
        _in_scope(rule.get("scope") or "*", attrs, resource)
        and _contains(rule.get("operations") or [], attrs.operation)
        and _contains(rule.get("apiGroups") or [], resource.group)
        and _contains(rule.get("apiVersions") or [], resource.version)
        and any(_resource_matches(text, resource.plural, attrs.subresource) for text in rule.get("resources") or ())
        and (not rule.get("resourceNames") or name_of(attrs) in rule["resourceNames"])
    )


def _in_scope(scope: str, attrs: AdmissionAttributes, resource: Resource) -> bool:
    inside = bool(attrs.namespace) and not _is_namespace(resource)
    return scope == "*" or inside == (scope == "Namespaced")


def _resource_matches(text: str, plural: str, subresource: str) -> bool:
    """Whether a rule's entry matches: 'pods', 'pods/*', '*/scale', '*' (everything but subresources), '*/*'."""
    name, _, sub = text.partition("/")
    return name in ("*", plural) and sub in ("*", subresource)


class Criteria:
    """The parsed rules and selectors of one webhook, policy or binding."""

    def __init__(self, hook: Object, *, always: bool = False) -> None:
        """`always`: an empty list of rules matches every request."""
        self._rules: list[Object] = hook.get("rules") or hook.get("resourceRules") or []
        self._excluded: list[Object] = hook.get("excludeResourceRules") or []
        self._always = always and not self._rules
        self._equivalent = hook.get("matchPolicy") == "Equivalent"
        self._namespaces = labels.from_object(hook.get("namespaceSelector") or {})
        self._objects = labels.from_object(hook.get("objectSelector") or {})

    def matches(self, attrs: AdmissionAttributes, reader: Reader, catalogue: Catalogue) -> Kind | None:
        """The kind to convert the object to, or None when the request does not match.

        Raises NotFound when everything else matches and the namespace, whose labels decide, does not exist.
        """
        absent: errors.NotFound | None = None
        try:
            if not matches_namespace_selector(attrs, self._namespaces, reader):
                return None
        except errors.NotFound as found:
            absent = found
        if not matches_object_selector(attrs, self._objects):
            return None
        if self._matched_kind(self._excluded, attrs, catalogue) is not None:
            return None
        kind = attrs.kind if self._always else self._matched_kind(self._rules, attrs, catalogue)
        if kind is not None and absent is not None:
            raise absent
        return kind

    def affects(self, attrs: AdmissionAttributes, catalogue: Catalogue) -> bool:
        """Whether such requests match by their kind and operation, whatever their objects are."""
        return self._always or self._matched_kind(self._rules, attrs, catalogue) is not None

    def _matched_kind(self, rules: list[Object], attrs: AdmissionAttributes, catalogue: Catalogue) -> Kind | None:
        """The kind a rule matches: the request's own, else an equivalent one."""
        if any(rule_matches(rule, attrs, attrs.kind.resource) for rule in rules):
            return attrs.kind
        if not self._equivalent or not rules:
            return None
        others = list(equivalent_kinds(attrs.kind, catalogue))
        found = (kind for rule in rules for kind in others if rule_matches(rule, attrs, kind.resource))
        return next(found, None)


def equivalent_kinds(kind: Kind, catalogue: Catalogue) -> Iterator[Kind]:
    """Other versions (and groups) that serve the same stored objects."""
    return (other for other in catalogue if other.collection == kind.collection and other.resource != kind.resource)


def matches_namespace_selector(attrs: AdmissionAttributes, selector: Selector, reader: Reader) -> bool:
    """Whether the namespace's labels match; cluster-scoped objects always do. Raises NotFound."""
    resource = attrs.kind.resource
    if selector.empty or not (attrs.namespace or _is_namespace(resource)):
        return True
    if _is_namespace(resource) and not attrs.subresource and attrs.operation in (CREATE, UPDATE):
        return selector.matches(((attrs.new or {}).get("metadata") or {}).get("labels"))
    name = namespace_of(attrs)
    namespace = reader.get(NAMESPACES, "", name)
    if namespace is None:
        raise errors.not_found("namespaces", "", name)
    return selector.matches(namespace["metadata"].get("labels"))


def matches_object_selector(attrs: AdmissionAttributes, selector: Selector) -> bool:
    """Whether the labels of the new or the old object match."""
    shown: list[Any] = [obj.get("metadata") for obj in (attrs.new, attrs.old) if obj is not None]
    return selector.empty or any(meta is not None and selector.matches(meta.get("labels")) for meta in shown)
