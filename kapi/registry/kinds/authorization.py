"""authorization.k8s.io: SubjectAccessReview with its local and self forms. Validation only.

None of them is stored: kapi.api fills in `status` from the authorizers of kapi.access and returns the object.
"""

from typing import ClassVar

from kapi.objects.meta import Object
from kapi.registry.validation.part import Part, PlainStrategy

IGNORED = frozenset(("namespace", "managedFields", "uid", "selfLink", "creationTimestamp", "deletionTimestamp",
                     "deletionGracePeriodSeconds"))  # fmt: skip
"""Metadata that the server drops from a review before it validates it."""
ONE_OF = "exactly one of nonResourceAttributes or resourceAttributes must be specified"


class AccessReviewStrategy(PlainStrategy):
    """SelfSubjectAccessReview."""

    names_user: ClassVar[bool] = False
    """Whether the spec names the user whose access is checked."""

    def check(self, new: Part, old: Object | None) -> None:
        _check_no_metadata(new)
        spec = new.part("spec")
        resource, path = "resourceAttributes", "nonResourceAttributes"
        if resource in spec and path in spec:
            _refuse_path(spec, "cannot be specified in combination with resourceAttributes")
        if resource not in spec and path not in spec:
            spec.invalid(resource, ONE_OF)
        if self.names_user and not spec.text("user") and not spec.items("groups"):
            new.e.invalid("spec.user", "", "at least one of user or group must be specified")
        for kind in ("fieldSelector", "labelSelector"):
            if kind in spec.part(resource):
                _check_selector(spec.part(resource).part(kind))


class SubjectAccessReviewStrategy(AccessReviewStrategy):
    """SubjectAccessReview."""

    names_user = True


class LocalAccessReviewStrategy(SubjectAccessReviewStrategy):
    """LocalSubjectAccessReview."""

    def default(self, obj: Object) -> None:
        for field in IGNORED - {"namespace", "managedFields"}:
            obj["metadata"].pop(field, None)

    def check(self, new: Part, old: Object | None) -> None:
        super().check(new, old)
        spec, namespace = new.part("spec"), new.part("metadata").text("namespace")
        attributes = spec.part("resourceAttributes")
        if "resourceAttributes" in spec and attributes.text("namespace") != namespace:
            new.e.invalid(attributes.path("namespace"), attributes.text("namespace"), "must match metadata.namespace")
        if "nonResourceAttributes" in spec:
            _refuse_path(spec, "disallowed on this kind of request")


def _refuse_path(spec: Part, why: str) -> None:
    path = spec.part("nonResourceAttributes")
    spec.e.invalid(path.at, {"Path": path.text("path"), "Verb": path.text("verb")}, why)


def _check_no_metadata(review: Part) -> None:
    """A review has no metadata but its namespace (and managedFields, which the server sets)."""
    metadata = review.part("metadata").obj
    if any(value for key, value in metadata.items() if key not in IGNORED):
        order = ("name", "generateName", "namespace", "selfLink", "uid", "resourceVersion", "generation", "creationTimestamp",
                 "deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations", "ownerReferences", "finalizers",
                 "managedFields")  # fmt: skip
        shown = {key: metadata[key] for key in order if metadata.get(key)}
        text = "must be empty except for namespace" if metadata.get("namespace") else "must be empty"
        review.e.invalid("metadata", shown, text)


def _check_selector(selector: Part) -> None:
    raw, requirements = selector.text("rawSelector"), selector.items("requirements")
    if raw and requirements:
        at = selector.at.removeprefix("spec.")
        selector.invalid("rawSelector", f"may not specified at the same time as {at}.requirements")
    if not raw and not requirements:
        selector.required("requirements", f"when {selector.at} is specified, requirements or rawSelector is required")
    for part in selector.parts("requirements"):
        part.need("key", "must be specified")
        operator = part.text("operator")
        if operator in ("In", "NotIn"):
            part.need("values", "must be specified when `operator` is 'In' or 'NotIn'")
        elif operator in ("Exists", "DoesNotExist") and part.items("values"):
            part.forbidden("values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
        elif not operator:
            part.required("operator", "must be specified")
