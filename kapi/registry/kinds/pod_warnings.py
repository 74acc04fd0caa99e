"""Warnings stock sends with pods and pod templates: deprecated labels, volumes and annotations, and settings that do nothing."""

from collections.abc import Sequence
from typing import Any

from kapi.objects import quantity
from kapi.registry.kinds import pod_spec, security
from kapi.registry.kinds.placement import PREFERRED, REQUIRED

Object = dict[str, Any]

_LABELS = {
    "beta.kubernetes.io/arch": "deprecated since v1.14; use \"kubernetes.io/arch\" instead",
    "beta.kubernetes.io/os": "deprecated since v1.14; use \"kubernetes.io/os\" instead",
    "beta.kubernetes.io/instance-type": "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    "failure-domain.beta.kubernetes.io/region": "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    "failure-domain.beta.kubernetes.io/zone": "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
}
_ANNOTATIONS = {
    "scheduler.alpha.kubernetes.io/critical-pod": 'non-functional in v1.16+; use the "priorityClassName" field instead',
    "security.alpha.kubernetes.io/sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
    "security.alpha.kubernetes.io/unsafe-sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
}
_VOLUMES = (
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
)
_SECCOMP = 'non-functional in v1.27+; use the "seccompProfile" field instead'
_NO_SELECTOR = "a null labelSelector results in matching no pod"
_WHOLE = ("memory", "ephemeral-storage")


def _terms(out: list[str], at: str, term: Object) -> None:
    keys = [part.get("key") or "" for part in term.get("matchExpressions") or ()]
    out += [f"{at}.matchExpressions[{i}].key: {key} is {_LABELS[key]}" for i, key in enumerate(keys) if key in _LABELS]


def _placement(out: list[str], at: str, spec: Object) -> None:
    out += [f"{at}.nodeSelector[{key}]: {_LABELS[key]}" for key in spec.get("nodeSelector") or () if key in _LABELS]
    node = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    for i, term in enumerate((node.get(REQUIRED) or {}).get("nodeSelectorTerms") or ()):
        _terms(out, f"{at}.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms[{i}]", term)
    for i, part in enumerate(node.get(PREFERRED) or ()):
        _terms(out, f"{at}.affinity.nodeAffinity.{PREFERRED}[{i}].preference", part.get("preference") or {})
    for i, part in enumerate(spec.get("topologySpreadConstraints") or ()):
        key = part.get("topologyKey") or ""
        if key in _LABELS:
            out.append(f"{at}.topologySpreadConstraints[{i}].topologyKey: {key} is {_LABELS[key]}")
        if part.get("labelSelector") is None:
            out.append(f"{at}.topologySpreadConstraints[{i}].labelSelector: {_NO_SELECTOR}")


def _affinity(out: list[str], at: str, spec: Object) -> None:
    for kind in ("podAffinity", "podAntiAffinity"):
        part = (spec.get("affinity") or {}).get(kind) or {}
        for i, term in enumerate(part.get(REQUIRED) or ()):
            if term.get("labelSelector") is None:
                out.append(f"{at}.affinity.{kind}.{REQUIRED}[{i}].labelSelector: {_NO_SELECTOR}")
        for i, term in enumerate(part.get(PREFERRED) or ()):
            if (term.get("podAffinityTerm") or {}).get("labelSelector") is None:
                out.append(f"{at}.affinity.{kind}.{PREFERRED}[{i}].podAffinityTerm.labelSelector: {_NO_SELECTOR}")


def _fractional(out: list[str], at: str, listed: Object | None) -> None:
    for name in _WHOLE:
        if listed and name in listed and quantity.parse(listed[name]).nano % 1_000_000_000:
            value = quantity.canonical(listed[name])
            out.append(f'{at}[{name}]: fractional byte value "{value}" is invalid, must be an integer')


def claim_spec(at: str, spec: Object) -> list[str]:
    """Warnings of a PersistentVolumeClaim's spec."""
    out: list[str] = []
    for kind in ("requests", "limits"):
        amount = ((spec.get("resources") or {}).get(kind) or {}).get("storage")
        if amount is not None and kind == "requests" and quantity.parse(amount).nano % 1_000_000_000:
            value = quantity.canonical(amount)
            out.append(f'{at}.resources.requests[storage]: fractional byte value "{value}" is invalid, must be an integer')
    return out


