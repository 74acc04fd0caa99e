"""The review kinds: questions that are answered and never stored. Only what a good question is stands here.

Who asks them (kapi.api) fills in `status`; see kapi.access for the answers.
"""

from typing import Any, ClassVar

from kapi.objects.errors import Cause
from kapi.registry.kinds.rules import Errors
from kapi.registry.strategy import Strategy

Object = dict[str, Any]

IGNORED = frozenset(("namespace", "managedFields", "uid", "selfLink", "creationTimestamp", "deletionTimestamp",
                     "deletionGracePeriodSeconds"))  # fmt: skip
"""Metadata that the server drops before it looks at a review."""
ONE_OF = "exactly one of nonResourceAttributes or resourceAttributes must be specified"


class AccessReviewStrategy(Strategy):
    """SelfSubjectAccessReview."""

    status = False
    generation = False
    names_user: ClassVar[bool] = False
    """Whether the review says whose access is asked for."""

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {})
        obj.setdefault("status", {}).setdefault("allowed", False)

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        _bare(e, new["metadata"])
        spec = new["spec"]
        wanted, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
        if wanted is not None and path is not None:
            e.invalid("spec.nonResourceAttributes", _shown(path), "cannot be specified in combination with resourceAttributes")
        if wanted is None and path is None:
            e.invalid("spec.resourceAttributes", None, ONE_OF)
        if self.names_user and not spec.get("user") and not spec.get("groups"):
            e.invalid("spec.user", "", "at least one of user or group must be specified")
        for kind in ("fieldSelector", "labelSelector"):
            if (selector := (wanted or {}).get(kind)) is not None:
                _validate_selector(e, f"spec.resourceAttributes.{kind}", selector)
        return e


class SubjectAccessReviewStrategy(AccessReviewStrategy):
    """SubjectAccessReview."""

    names_user = True


class LocalAccessReviewStrategy(SubjectAccessReviewStrategy):
    """LocalSubjectAccessReview."""

    def default(self, obj: Object) -> None:
        super().default(obj)
        for field in IGNORED - {"namespace", "managedFields"}:
            obj["metadata"].pop(field, None)

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        spec, namespace = new["spec"], new["metadata"].get("namespace") or ""
        e = Errors(super().validate(new, old))
        wanted = spec.get("resourceAttributes")
        if wanted is not None and (wanted.get("namespace") or "") != namespace:
            e.invalid("spec.resourceAttributes.namespace", wanted.get("namespace") or "", "must match metadata.namespace")
        if spec.get("nonResourceAttributes") is not None:
            e.invalid("spec.nonResourceAttributes", _shown(spec["nonResourceAttributes"]), "disallowed on this kind of request")
        return e


class TokenReviewStrategy(Strategy):
    """TokenReview."""

    status = False
    generation = False

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {})
        obj.setdefault("status", {}).setdefault("user", {})


class SelfSubjectReviewStrategy(Strategy):
    """SelfSubjectReview."""

    status = False
    generation = False

    def default(self, obj: Object) -> None:
        obj.setdefault("status", {}).setdefault("userInfo", {})


def _shown(path: Object) -> Object:
    return {"Path": path.get("path") or "", "Verb": path.get("verb") or ""}


def _bare(e: Errors, metadata: Object) -> None:
    """A question has no metadata but its namespace (and what the server notes of fields)."""
    if any(value for key, value in metadata.items() if key not in IGNORED):
        order = ("name", "generateName", "namespace", "selfLink", "uid", "resourceVersion", "generation", "creationTimestamp",
                 "deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations", "ownerReferences", "finalizers",
                 "managedFields")  # fmt: skip
        shown = {key: metadata[key] for key in order if metadata.get(key)}
        e.invalid("metadata", shown, "must be empty except for namespace" if metadata.get("namespace") else "must be empty")


def _validate_selector(e: Errors, at: str, selector: Object) -> None:
    raw, requirements = selector.get("rawSelector"), selector.get("requirements")
    if raw and requirements:
        e.invalid(f"{at}.rawSelector", raw, f"may not specified at the same time as {at.removeprefix('spec.')}.requirements")
    if not raw and not requirements:
        e.required(f"{at}.requirements", f"when {at} is specified, requirements or rawSelector is required")
    for i, part in enumerate(requirements or ()):
        where, operator = f"{at}.requirements[{i}]", part.get("operator") or ""
        e.need(f"{where}.key", part.get("key"), "must be specified")
        if operator in ("In", "NotIn"):
            e.need(f"{where}.values", part.get("values"), "must be specified when `operator` is 'In' or 'NotIn'")
        elif operator in ("Exists", "DoesNotExist") and part.get("values"):
            e.forbidden(f"{where}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
        elif not operator:
            e.required(f"{where}.operator", "must be specified")
