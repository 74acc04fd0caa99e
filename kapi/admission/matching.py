"""Which requests a webhook (or a policy) is asked about: its rules, its selectors, and other versions of the same resource.

Source: "Matching requests" of the page on dynamic admission control. What is then said or called is left to the plugins.
"""

from collections.abc import Iterator
from typing import Any

from kapi.admission.plugin import CREATE, UPDATE, Reader
from kapi.objects import errors, labels
from kapi.objects.labels import Selector
from kapi.objects.meta import Object
from kapi.objects.resource import NAMESPACES, Resource
from kapi.registry.admission import Review
from kapi.registry.catalogue import Catalogue
from kapi.registry.kind import Kind

GROUP = "admissionregistration.k8s.io"
EXEMPT = frozenset(
    f"{phase}{what}"
    for phase in ("mutating", "validating")
    for what in ("webhookconfigurations", "admissionpolicies", "admissionpolicybindings")
)
"""What nobody is asked about: whoever could refuse these could not be removed any more."""


def asked(resource: Resource) -> bool:
    """Whether webhooks and policies are asked about a resource at all."""
    return resource.group != GROUP or resource.plural not in EXEMPT


def _is_namespace(resource: Resource) -> bool:
    return resource.plural == NAMESPACES.plural and not resource.group


def name_of(review: Review) -> str:
    """The name asked for, also where the object alone says it."""
    return review.name or ((review.new or {}).get("metadata") or {}).get("name") or ""


def namespace_of(review: Review) -> str:
    """The request's namespace; that of a request on a namespace is the namespace itself."""
    return name_of(review) if _is_namespace(review.kind.resource) else review.namespace


def _has(listed: list[str], wanted: str) -> bool:
    return "*" in listed or wanted in listed


def covers(rule: Object, review: Review, resource: Resource) -> bool:
    """Whether a rule speaks of the request, were it on `resource`."""
    return (
        _in_scope(rule.get("scope") or "*", review, resource)
        and _has(rule.get("operations") or [], review.operation)
        and _has(rule.get("apiGroups") or [], resource.group)
        and _has(rule.get("apiVersions") or [], resource.version)
        and any(_names(text, resource.plural, review.subresource) for text in rule.get("resources") or ())
        and (not rule.get("resourceNames") or name_of(review) in rule["resourceNames"])
    )


def _in_scope(scope: str, review: Review, resource: Resource) -> bool:
    inside = bool(review.namespace) and not _is_namespace(resource)
    return scope == "*" or inside == (scope == "Namespaced")


def _names(text: str, plural: str, subresource: str) -> bool:
    """'pods', 'pods/*', '*/scale', '*' (all but subresources), '*/*'."""
    name, _, sub = text.partition("/")
    return name in ("*", plural) and sub in ("*", subresource)


class Criteria:
    """The rules and selectors of one webhook, policy or binding, understood."""

    def __init__(self, hook: Object, *, always: bool = False) -> None:
        """`always`: no rules at all mean every request."""
        self._rules: list[Object] = hook.get("rules") or hook.get("resourceRules") or []
        self._excluded: list[Object] = hook.get("excludeResourceRules") or []
        self._always = always and not self._rules
        self._equivalent = hook.get("matchPolicy") == "Equivalent"
        self._namespaces = labels.from_object(hook.get("namespaceSelector") or {})
        self._objects = labels.from_object(hook.get("objectSelector") or {})

    def meets(self, review: Review, reader: Reader, catalogue: Catalogue) -> Kind | None:
        """The kind in which the webhook wants to see the object, or None when it is not asked.

        Raises NotFound when the rules match and the namespace, whose labels decide, is not there.
        """
        absent: errors.NotFound | None = None
        try:
            if not in_namespace(review, self._namespaces, reader):
                return None
        except errors.NotFound as found:
            absent = found
        if not has_labels(review, self._objects):
            return None
        if self._found(self._excluded, review, catalogue) is not None:
            return None
        kind = review.kind if self._always else self._found(self._rules, review, catalogue)
        if kind is not None and absent is not None:
            raise absent
        return kind

    def _found(self, rules: list[Object], review: Review, catalogue: Catalogue) -> Kind | None:
        """The kind of which the rules speak: the request's own, else one that shows the same objects."""
        if any(covers(rule, review, review.kind.resource) for rule in rules):
            return review.kind
        if not self._equivalent or not rules:
            return None
        others = list(equivalents(review.kind, catalogue))
        found = (kind for rule in rules for kind in others if covers(rule, review, kind.resource))
        return next(found, None)


def equivalents(kind: Kind, catalogue: Catalogue) -> Iterator[Kind]:
    """Other versions (and groups) that show the same objects."""
    return (other for other in catalogue if other.collection == kind.collection and other.resource != kind.resource)


def in_namespace(review: Review, selector: Selector, reader: Reader) -> bool:
    """Whether the namespace has the labels asked for; what is in no namespace always has. Raises NotFound."""
    resource = review.kind.resource
    if selector.empty or not (review.namespace or _is_namespace(resource)):
        return True
    if _is_namespace(resource) and not review.subresource and review.operation in (CREATE, UPDATE):
        return selector.matches(((review.new or {}).get("metadata") or {}).get("labels"))
    name = namespace_of(review)
    namespace = reader.get(NAMESPACES, "", name)
    if namespace is None:
        raise errors.not_found("namespaces", "", name)
    return selector.matches(namespace["metadata"].get("labels"))


def has_labels(review: Review, selector: Selector) -> bool:
    """Whether the object, as it was or as it will be, has the labels asked for."""
    shown: list[Any] = [obj.get("metadata") for obj in (review.new, review.old) if obj is not None]
    return selector.empty or any(meta is not None and selector.matches(meta.get("labels")) for meta in shown)