def _nested(a: str, b: str) -> bool:
    a, b = a.strip("/"), b.strip("/")
    return a == b or a.startswith(b + "/") or b.startswith(a + "/")


def _files(source: Object) -> list[str]:
    return [item.get("path") or "" for item in source.get("items") or ()]


_PLAIN = ("serviceAccountToken", "configMap", "secret", "downwardAPI")
_KEYED = (("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName"), ("downwardAPI", "DownwardAPI", ""))


def _projected(source: Object) -> list[tuple[str, str]]:
    """[(path, what puts a file there)] of one source of a projected volume."""
    out: list[tuple[str, str]] = []
    for kind, title, named in (("secret", "Secret", "name"), ("configMap", "ConfigMap", "name"), ("downwardAPI", "DownwardAPI", "")):
        if kind in source:
            what = f'{title} "{source[kind].get(named) or ""}"' if named else title
            out += [(path, what) for path in _files(source[kind])]
    if "serviceAccountToken" in source:
        out.append((source["serviceAccountToken"].get("path") or "", "ServiceAccountToken"))
    bundle = source.get("clusterTrustBundle")
    if bundle is not None:
        out.append((bundle.get("path") or "", f'ClusterTrustBundle "{bundle.get("name") or bundle.get("signerName") or ""}"'))
    certificate = source.get("podCertificate") or {}
    for name in ("credentialBundlePath", "keyPath", "certificateChainPath"):
        if certificate.get(name):
            out.append((certificate[name], "PodCertificate"))
    return out


def _apart(sources: Sequence[Object]) -> bool:
    """The common case, told cheaply: each source is of one kind, and no two files have the same name or are in directories."""
    names: list[str] = []
    for source in sources:
        for kind, part in source.items():
            names += [part.get("path") or "/"] if kind == "serviceAccountToken" else _files(part)
            if kind not in _PLAIN:
                return False
    return len(names) == len(set(names)) and not any("/" in name for name in names) and all(sources)


def _overlapping(out: list[str], volume: Object) -> None:
    """Files of one volume that hide each other."""
    head = f'volume "{volume.get("name") or ""}"'
    for kind, title, named in _KEYED:
        if kind in volume:
            what, paths = f'{title} "{volume[kind].get(named) or ""}"' if named else title, _files(volume[kind])
            for i, path in enumerate(paths):
                found = [f'"{p}"' for p in dict.fromkeys(paths[:i]) if _nested(path, p)]
                if path and found:
                    out.append(f'{head} ({what}): overlapping paths: "{path}" with {", ".join(found)}')
    if "projected" not in volume:
        return
    sources = volume["projected"].get("sources") or ()
    if _apart(sources):
        return
    known: list[tuple[str, str]] = []
    for source in sources:
        if not source:
            out.append(f"{head} (Projected) has no sources provided")
            continue
        own = _projected(source)
        for path, what in own:
            found = [f'"{p}" ({w})' for p, w in known if p and _nested(path, p)]
            if path and found:
                out.append(f'{head} (Projected): overlapping paths: "{path}" ({what}) with {", ".join(found)}')
        known += own


def _volumes(out: list[str], at: str, volumes: list[Object]) -> None:
    for i, volume in enumerate(volumes):
        for kind, shown, text in _VOLUMES:
            if kind in volume:
                out.append(f"{at}.volumes[{i}].{shown}: {text}")
        template = (volume.get("ephemeral") or {}).get("volumeClaimTemplate")
        if template:
            out += claim_spec(f"{at}.volumes[{i}].ephemeral.volumeClaimTemplate.spec", template.get("spec") or {})
    for volume in volumes:
        _overlapping(out, volume)


