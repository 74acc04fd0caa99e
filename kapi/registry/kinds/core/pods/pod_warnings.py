"""Warnings stock sends with pods and pod templates: deprecated labels, volumes and annotations, and settings that do nothing."""

from collections.abc import Iterator, Sequence

from kapi.objects import names, quantity
from kapi.objects.meta import Object
from kapi.objects.quoting import go_quote
from kapi.registry.kinds.core.pods import pod_spec
from kapi.registry.kinds.core.pods.placement import PREFERRED, REQUIRED
from kapi.registry.validation.rules import each

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
_NON_FUNCTIONAL = "deprecated in {}, non-functional in {}+"
_VOLUMES = {
    "photonPersistentDisk": _NON_FUNCTIONAL.format("v1.11", "v1.16"),
    "gitRepo": "deprecated in v1.11, and disabled by default in v1.33+",
    "scaleIO": _NON_FUNCTIONAL.format("v1.16", "v1.22"),
    "flocker": _NON_FUNCTIONAL.format("v1.22", "v1.25"),
    "storageos": _NON_FUNCTIONAL.format("v1.22", "v1.25"),
    "quobyte": _NON_FUNCTIONAL.format("v1.22", "v1.25"),
    "glusterfs": _NON_FUNCTIONAL.format("v1.25", "v1.26"),
    "cephfs": _NON_FUNCTIONAL.format("v1.28", "v1.31"),
    "rbd": _NON_FUNCTIONAL.format("v1.28", "v1.31"),
}
_OS = {"storageos": "storageOS"}
_SECCOMP = 'non-functional in v1.27+; use the "seccompProfile" field instead'


def _containers(at: str, spec: Object) -> Iterator[tuple[str, Object]]:
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from each(at, spec, kind)


def _terms(out: list[str], at: str, term: Object) -> None:
    keys = [part.get("key") or "" for part in term.get("matchExpressions") or ()]
    out += [f"{at}.matchExpressions[{i}].key: {key} is {_LABELS[key]}" for i, key in enumerate(keys) if key in _LABELS]


def _placement(out: list[str], at: str, spec: Object) -> None:
    out += [f"{at}.nodeSelector[{key}]: {_LABELS[key]}" for key in spec.get("nodeSelector") or () if key in _LABELS]
    node, where = (spec.get("affinity") or {}).get("nodeAffinity") or {}, f"{at}.affinity.nodeAffinity"
    for here, term in each(f"{where}.{REQUIRED}", node.get(REQUIRED) or {}, "nodeSelectorTerms"):
        _terms(out, here, term)
    for here, part in each(where, node, PREFERRED):
        _terms(out, f"{here}.preference", part.get("preference") or {})
    for here, part in each(at, spec, "topologySpreadConstraints"):
        key = part.get("topologyKey") or ""
        if key in _LABELS:
            out.append(f"{here}.topologyKey: {key} is {_LABELS[key]}")
        _unselective(out, here, part)


def _affinity(out: list[str], at: str, spec: Object) -> None:
    for kind in ("podAffinity", "podAntiAffinity"):
        part, where = (spec.get("affinity") or {}).get(kind) or {}, f"{at}.affinity.{kind}"
        for here, term in each(where, part, REQUIRED):
            _unselective(out, here, term)
        for here, term in each(where, part, PREFERRED):
            _unselective(out, f"{here}.podAffinityTerm", term.get("podAffinityTerm") or {})


def _unselective(out: list[str], at: str, term: Object) -> None:
    if term.get("labelSelector") is None:
        out.append(f"{at}.labelSelector: a null labelSelector results in matching no pod")


def _fractional(out: list[str], at: str, listed: Object | None, names: Sequence[str] = ("memory", "ephemeral-storage")) -> None:
    for name in names:
        if listed and name in listed and quantity.parse(listed[name]).nano % 1_000_000_000:
            value = quantity.canonical(listed[name])
            out.append(f"{at}[{name}]: fractional byte value {go_quote(str(value))} is invalid, must be an integer")


def claim_spec(at: str, spec: Object) -> list[str]:
    """Warnings of a PersistentVolumeClaim's spec."""
    out: list[str] = []
    _fractional(out, f"{at}.resources.requests", (spec.get("resources") or {}).get("requests"), ("storage",))
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
    for kind, title in (("secret", "Secret"), ("configMap", "ConfigMap"), ("downwardAPI", "DownwardAPI")):
        if kind in source:
            what = title if kind == "downwardAPI" else f'{title} "{source[kind].get("name") or ""}"'
            out += [(path, what) for path in _files(source[kind])]
    if "serviceAccountToken" in source:
        out.append((source["serviceAccountToken"].get("path") or "", "ServiceAccountToken"))
    bundle = source.get("clusterTrustBundle")
    if bundle is not None:
        out.append((bundle.get("path") or "", f'ClusterTrustBundle "{bundle.get("name") or bundle.get("signerName") or ""}"'))
    certificate = source.get("podCertificate") or {}
    paths = (certificate.get(name) for name in ("credentialBundlePath", "keyPath", "certificateChainPath"))
    return out + [(path, "PodCertificate") for path in paths if path]


