"""NamespaceLifecycle: nothing is created in a namespace that is missing or going away, and three namespaces never go."""

from kapi.admission.plugin import CREATE, DELETE, ReadingPlugin, forbidden
from kapi.objects import errors
from kapi.objects.resource import NAMESPACES, Resource
from kapi.registry.admission import Review

IMMORTAL = frozenset({"default", "kube-system", "kube-public"})


class NamespaceLifecycle(ReadingPlugin):
    name = "NamespaceLifecycle"

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        if resource.plural == "namespaces" and not resource.group:
            return operation == DELETE
        return resource.namespaced and operation != DELETE and resource.plural != "localsubjectaccessreviews"

    def mutate(self, review: Review) -> None:
        if review.operation == DELETE:
            if review.name in IMMORTAL:
                raise errors.forbidden("namespaces", "", review.name, "this namespace may not be deleted")
            return
        if not review.namespace:
            return
        namespace = self.reader.get(NAMESPACES, "", review.namespace)
        if namespace is None:
            raise errors.not_found("namespaces", "", review.namespace)
        if review.operation == CREATE and (namespace.get("status") or {}).get("phase") == "Terminating":
            raise self._terminating(review)

    def _terminating(self, review: Review) -> errors.Forbidden:
        why = f"unable to create new content in namespace {review.namespace} because it is being terminated"
        error = forbidden(review, why)
        message = f"namespace {review.namespace} is being terminated"
        cause = {"reason": "NamespaceTerminating", "message": message, "field": "metadata.namespace"}
        error.details = {**(error.details or {}), "causes": [cause]}
        return error