def _repeated(out: list[str], at: str, spec: Object) -> None:
    for kind, field, what in (("hostAliases", "ip", "duplicate ip"), ("imagePullSecrets", "name", "duplicate name")):
        seen: set[str] = set()
        for i, part in enumerate(spec.get(kind) or ()):
            value = part.get(field) or ""
            if value in seen:
                out.append(f'{at}.{kind}[{i}].{field}: {what} "{value}"')
            seen.add(value)
    empty = [i for i, part in enumerate(spec.get("imagePullSecrets") or ()) if not part.get("name")]
    out += [f'{at}.imagePullSecrets[{i}].name: invalid empty name ""' for i in empty]


def _container(out: list[str], prefix: str, at: str, part: Object, annotations: dict[str, str], armored: bool) -> None:
    own = part.get("securityContext") or {}
    key = f"{pod_spec.SECCOMP_CONTAINER}{part.get('name') or ''}"
    if key in annotations and "seccompProfile" not in own:
        out.append(f"{prefix}metadata.annotations[{key}]: {_SECCOMP}")
    key = f"{pod_spec.APP_ARMOR}{part.get('name') or ''}"
    if key in annotations and not armored and "appArmorProfile" not in own:
        out.append(f'{prefix}metadata.annotations[{key}]: deprecated since v1.30; use the "appArmorProfile" field instead')
    for kind in ("limits", "requests"):
        _fractional(out, f"{at}.resources.{kind}", (part.get("resources") or {}).get(kind))
    seen: set[str] = set()
    for i, variable in enumerate(part.get("env") or ()):
        name = variable.get("name") or ""
        value, ref = variable.get("value") or "", f"$({name})"
        if name in seen and ("valueFrom" in variable or ref not in value or value == ref):
            out.append(f'{at}.env[{i}]: hides previous definition of "{name}", which may be dropped when using apply')
        seen.add(name)


def _ports(out: list[str], at: str, spec: Object) -> None:
    known: dict[tuple[int, str], list[tuple[str, Object]]] = {}
    for part, here in security.containers(spec, at):
        for i, port in enumerate(part.get("ports") or ()):
            place, ip, host = f"{here}.ports[{i}]", port.get("hostIP") or "", port.get("hostPort") or 0
            others = known.setdefault((port.get("containerPort") or 0, port.get("protocol") or ""), [])
            for other, before in others:
                their_ip, their_host = before.get("hostIP") or "", before.get("hostPort") or 0
                if (ip, host) == (their_ip, their_host):
                    out.append(f"{place}: duplicate port definition with {other}")
                elif not host or not their_host:
                    out.append(f"{place}: overlapping port definition with {other}")
                elif host == their_host and (not ip) != (not their_ip):
                    out.append(f"{place}: dangerously ambiguous port definition with {other}")
            others.append((place, port))


def template(prefix: str, part: Object) -> list[str]:
    """Warnings of a PodTemplateSpec at `prefix` ("spec.template."), or of a pod at ""."""
    out: list[str] = []
    spec, at = part.get("spec") or {}, f"{prefix}spec"
    annotations = (part.get("metadata") or {}).get("annotations") or {}
    context = spec.get("securityContext") or {}
    if "nodeSelector" in spec or "affinity" in spec or "topologySpreadConstraints" in spec:
        _placement(out, at, spec)
    for key, text in _ANNOTATIONS.items():
        if key in annotations:
            out.append(f"{prefix}metadata.annotations[{key}]: {text}")
    if spec.get("volumes"):
        _volumes(out, at, spec["volumes"])
    if "hostAliases" in spec or "imagePullSecrets" in spec:
        _repeated(out, at, spec)
    _fractional(out, f"{at}.overhead", spec.get("overhead"))
    if pod_spec.SECCOMP_POD in annotations and "seccompProfile" not in context:
        out.append(f"{prefix}metadata.annotations[{pod_spec.SECCOMP_POD}]: {_SECCOMP}")
    for one, here in security.containers(spec, at):
        if annotations or "resources" in one or "env" in one:
            _container(out, prefix, here, one, annotations, "appArmorProfile" in context)
    if any("ports" in one for one, _ in security.containers(spec, at)):
        _ports(out, at, spec)
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        out.append(f"{at}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1")
    _affinity(out, at, spec)
    return out
