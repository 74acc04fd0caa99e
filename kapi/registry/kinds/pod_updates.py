"""What may change in a pod once it is made: on the pod itself, its /status, its /ephemeralcontainers and its /resize.

Each function adds the causes of one kind of change; the pod as such has been checked before. Source of rules and order: stock v1.36.
"""

from typing import Any

from kapi.objects import causes, meta, names, quantity
from kapi.objects.demands import qos_class
from kapi.registry.kinds import internal, pod_spec, rules, security
from kapi.registry.kinds.containers import whitespace
from kapi.registry.kinds.placement import REQUIRED, tolerations
from kapi.registry.kinds.rules import Errors, each, same

Object = dict[str, Any]

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


def annotations(e: Errors, new: Object, old: Object) -> None:
    """AppArmor and mirror annotations stay as they were made."""
    mine, theirs = new["metadata"].get("annotations") or {}, old["metadata"].get("annotations") or {}
    changed = [(key, "may not remove or update") for key in theirs if mine.get(key) != theirs[key]]
    for key, what in changed + [(key, "may not add") for key in mine if key not in theirs]:
        if key.startswith(pod_spec.APP_ARMOR):
            e.forbidden(f"metadata.annotations[{key}]", f"{what} AppArmor annotations")
        if key == pod_spec.MIRROR:
            e.forbidden(f"metadata.annotations[{key}]", f"{what} mirror pod annotation")
    if mine:
        pod_spec.pod_annotations(e, "metadata.annotations", mine, new.get("spec") or {})


def _containers(e: Errors, new: Object, old: Object) -> bool:
    """Images may change, the lists may not; says whether to go on."""
    for kind in ("containers", "initContainers"):
        mine, theirs = new.get(kind) or [], old.get(kind) or []
        if len(mine) != len(theirs):
            e.forbidden(f"spec.{kind}", "pod updates may not add or remove containers")
            return False
        for at, part in each("spec", new, kind):
            e.need(f"{at}.image", part.get("image"))
            whitespace(e, at, part)
    return True


def _deadline(e: Errors, new: int | None, old: int | None) -> bool:
    at = "spec.activeDeadlineSeconds"
    if new is None:
        if old is not None:
            e.invalid(at, None, "must not update from a positive integer to nil value")
        return True
    if not e.between(at, new, 0, _LARGEST_INT):
        return False
    if old is not None and old < new:
        e.invalid(at, new, "must be less than or equal to previous value")
        return False
    return True


def _only_added_tolerations(e: Errors, new: list[Object], old: list[Object]) -> None:
    timeless, before = ([{k: v for k, v in t.items() if k != "tolerationSeconds"} for t in listed] for listed in (new, old))
    if all(part in timeless for part in before):
        tolerations(e, "spec.tolerations", new)
    else:
        e.forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")


def _only_removed_gates(e: Errors, new: list[Object], old: list[Object]) -> None:
    known = {gate.get("name") or "" for gate in old}
    added = {gate.get("name") or "": i for i, gate in enumerate(new)}
    for name, i in added.items():
        if name not in known:
            e.forbidden(f"spec.schedulingGates[{i}].name", f"only deletion is allowed, but found new scheduling gate '{name}'")


def _allowed(new: Object, old: Object) -> Object:
    """The new spec with every change undone that an update may make."""
    out = {**new, **{name: old.get(name) for name in ("activeDeadlineSeconds", "schedulingGates", "tolerations")}}
    for kind in ("containers", "initContainers"):
        if out.get(kind):
            out[kind] = [{**part, "image": before.get("image")} for part, before in zip(out[kind], old[kind], strict=True)]
    if (old.get("terminationGracePeriodSeconds") or 0) < 0 and out.get("terminationGracePeriodSeconds") == 1:
        out["terminationGracePeriodSeconds"] = old["terminationGracePeriodSeconds"]
    return out


def _gated(e: Errors, spec: Object, old: Object) -> Object:
    """A pod whose scheduling is held back may be narrowed: more node selectors, more node affinity."""
    selector, before = spec.get("nodeSelector") or {}, old.get("nodeSelector") or {}
    if any(selector.get(k) != v for k, v in before.items()):
        e.invalid("spec.nodeSelector", selector, "only additions to spec.nodeSelector are allowed (no mutations or deletions)")
    out = {**spec, "nodeSelector": before or None}
    mine, theirs = spec.get("affinity") or {}, old.get("affinity") or {}
    if mine.get("nodeAffinity") != theirs.get("nodeAffinity"):
        _narrowed(e, mine.get("nodeAffinity") or {}, theirs.get("nodeAffinity") or {})
        merged = {**mine, "nodeAffinity": theirs.get("nodeAffinity")}
        out["affinity"] = merged if any(merged.values()) or "affinity" in old else None
    return out