def _apart(sources: Sequence[Object]) -> bool:
    """A cheap check of the common case: each source is of one kind, and no two files have the same name or are in directories."""
    names: list[str] = []
    for source in sources:
        for kind, part in source.items():
            names += [part.get("path") or "/"] if kind == "serviceAccountToken" else _files(part)
            if kind not in _PLAIN:
                return False
    return len(names) == len(set(names)) and not any("/" in name for name in names) and all(sources)


def _overlapping(out: list[str], volume: Object) -> None:
    """Files of one volume that hide each other."""
    head = f'volume {go_quote(volume.get("name") or "")}'
    for kind, title, named in _KEYED:
        if kind in volume:
            what, paths = f'{title} "{volume[kind].get(named) or ""}"' if named else title, _files(volume[kind])
            for i, path in enumerate(paths):
                overlapping = [f'"{p}"' for p in dict.fromkeys(paths[:i]) if _nested(path, p)]
                if path and overlapping:
                    out.append(f'{head} ({what}): overlapping paths: "{path}" with {", ".join(overlapping)}')
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
            overlapping = [f'"{p}" ({w})' for p, w in known if p and _nested(path, p)]
            if path and overlapping:
                out.append(f'{head} (Projected): overlapping paths: "{path}" ({what}) with {", ".join(overlapping)}')
        known += own


def _volumes(out: list[str], at: str, spec: Object) -> None:
    for here, volume in each(at, spec, "volumes"):
        out += [f"{here}.{_OS.get(kind, kind)}: {text}" for kind, text in _VOLUMES.items() if kind in volume]
        template = (volume.get("ephemeral") or {}).get("volumeClaimTemplate") or {}
        out += claim_spec(f"{here}.ephemeral.volumeClaimTemplate.spec", template.get("spec") or {})
    for volume in spec["volumes"]:
        _overlapping(out, volume)


def _repeated(out: list[str], at: str, spec: Object) -> None:
    for kind, field, what in (("hostAliases", "ip", "duplicate ip"), ("imagePullSecrets", "name", "duplicate name")):
        seen: set[str] = set()
        for here, part in each(at, spec, kind):
            value = part.get(field) or ""
            if value in seen:
                out.append(f"{here}.{field}: {what} {go_quote(str(value))}")
            seen.add(value)
    out += [f'{here}.name: invalid empty name ""' for here, part in each(at, spec, "imagePullSecrets") if not part.get("name")]


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
            out.append(f"{at}.env[{i}]: hides previous definition of {go_quote(name)}, which may be dropped when using apply")
        seen.add(name)


def _ports(out: list[str], at: str, spec: Object) -> None:
    known: dict[tuple[int, str], list[tuple[str, Object]]] = {}
    for here, part in _containers(at, spec):
        for place, port in each(here, part, "ports"):
            ip, host = port.get("hostIP") or "", port.get("hostPort") or 0
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


def hostname(obj: Object, what: str) -> list[str]:
    """Of a name that becomes `what`, but that no host can have."""
    bad = names.dns_label(obj["metadata"].get("name") or "")
    text = f"this is used in {what}, which can result in surprising behavior; a DNS label is recommended"
    return [f"metadata.name: {text}: [{' '.join(bad)}]"] if bad else []


def template(prefix: str, part: Object) -> list[str]:
    """Warnings of a PodTemplateSpec at `prefix` ("spec.template."), or of a pod at ""."""
    out: list[str] = []
    spec, at = part.get("spec") or {}, f"{prefix}spec"
    annotations = (part.get("metadata") or {}).get("annotations") or {}
    context = spec.get("securityContext") or {}
    if "nodeSelector" in spec or "affinity" in spec or "topologySpreadConstraints" in spec:
        _placement(out, at, spec)
    out += [f"{prefix}metadata.annotations[{key}]: {text}" for key, text in _ANNOTATIONS.items() if key in annotations]
    if spec.get("volumes"):
        _volumes(out, at, spec)
    if "hostAliases" in spec or "imagePullSecrets" in spec:
        _repeated(out, at, spec)
    _fractional(out, f"{at}.overhead", spec.get("overhead"))
    if pod_spec.SECCOMP_POD in annotations and "seccompProfile" not in context:
        out.append(f"{prefix}metadata.annotations[{pod_spec.SECCOMP_POD}]: {_SECCOMP}")
    for here, one in _containers(at, spec):
        if annotations or "resources" in one or "env" in one:
            _container(out, prefix, here, one, annotations, "appArmorProfile" in context)
    if any("ports" in one for _, one in _containers(at, spec)):
        _ports(out, at, spec)
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        out.append(f"{at}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1")
    _affinity(out, at, spec)
    return out
