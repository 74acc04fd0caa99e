"""NamespaceLifecycle: nothing is created in a namespace that is missing or going away, and three namespaces never go."""

from kapi.admission.plugin import CREATE, DELETE, ReadingPlugin, forbidden
from kapi.objects import errors
from kapi.objects.resource import NAMESPACES, Resource
from kapi.registry.admission import AdmissionAttributes

IMMORTAL_NAMESPACES = frozenset({"default", "kube-system", "kube-public"})


class NamespaceLifecycle(ReadingPlugin):
    name = "NamespaceLifecycle"

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        if resource.plural == "namespaces" and not resource.group:
            return operation == DELETE
        return resource.namespaced and operation != DELETE and resource.plural != "localsubjectaccessreviews"

    def mutate(self, attrs: AdmissionAttributes) -> None:
        if attrs.operation == DELETE:
            if attrs.name in IMMORTAL_NAMESPACES:
                raise errors.forbidden("namespaces", "", attrs.name, "this namespace may not be deleted")
            return
        if not attrs.namespace:
            return
        namespace = self.reader.get(NAMESPACES, "", attrs.namespace)
        if namespace is None:
            raise errors.not_found("namespaces", "", attrs.namespace)
        if attrs.operation == CREATE and (namespace.get("status") or {}).get("phase") == "Terminating":
            raise self._terminating(attrs)

    def _terminating(self, attrs: AdmissionAttributes) -> errors.Forbidden:
        why = f"unable to create new content in namespace {attrs.namespace} because it is being terminated"
        error = forbidden(attrs, why)
        message = f"namespace {attrs.namespace} is being terminated"
        cause = {"reason": "NamespaceTerminating", "message": message, "field": "metadata.namespace"}
        error.details = {**(error.details or {}), "causes": [cause]}
        return error
