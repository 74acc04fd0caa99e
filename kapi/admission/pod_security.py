"""PodSecurity: labels of a namespace set the Pod Security Standard its pods must meet (enforce) or are checked against (warn, audit)."""

from kapi.admission import pod_security_checks as checks
from kapi.admission.plugin import CREATE, UPDATE, ReadingPlugin, forbidden, is_pod
from kapi.objects.meta import Object
from kapi.objects.resource import NAMESPACES, PODS, Resource
from kapi.registry.admission import AdmissionAttributes

LABEL = "pod-security.kubernetes.io/"
LEVELS = {"baseline": checks.BASELINE, "restricted": checks.RESTRICTED}
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


def policy(labels: dict[str, str], mode: str) -> tuple[str, str]:
    """('restricted', 'latest'): the level and version a namespace's labels set for a mode."""
    level = labels.get(LABEL + mode, "privileged")
    return level, labels.get(f"{LABEL}{mode}-version", "latest")


def violations(level: str, meta: Object, spec: Object) -> str:
    """'privileged (container "c" must not …), …', or '' when the pod meets the level."""
    found = [finding for check in LEVELS.get(level, ()) if (finding := check(meta, spec))]
    return ", ".join(f"{reason} ({detail})" for reason, detail in found)


class PodSecurity(ReadingPlugin):
    name = "PodSecurity"

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        if operation not in (CREATE, UPDATE) or subresource not in ("", "ephemeralcontainers"):
            return False
        return is_pod(resource) or resource.plural == "namespaces" or (resource.group, resource.plural) in _TEMPLATES

    def validate(self, attrs: AdmissionAttributes) -> None:
        resource = attrs.kind.resource
        if resource.plural == "namespaces":
            self._namespace(attrs)
            return
        namespace = self.reader.get(NAMESPACES, "", attrs.namespace)
        labels = ((namespace or {}).get("metadata") or {}).get("labels") or {}
        if not any(key.startswith(LABEL) for key in labels):
            return
        if is_pod(resource):
            self._pod(attrs, labels)
        else:
            self._template(attrs, labels, _TEMPLATES[resource.group, resource.plural])

    def _pod(self, attrs: AdmissionAttributes, labels: dict[str, str]) -> None:
        pod = attrs.new or {}
        if attrs.operation == UPDATE and not _changed(attrs.old or {}, pod):
            return
        level, version = policy(labels, "enforce")
        wrong = violations(level, pod["metadata"], pod["spec"])
        if wrong:
            raise forbidden(attrs, f'violates PodSecurity "{level}:{version}": {wrong}')
        self._warn_and_audit(attrs, labels, pod["metadata"], pod["spec"])

    def _template(self, attrs: AdmissionAttributes, labels: dict[str, str], path: tuple[str, ...]) -> None:
        """Workloads only cause warnings: enforcement is on their pods."""
        template = attrs.new or {}
        for step in path:
            template = template.get(step) or {}
        if template.get("spec"):
            self._warn_and_audit(attrs, labels, template.get("metadata") or {}, template["spec"])

    def _warn_and_audit(self, attrs: AdmissionAttributes, labels: dict[str, str], meta: Object, spec: Object) -> None:
        for mode in ("audit", "warn"):
            level, version = policy(labels, mode)
            wrong = violations(level, meta, spec)
            text = f'would violate PodSecurity "{level}:{version}": {wrong}'
            if wrong and mode == "warn":
                attrs.warnings.append(text)
            elif wrong:
                attrs.annotations[f"{LABEL}audit-violations"] = text

    def _namespace(self, attrs: AdmissionAttributes) -> None:
        """A stricter enforce level causes warnings about existing pods."""
        if attrs.operation != UPDATE or attrs.subresource:
            return
        new, old = (((o or {}).get("metadata") or {}).get("labels") or {} for o in (attrs.new, attrs.old))
        level, version = policy(new, "enforce")
        if level not in LEVELS or policy(old, "enforce") == (level, version):
            return
        found: dict[str, list[str]] = {}
        for pod in self.reader.list(PODS, attrs.name):
            wrong = [reason for check in LEVELS[level] if (finding := check(pod["metadata"], pod["spec"])) for reason in finding[:1]]
            if wrong:
                found.setdefault(", ".join(wrong), []).append(pod["metadata"]["name"])
        if found:
            head = f'existing pods in namespace "{attrs.name}" violate the new PodSecurity enforce level "{level}:{version}"'
            attrs.warnings.append(head)
            attrs.warnings += sorted(f"{_pod_count(pods)}: {wrong}" for wrong, pods in found.items())


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