def _narrowed(e: Errors, new: Object, old: Object) -> None:
    before = (old.get(REQUIRED) or {}).get("nodeSelectorTerms") or []
    now = (new.get(REQUIRED) or {}).get("nodeSelectorTerms") or []
    at = f"spec.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms"
    if before and len(before) != len(now):
        listed = [internal.to_internal("NodeSelectorTerm", term) for term in now] or None
        e.invalid(at, listed, "no additions/deletions to non-empty NodeSelectorTerms list are allowed")
        return
    for i, (mine, theirs) in enumerate(zip(now, before, strict=False)):
        kept = all((mine.get(k) or [])[: len(theirs.get(k) or [])] == (theirs.get(k) or []) for k in ("matchExpressions", "matchFields"))
        empty = not theirs.get("matchExpressions") and not theirs.get("matchFields")
        if not kept or (empty and (mine.get("matchExpressions") or mine.get("matchFields"))):
            shown = internal.to_internal("NodeSelectorTerm", mine)
            e.invalid(f"{at}[{i}]", shown, "only additions are allowed (no mutations or deletions)")


def update(e: Errors, new: Object, old: Object) -> None:
    """PUT and PATCH of the pod itself."""
    annotations(e, new, old)
    spec, before = new.get("spec") or {}, old["spec"]
    if spec == before:
        return
    if not _containers(e, spec, before) or not _deadline(e, spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds")):
        return
    _only_added_tolerations(e, spec.get("tolerations") or [], before.get("tolerations") or [])
    _only_removed_gates(e, spec.get("schedulingGates") or [], before.get("schedulingGates") or [])
    rest = _allowed(spec, before)
    if before.get("schedulingGates"):
        rest = _gated(e, rest, before)
    if not same(rest, before):
        texts = (internal.to_internal("PodSpec", before), internal.to_internal("PodSpec", rest))
        e.forbidden("spec", f"pod updates may not change fields other than {_MAY}{rules.difference(*texts)}")


def ephemeral(e: Errors, new: Object, old: Object) -> None:
    """/ephemeralcontainers: more of them, none changed and none taken away."""
    annotations(e, new, old)
    if pod_spec.MIRROR in (old["metadata"].get("annotations") or {}):
        e[:] = [causes.forbidden("", "static pods do not support ephemeral containers")]
        return
    now = {part.get("name"): part for part in new["spec"].get("ephemeralContainers") or ()}
    for part in old["spec"].get("ephemeralContainers") or ():
        name, at = part.get("name"), "spec.ephemeralContainers"
        if name not in now:
            e.forbidden(at, f'existing ephemeral containers "{name}" may not be removed\n')
        elif not same(now[name], part):
            e.forbidden(at, f'existing ephemeral containers "{name}" may not be changed\n')


def _resize_refusal(old: Object) -> str:
    if pod_spec.MIRROR in (old["metadata"].get("annotations") or {}):
        return "static pods cannot be resized"
    if (old["spec"].get("os") or {}).get("name") == "windows":
        return "windows pods cannot be resized"
    return ""


def _same_containers(e: Errors, new: Object, old: Object) -> bool:
    before = len(e)
    for kind in ("containers", "initContainers"):
        mine, theirs = new.get(kind) or [], old.get(kind) or []
        if len(mine) != len(theirs):
            e.forbidden(f"spec.{kind}", f"{kind} may not be added or removed on resize")
            continue
        for i, (part, was) in enumerate(zip(mine, theirs, strict=True)):
            if part.get("name") != was.get("name"):
                e.forbidden(f"spec.{kind}[{i}].name", f"{kind} may not be renamed or reordered on resize")
    return len(e) == before


def _resized(e: Errors, at: str, part: Object, old: Object) -> None:
    now, before = part.get("resources") or {}, old.get("resources") or {}
    for kind in ("requests", "limits"):
        if not set(before.get(kind) or ()) <= set(now.get(kind) or ()):
            e.forbidden(f"{at}.{kind}", f"resource {kind} cannot be removed")
    policy = next((p.get("restartPolicy") for p in part.get("resizePolicy") or () if p.get("resourceName") == "memory"), None)
    limit, was = (now.get("limits") or {}).get("memory"), (before.get("limits") or {}).get("memory")
    if policy not in (None, "", "NotRequired") or limit is None:
        return
    if was is None:
        e.forbidden(f"{at}.limits[memory]", "memory limits cannot be added unless resizePolicy is RestartContainer")
    elif quantity.compare(limit, was) < 0:
        e.forbidden(f"{at}.limits[memory]", "memory limits cannot be decreased unless resizePolicy is RestartContainer")


def _without_cpu_memory(part: Object, old: Object) -> Object:
    """The container with cpu and memory as they were before."""
    now, before = part.get("resources") or {}, old.get("resources") or {}
    listed = dict(now)
    for kind in ("limits", "requests"):
        amounts = {k: v for k, v in (now.get(kind) or {}).items() if k not in _RESIZABLE}
        listed[kind] = amounts | {k: v for k, v in (before.get(kind) or {}).items() if k in _RESIZABLE}
    return {**part, "resources": listed}


def resize(e: Errors, new: Object, old: Object) -> None:
    """/resize: cpu and memory of containers and sidecars, within what QoS class and policies allow."""
    refusal = _resize_refusal(old)
    if refusal:
        e[:] = [causes.forbidden("", refusal)]
        return
    spec, before = new["spec"], old["spec"]
    if ((old.get("status") or {}).get("qosClass") or qos_class(before)) != qos_class(spec):
        e.invalid("spec", (new.get("status") or {}).get("qosClass") or "", "Pod QOS Class may not change as a result of resizing")
    running = [s for s in (old.get("status") or {}).get("containerStatuses") or () if "running" in (s.get("state") or {})]
    if running and "resources" not in running[0]:
        e.forbidden("spec", "Pod running on node without support for resize")
    if not _same_containers(e, spec, before):
        return
    for kind in ("initContainers", "containers"):
        for i, (part, was) in enumerate(zip(spec.get(kind) or (), before.get(kind) or (), strict=True)):
            if kind == "containers" or part.get("restartPolicy") == "Always":
                _resized(e, f"spec.{kind}[{i}].resources", part, was)
                if not same(_without_cpu_memory(part, was), {**was, "resources": was.get("resources") or {}}):
                    at, what = ("spec", "") if kind == "containers" else (f"spec.{kind}[{i}]", " for init or sidecar containers")
                    e.forbidden(at, f"only cpu and memory resources{what} are mutable")
            elif not same(part, was):
                e.forbidden("spec", "resources for non-sidecar init containers are immutable")


def put_back(new: Object, old: Object, subresource: str) -> None:
    """What /ephemeralcontainers and /resize leave alone, taken from the old pod."""
    wanted, spec = new.get("spec") or {}, meta.clone(old["spec"])
    if subresource == "ephemeralcontainers":
        _copy(spec, wanted, "ephemeralContainers")
    else:
        for kind in ("containers", "initContainers"):
            by_name = {part.get("name"): part for part in wanted.get(kind) or ()}
            for part in spec.get(kind) or ():
                _copy(part, by_name.get(part.get("name"), part), "resources", "resizePolicy")
        _copy(spec, wanted, "resources")
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


def _transitions(e: Errors, new: Object, old: Object, spec: Object) -> None:
    """What has ended for good does not run again."""
    all_at_once = any(rule.get("action") == "RestartAllContainers" for kind in ("containers", "initContainers")
                      for part in spec.get(kind) or () for rule in part.get("restartPolicyRules") or ())
    for kind, parts in STATUSES:
        now = {s.get("name"): s for s in new.get(kind) or ()}
        known = {part.get("name"): part for part in spec.get(parts) or ()} if parts else {}
        for i, status in enumerate(old.get(kind) or ()):
            ended = (status.get("state") or {}).get("terminated")
            after = now.get(status.get("name"))
            if ended is None or after is None or "terminated" in (after.get("state") or {}) or (parts and all_at_once):
                continue
            part = known.get(status.get("name"))
            if part is None or not _restarts(part, spec, ended.get("exitCode") or 0):
                e.forbidden(f"status.{kind}[{i}].state", "may not be transitioned to non-terminated state")


def _addresses(e: Errors, status: Object, old: Object) -> None:
    for kind in ("podIPs", "hostIPs"):
        listed = status.get(kind) or []
        known = [entry.get("ip") for entry in old.get(kind) or ()]
        if kind == "hostIPs" and listed and listed[0].get("ip") != status.get("hostIP"):
            e.invalid("status.hostIPs[0].ip", listed[0].get("ip") or "", "must be equal to `hostIP`")
        for at, entry in each("status", status, kind):
            rules.legacy_ip(e, at, entry.get("ip") or "", known)
        if len(listed) > 1:
            versions = {":" in (entry.get("ip") or "") for entry in listed}
            if len(versions) != 2 or len(listed) > 2:
                shown = [internal.to_internal("PodIP", entry) for entry in listed]
                e.invalid(f"status.{kind}", shown, "may specify no more than one IP for each IP family")


def _conditions(e: Errors, status: Object) -> None:
    for at, condition in each("status", status, "conditions"):
        e.at_least(f"{at}.observedGeneration", condition.get("observedGeneration") or 0, 0, _COUNTED)
        if condition.get("type") not in _SYSTEM_CONDITIONS:
            e.qualified(f"{at}.Type", condition.get("type") or "")


def _claim_statuses(e: Errors, status: Object, spec: Object) -> None:
    known = {claim.get("name") for claim in spec.get("resourceClaims") or ()}
    seen: set[str] = set()
    for at, entry in each("status", status, "resourceClaimStatuses"):
        name = entry.get("name") or ""
        if name not in known:
            e.invalid(f"{at}.name", name, "must match the name of an entry in `spec.resourceClaims`")
        e.unique(f"{at}.name", name, seen)
        if "resourceClaimName" in entry:
            e.text(f"{at}.name", entry["resourceClaimName"], names.dns_subdomain)


def _user(e: Errors, at: str, status: Object, windows: bool) -> None:
    """Whom a container runs as. Stock leaves `user` out of the path."""
    linux, at = (status.get("user") or {}).get("linux"), f"{at}.linux"
    if linux is not None and windows:
        e.forbidden(at, "cannot be set for a windows pod")
    elif linux is not None:
        security.ids(e, at, linux, "uid", "gid")
        for here, group in each(at, linux, "supplementalGroups"):
            e.between(here, group, 0, _LARGEST_INT)


def _allocated(e: Errors, at: str, status: Object, container: Object | None) -> None:
    """The health of what a container was given: of resources it asked for."""
    wanted = (container or {}).get("resources") or {}
    claims = [f"claim:{claim.get('name') or ''}/{claim.get('request') or ''}".rstrip("/") for claim in wanted.get("claims") or ()]
    for here, given in each(at, status, "allocatedResourcesStatus"):
        name = given.get("name") or ""
        if container is not None and name.startswith("claim:") and name not in claims:
            e.invalid(f"{here}.name", name, _NO_CLAIM)
        elif container is not None and not name.startswith("claim:") and name not in (wanted.get("requests") or ()):
            e.invalid(f"{here}.name", name, "must match one of the container's resource requests")
        seen: set[str] = set()
        for place, entry in each(here, given, "resources"):
            e.enum(f"{place}.health", entry.get("health"), _HEALTH)
            e.unique(f"{place}.resourceID", entry.get("resourceID") or "", seen)


def status(e: Errors, new: Object, old: Object) -> None:
    """/status: what a node or controller may say of the pod."""
    annotations(e, new, old)
    now, before, spec = new.get("status") or {}, old.get("status") or {}, new["spec"]
    _conditions(e, now)
    nominated = now.get("nominatedNodeName")
    if nominated and nominated != before.get("nominatedNodeName"):
        e.text("status.nominatedNodeName", nominated, names.dns_subdomain)
        if old["spec"].get("nodeName"):
            e.forbidden("status.nominatedNodeName", "may not be set on pods that are already bound to a node")
    e.at_least("status.observedGeneration", now.get("observedGeneration") or 0, 0, _COUNTED)
    e.immutable("status.qosClass", now.get("qosClass") or "", before.get("qosClass"))
    _transitions(e, now, before, old["spec"])
    _claim_statuses(e, now, spec)
    _addresses(e, now, before)
    windows = (spec.get("os") or {}).get("name") == "windows"
    for kind, _ in STATUSES:
        for at, part in each("status", now, kind):
            _user(e, at, part, windows)
    for kind, parts in STATUSES:
        known = {part.get("name"): part for part in spec.get(parts) or ()}
        for at, part in each("status", now, kind):
            if parts:
                _allocated(e, at, part, known.get(part.get("name")))
            elif "allocatedResourcesStatus" in part:
                e.forbidden(f"{at}.allocatedResourcesStatus", "must not be specified in container status")
