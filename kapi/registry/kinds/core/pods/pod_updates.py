"""What may change in a pod once it is made: on the pod itself, its /status, its /ephemeralcontainers and its /resize.

Each function adds the causes of one kind of change; the pod as such has been checked before. Source of rules and order: stock v1.36.
"""


from kapi.objects import causes, meta, names, references
from kapi.objects.meta import Object
from kapi.objects.pod_resources import qos_class
from kapi.objects.quoting import go_quote
from kapi.registry.kinds.core.pods import pod_spec, security
from kapi.registry.kinds.core.pods.containers import whitespace
from kapi.registry.kinds.core.pods.placement import REQUIRED, tolerations
from kapi.registry.validation import addresses, internal, rules
from kapi.registry.validation.part import Part
from kapi.registry.validation.rules import same

_MAY = (
    "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
    "`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_LARGEST_INT = 2**31 - 1
_RESIZABLE = ("cpu", "memory")
_SYSTEM_CONDITIONS = ("PodScheduled", "Ready", "Initialized")
_COUNTED = "must be a non-negative integer"
_NO_CLAIM = (
    "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' "
    "if request is empty"
)
_HEALTH = ("Healthy", "Unhealthy", "Unknown")
STATUSES = (("containerStatuses", "containers"), ("initContainerStatuses", "initContainers"), ("ephemeralContainerStatuses", ""))


def annotations(new: Part, old: Object) -> None:
    """AppArmor and mirror annotations stay as they were made."""
    metadata = new.part("metadata")
    new_annotations, old_annotations = metadata.get("annotations") or {}, old["metadata"].get("annotations") or {}
    changed = [(key, "may not remove or update") for key in old_annotations if new_annotations.get(key) != old_annotations[key]]
    for key, what in changed + [(key, "may not add") for key in new_annotations if key not in old_annotations]:
        if key.startswith(pod_spec.APP_ARMOR):
            metadata.forbidden(f"annotations[{key}]", f"{what} AppArmor annotations")
        if key == references.MIRROR:
            metadata.forbidden(f"annotations[{key}]", f"{what} mirror pod annotation")
    if new_annotations:
        pod_spec.pod_annotations(metadata, new.part("spec"))


def _containers(spec: Part, old: Object) -> bool:
    """Images may change, the lists may not. Returns whether validation goes on."""
    for kind in ("containers", "initContainers"):
        if len(spec.items(kind)) != len(old.get(kind) or []):
            spec.forbidden(kind, "pod updates may not add or remove containers")
            return False
        for container in spec.parts(kind):
            container.need("image")
            whitespace(container)
    return True


def _deadline(spec: Part, old: int | None) -> bool:
    field, new = "activeDeadlineSeconds", spec.get("activeDeadlineSeconds")
    if new is None:
        if old is not None:
            spec.invalid(field, "must not update from a positive integer to nil value")
        return True
    if not spec.between(field, 0, _LARGEST_INT):
        return False
    if old is not None and old < new:
        spec.invalid(field, "must be less than or equal to previous value")
        return False
    return True


def _only_added_tolerations(spec: Part, old: Object) -> None:
    timeless, before = ([{k: v for k, v in t.items() if k != "tolerationSeconds"} for t in obj.get("tolerations") or ()]
                        for obj in (spec.obj, old))
    if all(part in timeless for part in before):
        tolerations(spec)
    else:
        spec.forbidden("tolerations", "existing toleration can not be modified except its tolerationSeconds")


def _only_removed_gates(spec: Part, old: Object) -> None:
    known = {gate.get("name") or "" for gate in old.get("schedulingGates") or ()}
    added = {gate.text("name"): gate for gate in spec.parts("schedulingGates")}
    for name, gate in added.items():
        if name not in known:
            gate.forbidden("name", f"only deletion is allowed, but found new scheduling gate '{name}'")


def _allowed(new: Object, old: Object) -> Object:
    """The new spec with every change undone that an update may make."""
    out = {**new, **{name: old.get(name) for name in ("activeDeadlineSeconds", "schedulingGates", "tolerations")}}
    for kind in ("containers", "initContainers"):
        if out.get(kind):
            out[kind] = [{**part, "image": before.get("image")} for part, before in zip(out[kind], old[kind], strict=True)]
    if (old.get("terminationGracePeriodSeconds") or 0) < 0 and out.get("terminationGracePeriodSeconds") == 1:
        out["terminationGracePeriodSeconds"] = old["terminationGracePeriodSeconds"]
    return out


def _gated(whole: Part, spec: Object, old: Object) -> Object:
    """A pod whose scheduling is held back may be narrowed: more node selectors, more node affinity."""
    selector, before = spec.get("nodeSelector") or {}, old.get("nodeSelector") or {}
    if any(selector.get(k) != v for k, v in before.items()):
        text = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
        whole.e.invalid(whole.path("nodeSelector"), selector, text)
    out = {**spec, "nodeSelector": before or None}
    affinity, old_affinity = spec.get("affinity") or {}, old.get("affinity") or {}
    if affinity.get("nodeAffinity") != old_affinity.get("nodeAffinity"):
        _narrowed(whole.part("affinity").part("nodeAffinity").part(REQUIRED), old_affinity.get("nodeAffinity") or {})
        merged = {**affinity, "nodeAffinity": old_affinity.get("nodeAffinity")}
        out["affinity"] = merged if any(merged.values()) or "affinity" in old else None
    return out


def _narrowed(required: Part, old: Object) -> None:
    before = (old.get(REQUIRED) or {}).get("nodeSelectorTerms") or []
    now = required.items("nodeSelectorTerms")
    if before and len(before) != len(now):
        listed = [internal.to_internal("NodeSelectorTerm", term) for term in now] or None
        text = "no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        required.e.invalid(required.path("nodeSelectorTerms"), listed, text)
        return
    for mine, old_term in zip(required.parts("nodeSelectorTerms"), before, strict=False):
        fields = [(mine.items(k), old_term.get(k) or []) for k in ("matchExpressions", "matchFields")]
        kept = all(new[: len(was)] == was for new, was in fields)
        empty = not any(was for _, was in fields)
        if not kept or (empty and any(new for new, _ in fields)):
            shown = internal.to_internal("NodeSelectorTerm", mine.obj)
            mine.e.invalid(mine.at, shown, "only additions are allowed (no mutations or deletions)")


def update(new: Part, old: Object) -> None:
    """PUT and PATCH of the pod itself."""
    annotations(new, old)
    spec, before = new.part("spec"), old["spec"]
    if spec.obj == before:
        return
    if not _containers(spec, before) or not _deadline(spec, before.get("activeDeadlineSeconds")):
        return
    _only_added_tolerations(spec, before)
    _only_removed_gates(spec, before)
    rest = _allowed(spec.obj, before)
    if before.get("schedulingGates"):
        rest = _gated(spec, rest, before)
    if not same(rest, before):
        texts = (internal.to_internal("PodSpec", before), internal.to_internal("PodSpec", rest))
        new.forbidden("spec", f"pod updates may not change fields other than {_MAY}{rules.difference(*texts)}")


def ephemeral(new: Part, old: Object) -> None:
    """/ephemeralcontainers: more of them, none changed and none taken away."""
    annotations(new, old)
    spec = new.part("spec")
    if references.is_mirror(old):
        new.e[:] = [causes.forbidden("", "static pods do not support ephemeral containers")]
        return
    now = {part.get("name"): part for part in spec.items("ephemeralContainers")}
    for part in old["spec"].get("ephemeralContainers") or ():
        name = part.get("name")
        if name not in now:
            spec.forbidden("ephemeralContainers", f'existing ephemeral containers {go_quote(name)} may not be removed\n')
        elif not same(now[name], part):
            spec.forbidden("ephemeralContainers", f'existing ephemeral containers {go_quote(name)} may not be changed\n')


def _resize_refusal(old: Object) -> str:
    if references.is_mirror(old):
        return "static pods cannot be resized"
    if (old["spec"].get("os") or {}).get("name") == "windows":
        return "windows pods cannot be resized"
    return ""


def _same_containers(spec: Part, old: Object) -> bool:
    before = len(spec.e)
    for kind in ("containers", "initContainers"):
        old_containers = old.get(kind) or []
        if len(spec.items(kind)) != len(old_containers):
            spec.forbidden(kind, f"{kind} may not be added or removed on resize")
            continue
        for part, was in zip(spec.parts(kind), old_containers, strict=True):
            if part.get("name") != was.get("name"):
                part.forbidden("name", f"{kind} may not be renamed or reordered on resize")
    return len(spec.e) == before


def _resized(container: Part, old: Object) -> None:
    resources, before = container.part("resources"), old.get("resources") or {}
    for kind in ("requests", "limits"):
        if not set(before.get(kind) or ()) <= set(resources.get(kind) or ()):
            resources.forbidden(kind, f"resource {kind} cannot be removed")


def _without_cpu_memory(part: Object, old: Object) -> Object:
    """The container with cpu and memory as they were before."""
    now, before = part.get("resources") or {}, old.get("resources") or {}
    listed = dict(now)
    for kind in ("limits", "requests"):
        amounts = {k: v for k, v in (now.get(kind) or {}).items() if k not in _RESIZABLE}
        listed[kind] = amounts | {k: v for k, v in (before.get(kind) or {}).items() if k in _RESIZABLE}
    return {**part, "resources": listed}


def resize(new: Part, old: Object) -> None:
    """/resize: cpu and memory of containers and sidecars, within what QoS class and policies allow."""
    refusal = _resize_refusal(old)
    if refusal:
        new.e[:] = [causes.forbidden("", refusal)]
        return
    spec, before, status = new.part("spec"), old["spec"], old.get("status") or {}
    if (status.get("qosClass") or qos_class(before)) != qos_class(spec.obj):
        new.e.invalid("spec", new.part("status").text("qosClass"), "Pod QOS Class may not change as a result of resizing")
    running = [s for s in status.get("containerStatuses") or () if "running" in (s.get("state") or {})]
    if running and "resources" not in running[0]:
        new.forbidden("spec", "Pod running on node without support for resize")
    if not _same_containers(spec, before):
        return
    for kind in ("initContainers", "containers"):
        for part, was in zip(spec.parts(kind), before.get(kind) or (), strict=True):
            if kind == "containers" or part.get("restartPolicy") == "Always":
                _resized(part, was)
                if not same(_without_cpu_memory(part.obj, was), {**was, "resources": was.get("resources") or {}}):
                    at, what = ("spec", "") if kind == "containers" else (part.at, " for init or sidecar containers")
                    new.e.forbidden(at, f"only cpu and memory resources{what} are mutable")
            elif not same(part.obj, was):
                new.forbidden("spec", "resources for non-sidecar init containers are immutable")


def restore_fields(new: Object, old: Object, subresource: str) -> None:
    """What /ephemeralcontainers and /resize leave alone, taken from the old pod."""
    sent, spec = new.get("spec") or {}, meta.clone(old["spec"])
    if subresource == "ephemeralcontainers":
        _copy(spec, sent, "ephemeralContainers")
    else:
        for kind in ("containers", "initContainers"):
            by_name = {part.get("name"): part for part in sent.get(kind) or ()}
            for part in spec.get(kind) or ():
                _copy(part, by_name.get(part.get("name"), part), "resources", "resizePolicy")
        _copy(spec, sent, "resources")
    new["spec"] = spec
    if "status" in old:
        new["status"] = old["status"]


def _copy(part: Object, other: Object, *fields: str) -> None:
    """Make these fields those of the other object."""
    for name, value in [(name, other.get(name)) for name in fields]:
        part.pop(name, None)
        if value is not None:
            part[name] = value


def _restarts(part: Object, spec: Object, code: int) -> bool:
    """Whether a container that ended with `code` may run again."""
    for rule in part.get("restartPolicyRules") or ():
        codes = rule.get("exitCodes") or {}
        if (code in (codes.get("values") or ())) == (codes.get("operator") == "In"):
            return True
    policy = part.get("restartPolicy") or spec.get("restartPolicy")
    return policy == "Always" or (policy == "OnFailure" and code != 0)


def _transitions(status: Part, old: Object, spec: Object) -> None:
    """A container that has terminated for good cannot become running."""
    all_at_once = any(rule.get("action") == "RestartAllContainers" for kind in ("containers", "initContainers")
                      for part in spec.get(kind) or () for rule in part.get("restartPolicyRules") or ())
    for kind, parts in STATUSES:
        now = {s.get("name"): s for s in status.items(kind)}
        known = {part.get("name"): part for part in spec.get(parts) or ()} if parts else {}
        for i, was in enumerate(old.get(kind) or ()):
            ended = (was.get("state") or {}).get("terminated")
            after = now.get(was.get("name"))
            if ended is None or after is None or "terminated" in (after.get("state") or {}) or (parts and all_at_once):
                continue
            part = known.get(was.get("name"))
            if part is None or not _restarts(part, spec, ended.get("exitCode") or 0):
                status.forbidden(f"{kind}[{i}].state", "may not be transitioned to non-terminated state")


def _addresses(status: Part, old: Object) -> None:
    for kind in ("podIPs", "hostIPs"):
        listed = status.items(kind)
        known = [entry.get("ip") for entry in old.get(kind) or ()]
        if kind == "hostIPs" and listed and listed[0].get("ip") != status.get("hostIP"):
            status.e.invalid("status.hostIPs[0].ip", listed[0].get("ip") or "", "must be equal to `hostIP`")
        for entry in status.parts(kind):
            addresses.legacy_ip(entry.e, entry.at, entry.text("ip"), known)
        if len(listed) > 1:
            versions = {":" in (entry.get("ip") or "") for entry in listed}
            if len(versions) != 2 or len(listed) > 2:
                shown = [internal.to_internal("PodIP", entry) for entry in listed]
                status.e.invalid(status.path(kind), shown, "may specify no more than one IP for each IP family")


def _conditions(status: Part) -> None:
    for condition in status.parts("conditions"):
        condition.at_least("observedGeneration", 0, _COUNTED)
        if condition.get("type") not in _SYSTEM_CONDITIONS:
            condition.e.qualified(condition.path("Type"), condition.text("type"))


def _claim_statuses(status: Part, spec: Object) -> None:
    known = {claim.get("name") for claim in spec.get("resourceClaims") or ()}
    seen: set[str] = set()
    for entry in status.parts("resourceClaimStatuses"):
        if entry.text("name") not in known:
            entry.e.invalid(entry.path("name"), entry.text("name"), "must match the name of an entry in `spec.resourceClaims`")
        entry.unique("name", seen)
        if "resourceClaimName" in entry:
            entry.e.text(entry.path("name"), entry.text("resourceClaimName"), names.dns_subdomain)


def _user(status: Part, windows: bool) -> None:
    """Whom a container runs as. Stock leaves `user` out of the path."""
    user = Part(status.e, status.at, status.get("user"))
    if "linux" in user and windows:
        user.forbidden("linux", "cannot be set for a windows pod")
    elif "linux" in user:
        security.ids(user.part("linux"), "uid", "gid")
        security.groups(user.part("linux"))


def _allocated(status: Part, container: Object | None) -> None:
    """allocatedResourcesStatus must name resources that the container requests."""
    resources = (container or {}).get("resources") or {}
    claims = [f"claim:{claim.get('name') or ''}/{claim.get('request') or ''}".rstrip("/") for claim in resources.get("claims") or ()]
    for given in status.parts("allocatedResourcesStatus"):
        name = given.text("name")
        if container is not None and name.startswith("claim:") and name not in claims:
            given.invalid("name", _NO_CLAIM)
        elif container is not None and not name.startswith("claim:") and name not in (resources.get("requests") or ()):
            given.e.invalid(given.path("name"), name, "must match one of the container's resource requests")
        seen: set[str] = set()
        for entry in given.parts("resources"):
            entry.enum("health", _HEALTH)
            entry.unique("resourceID", seen)


def status(new: Part, old: Object) -> None:
    """Updates of /status, by the kubelet or a controller."""
    annotations(new, old)
    now, before, spec = new.part("status"), old.get("status") or {}, new.obj["spec"]
    _conditions(now)
    nominated = now.get("nominatedNodeName")
    if nominated and nominated != before.get("nominatedNodeName"):
        now.checked("nominatedNodeName", names.dns_subdomain)
        if old["spec"].get("nodeName"):
            now.forbidden("nominatedNodeName", "may not be set on pods that are already bound to a node")
    now.at_least("observedGeneration", 0, _COUNTED)
    new.e.immutable("status.qosClass", now.text("qosClass"), before.get("qosClass"))
    _transitions(now, before, old["spec"])
    _claim_statuses(now, spec)
    _addresses(now, before)
    windows = (spec.get("os") or {}).get("name") == "windows"
    for kind, _ in STATUSES:
        for part in now.parts(kind):
            _user(part, windows)
    for kind, parts in STATUSES:
        known = {part.get("name"): part for part in spec.get(parts) or ()}
        for part in now.parts(kind):
            if parts:
                _allocated(part, known.get(part.get("name")))
            elif "allocatedResourcesStatus" in part:
                part.forbidden("allocatedResourcesStatus", "must not be specified in container status")
