"""PodSecurity: labels of a namespace set the Pod Security Standard its pods must meet (enforce) or are checked against (warn, audit)."""

import asyncio
from collections.abc import Awaitable

from kapi import limits
from kapi.admission.plugin import CREATE, UPDATE, ReadingPlugin, display_name, forbidden, is_pod
from kapi.admission.pod_security_levels import LABEL, LevelVersion, policy
from kapi.objects import errors
from kapi.objects.meta import Object
from kapi.objects.resource import NAMESPACES, PODS, Resource
from kapi.registry.admission import AdmissionAttributes

_TEMPLATES = {
    ("", "podtemplates"): ("template",),
    ("", "replicationcontrollers"): ("spec", "template"),
    ("apps", "replicasets"): ("spec", "template"),
    ("apps", "deployments"): ("spec", "template"),
    ("apps", "statefulsets"): ("spec", "template"),
    ("apps", "daemonsets"): ("spec", "template"),
    ("batch", "jobs"): ("spec", "template"),
    ("batch", "cronjobs"): ("spec", "jobTemplate", "spec", "template"),
}

_IN_A_TURN = 50
"""Pods that are checked in one turn of the event loop."""


class PodSecurity(ReadingPlugin):
    name = "PodSecurity"

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        if operation not in (CREATE, UPDATE) or subresource not in ("", "ephemeralcontainers"):
            return False
        return is_pod(resource) or resource.plural == "namespaces" or (resource.group, resource.plural) in _TEMPLATES

    def validate(self, attrs: AdmissionAttributes) -> Awaitable[None] | None:
        resource = attrs.kind.resource
        if resource.plural == "namespaces":
            return self._namespace(attrs)
        namespace = self.reader.get(NAMESPACES, "", attrs.namespace)
        labels = ((namespace or {}).get("metadata") or {}).get("labels") or {}
        if not any(key.startswith(LABEL) for key in labels):
            return None
        if is_pod(resource):
            self._pod(attrs, labels)
        else:
            self._template(attrs, labels, _TEMPLATES[resource.group, resource.plural])
        return None

    def _pod(self, attrs: AdmissionAttributes, labels: dict[str, str]) -> None:
        pod = attrs.new or {}
        if attrs.operation == UPDATE and not _changed(attrs.old or {}, pod):
            return
        enforced = policy(labels)[0].enforce
        if wrong := enforced.violations(pod["metadata"], pod["spec"]):
            raise forbidden(attrs, f'violates PodSecurity "{enforced}": {wrong}')
        self._warn_and_audit(attrs, labels, pod["metadata"], pod["spec"])

    def _template(self, attrs: AdmissionAttributes, labels: dict[str, str], path: tuple[str, ...]) -> None:
        """Workloads only cause warnings: enforcement is on their pods."""
        template = attrs.new or {}
        for step in path:
            template = template.get(step) or {}
        if template.get("spec"):
            self._warn_and_audit(attrs, labels, template.get("metadata") or {}, template["spec"])

    def _warn_and_audit(self, attrs: AdmissionAttributes, labels: dict[str, str], meta: Object, spec: Object) -> None:
        chosen, _ = policy(labels)
        if wrong := chosen.audit.violations(meta, spec):
            attrs.annotations[f"{LABEL}audit-violations"] = f'would violate PodSecurity "{chosen.audit}": {wrong}'
        if wrong := chosen.warn.violations(meta, spec):
            attrs.warnings.append(f'would violate PodSecurity "{chosen.warn}": {wrong}')

    def _namespace(self, attrs: AdmissionAttributes) -> Awaitable[None] | None:
        """Labels must be readable when they are set; a stricter enforce level causes warnings about existing pods."""
        if attrs.subresource:
            return None
        labels, old_labels = (((o or {}).get("metadata") or {}).get("labels") or {} for o in (attrs.new, attrs.old))
        (new, wrong), (old, wrong_before) = policy(labels), policy(old_labels)
        if wrong and wrong != wrong_before:
            raise errors.invalid("Namespace", "", display_name(attrs), wrong)
        if attrs.operation != UPDATE or not new.enforce.needs_look(old.enforce):
            return None
        return self._warn_of_pods(attrs, new.enforce)

    async def _warn_of_pods(self, attrs: AdmissionAttributes, level: LevelVersion) -> None:
        found: dict[str, list[str]] = {}
        pods = self.reader.entries(PODS, attrs.name)
        for i, entry in enumerate(pods[: limits.PODS_CHECKED]):
            if i % _IN_A_TURN == _IN_A_TURN - 1:
                await asyncio.sleep(0)
            pod = entry.obj
            if wrong := [reason for reason, _ in level.findings(pod["metadata"], pod["spec"])]:
                found.setdefault(", ".join(wrong), []).append(pod["metadata"]["name"])
        if len(pods) > limits.PODS_CHECKED:
            which = f"the first {limits.PODS_CHECKED} of {len(pods)} existing pods"
            attrs.warnings.append(f"new PodSecurity enforce level only checked against {which}")
        if found:
            head = f'existing pods in namespace "{attrs.name}" violate the new PodSecurity enforce level "{level}"'
            attrs.warnings.append(head)
            attrs.warnings += sorted(f"{_pod_count(names)}: {wrong}" for wrong, names in found.items())


def _pod_count(pods: list[str]) -> str:
    more = len(pods) - 1
    return pods[0] if not more else f"{pods[0]} (and {more} other pod{'s' if more != 1 else ''})"


def _changed(old: Object, new: Object) -> bool:
    """Whether an update changes what the checks read: containers, and seccomp and AppArmor annotations."""
    fields = ("initContainers", "containers", "ephemeralContainers")
    before, after = ([(old.get("spec") or {}).get(f) for f in fields], [(new.get("spec") or {}).get(f) for f in fields])
    return before != after or _profiles(old) != _profiles(new)


def _profiles(pod: Object) -> Object:
    annotations = pod["metadata"].get("annotations") or {}
    return {k: v for k, v in annotations.items() if "apparmor" in k or "seccomp" in k}
