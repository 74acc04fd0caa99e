"""What stock v1.36 fills into a pod spec: the fields of the spec, of its containers, probes and volumes.

`template` is for specs inside workloads; `pod` adds what only real pods get. Both change the object in place.
Container images are read only for their tag, which decides the pull policy.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from kapi.objects import quantity
from kapi.objects.meta import Object

_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_PROBE_NUMBERS = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
_VOLUMES: dict[str, Object] = {
    **{kind: {"defaultMode": 0o644} for kind in ("secret", "configMap", "downwardAPI", "projected")},
    "hostPath": {"type": ""},
    "iscsi": {"iscsiInterface": "default"},
    "rbd": {"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"},
    "azureDisk": {"cachingMode": "ReadWrite", "kind": "Shared", "fsType": "ext4", "readOnly": False},
    "scaleIO": {"storageMode": "ThinProvisioned", "fsType": "xfs"},
}
_PART = re.compile("[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?").fullmatch
_TOKEN_SECONDS = 3600
_CERTIFICATE_SECONDS = 86400


def set_absent(part: Object, **values: Any) -> None:
    for name, value in values.items():
        if part.get(name) is None:
            part[name] = value


def set_empty(part: Object, **values: Any) -> None:
    """Fields that are not pointers: an empty string is defaulted too."""
    for name, value in values.items():
        if not part.get(name):
            part[name] = value


def pull_policy(image: str) -> str:
    """'Always' for the tag latest or none, else 'IfNotPresent' (also for an invalid image name)."""
    name = image.rpartition("/")[2]
    if not name or "@" in name:
        tag = "latest" if "@" in name and ":latest@" in name else ""
    else:
        tag = name.partition(":")[2] or "latest"
    return "Always" if tag == "latest" and _readable(image) else "IfNotPresent"


def _readable(image: str) -> bool:
    """Whether the name is one an image reference may have; a repository is written in lower case."""
    repository = image.split("@")[0]
    head, _, tail = repository.rpartition("/")
    path = f"{head}/{tail.partition(':')[0]}" if head else tail.partition(":")[0]
    host, slash, rest = path.partition("/")
    if slash and ("." in host or ":" in host or host == "localhost"):
        path = rest
    return len(path) <= 255 and all(map(_PART, path.split("/")))


def resources(part: Object) -> None:
    """Quantities finer than a thousandth are rounded up."""
    for kind in ("limits", "requests"):
        listed = part.get(kind)
        if listed:
            for name, amount in listed.items():
                if (isinstance(amount, str) and amount[-1:] in "nu") or "." in str(amount):
                    listed[name] = quantity.round_up(amount)


def _handler(action: Object) -> None:
    if "httpGet" in action:
        set_empty(action["httpGet"], path="/", scheme="HTTP")


def _probe(probe: Object) -> None:
    set_empty(probe, **_PROBE_NUMBERS)
    _handler(probe)
    if "grpc" in probe:
        probe["grpc"].setdefault("service", "")


def _references(parts: Iterable[Object]) -> None:
    """Variables and files that stand for fields of the pod, or for keys of files."""
    for part in parts:
        if "fieldRef" in part:
            set_empty(part["fieldRef"], apiVersion="v1")
        if "fileKeyRef" in part:
            part["fileKeyRef"].setdefault("optional", False)


def container(part: Object) -> None:
    """The defaults of one container of any sort."""
    set_empty(part, terminationMessagePath="/dev/termination-log", terminationMessagePolicy="File")
    if not part.get("imagePullPolicy"):
        part["imagePullPolicy"] = pull_policy(part.get("image") or "")
    for port in part.get("ports") or ():
        set_empty(port, protocol="TCP")
    if part.get("env"):
        _references(variable["valueFrom"] for variable in part["env"] if variable.get("valueFrom"))
    if part.get("resources"):
        resources(part["resources"])
    for name in _PROBES:
        if name in part:
            _probe(part[name])
    for handler in (part.get("lifecycle") or {}).values():
        if isinstance(handler, dict):
            _handler(handler)


def _projections(sources: list[Object] | None) -> None:
    for source in sources or ():
        if "serviceAccountToken" in source:
            source["serviceAccountToken"].setdefault("expirationSeconds", _TOKEN_SECONDS)
        if "downwardAPI" in source:
            _references(source["downwardAPI"].get("items") or ())
        if "podCertificate" in source:
            source["podCertificate"].setdefault("maxExpirationSeconds", _CERTIFICATE_SECONDS)


def volume(part: Object) -> None:
    kinds = [kind for kind in part if kind != "name"]
    if not kinds:
        part["emptyDir"] = {}
    for kind in kinds:
        source = part[kind]
        for name, value in _VOLUMES.get(kind, {}).items():
            if source.get(name) in (None, ""):
                source[name] = value
        if kind == "downwardAPI":
            _references(source.get("items") or ())
        elif kind == "projected":
            _projections(source.get("sources"))
        elif kind == "image" and not source.get("pullPolicy"):
            source["pullPolicy"] = pull_policy(source.get("reference") or "")
        elif kind == "ephemeral" and source.get("volumeClaimTemplate") is not None:
            source["volumeClaimTemplate"].setdefault("spec", {}).setdefault("volumeMode", "Filesystem")


def containers(spec: Object) -> Iterator[Object]:
    """Every container of the spec: init containers first, then the regular and the ephemeral ones."""
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        if spec.get(kind):
            yield from spec[kind]


def template(spec: Object) -> None:
    """The defaults of a pod spec, wherever it is."""
    set_empty(spec, restartPolicy="Always", dnsPolicy="ClusterFirst", schedulerName="default-scheduler")
    set_absent(spec, terminationGracePeriodSeconds=30, securityContext={})
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for part in containers(spec):
        container(part)
    for part in spec.get("volumes") or ():
        volume(part)
    if spec.get("resources"):
        resources(spec["resources"])


def _limits_to_requests(part: Object) -> None:
    limits = (part.get("resources") or {}).get("limits")
    if limits:
        requests = part["resources"].setdefault("requests", {})
        for name, amount in limits.items():
            requests.setdefault(name, amount)


def _pod_requests(spec: Object) -> None:
    """Pod-level requests: what the containers ask for together, else the pod-level limit."""
    limits = (spec.get("resources") or {}).get("limits")
    if not limits:
        return
    requests = spec["resources"].setdefault("requests", {})
    for name in ("cpu", "memory"):
        total = quantity.add("0", "0")
        for part in spec.get("containers") or ():
            total = quantity.add(total, ((part.get("resources") or {}).get("requests") or {}).get(name))
        if quantity.compare(total, None) > 0:
            requests.setdefault(name, total)
    _limits_to_requests(spec)


def drop_disabled_fields(spec: Object) -> None:
    """Take out what v1.36 keeps behind feature gates that are off: such fields are not stored."""
    spec.pop("schedulingGroup", None)
    for part in containers(spec):
        lifecycle = part.get("lifecycle")
        if lifecycle and "stopSignal" in lifecycle:
            del lifecycle["stopSignal"]
            if not lifecycle:
                del part["lifecycle"]
    for source in spec.get("volumes") or ():
        if "projected" in source:
            for projection in source["projected"].get("sources") or ():
                projection.pop("clusterTrustBundle", None)
                projection.pop("podCertificate", None)


def pod(spec: Object) -> None:
    """The defaults of a real pod's spec, after those of every pod spec."""
    template(spec)
    for kind in ("containers", "initContainers"):
        for part in spec.get(kind) or ():
            _limits_to_requests(part)
            if spec.get("hostNetwork"):
                for port in part.get("ports") or ():
                    set_empty(port, hostPort=port.get("containerPort") or 0)
    if spec.get("resources"):
        _pod_requests(spec)
    spec.setdefault("enableServiceLinks", True)
