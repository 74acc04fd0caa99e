"""securityContext of a pod and of a container as CRI messages. Pure."""


from kapi.objects.meta import Object
from kubelet import pods
from kubelet.observed_state import Failure

POD, CONTAINER, NODE, TARGET = 0, 1, 2, 3
"""CRI's namespace modes."""

_SECCOMP = {"RuntimeDefault": 0, "Unconfined": 1, "Localhost": 2}
_MASKED = (
    "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
    "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
)  # fmt: skip
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def of(thing: Object) -> Object:
    return thing.get("securityContext") or {}


def namespaces(pod: Object, target: str = "") -> Object:
    spec = pod["spec"]
    pid = NODE if spec.get("hostPID") else POD if spec.get("shareProcessNamespace") else CONTAINER
    out: Object = {"network": NODE if spec.get("hostNetwork") else POD, "pid": pid, "ipc": NODE if spec.get("hostIPC") else POD}
    if target:
        out |= {"pid": TARGET, "target_id": target}
    return out


def _profile(profile: Object | None, root: str) -> Object:
    """A seccomp profile as CRI's SecurityProfile. Default: unconfined. Localhost profiles are below `root`."""
    kind = (profile or {}).get("type", "Unconfined")
    container_context = (profile or {}).get("localhostProfile")
    return {"profile_type": _SECCOMP[kind], "localhost_ref": f"{root}/{container_context}" if container_context else ""}


def _groups(pod: Object) -> list[int]:
    context = of(pod["spec"])
    container_context = [context["fsGroup"]] if context.get("fsGroup") is not None else []
    return [*(context.get("supplementalGroups") or ()), *container_context]


def sandbox(pod: Object) -> Object:
    """LinuxSandboxSecurityContext."""
    context = of(pod["spec"])
    privileged = any(of(c).get("privileged") for _, c in pods.all_containers(pod))
    out: Object = {"namespace_options": namespaces(pod), "privileged": privileged, "seccomp": {"profile_type": 0}}
    out["supplemental_groups"] = _groups(pod)
    for key, name in (("runAsUser", "run_as_user"), ("runAsGroup", "run_as_group")):
        if context.get(key) is not None and (key == "runAsUser" or context.get("runAsUser") is not None):
            out[name] = {"value": context[key]}
    return out


def sysctls(pod: Object) -> dict[str, str]:
    return {s["name"]: s["value"] for s in of(pod["spec"]).get("sysctls") or ()}


def container(pod: Object, spec: Object, image_user: str, target: str = "", profiles: str = "") -> Object:
    """LinuxContainerSecurityContext. `image_user` is the image's user (a number, a name, or "" for root), used if the spec sets none."""
    pod_context, container_context = of(pod["spec"]), of(spec)
    chosen = {k: container_context.get(k, pod_context.get(k)) for k in ("runAsUser", "runAsGroup", "seccompProfile", "seLinuxOptions")}
    privileged = bool(container_context.get("privileged"))
    out: Object = {
        "privileged": privileged,
        "namespace_options": namespaces(pod, target),
        "readonly_rootfs": bool(container_context.get("readOnlyRootFilesystem")),
        "no_new_privs": container_context.get("allowPrivilegeEscalation") is False and not privileged,
        "supplemental_groups": _groups(pod),
        "seccomp": _profile(None if privileged else chosen["seccompProfile"], profiles),
    }
    if chosen["runAsUser"] is not None:
        out["run_as_user"] = {"value": chosen["runAsUser"]}
    elif image_user.isdigit():
        out["run_as_user"] = {"value": int(image_user)}
    elif image_user:
        out["run_as_username"] = image_user
    if chosen["runAsGroup"] is not None and chosen["runAsUser"] is not None:
        out["run_as_group"] = {"value": chosen["runAsGroup"]}
    if capabilities := container_context.get("capabilities"):
        out["capabilities"] = {"add_capabilities": capabilities.get("add") or [], "drop_capabilities": capabilities.get("drop") or []}
    if chosen["seLinuxOptions"]:
        out["selinux_options"] = chosen["seLinuxOptions"]
    if not privileged and container_context.get("procMount", "Default") == "Default":
        out |= {"masked_paths": list(_MASKED), "readonly_paths": list(_READ_ONLY)}
    return out


def refused(pod: Object, spec: Object, image_user: str) -> Failure | None:
    """Why runAsNonRoot forbids the container, or None."""
    pod_context, container_context = of(pod["spec"]), of(spec)
    if not container_context.get("runAsNonRoot", pod_context.get("runAsNonRoot")):
        return None
    user = container_context.get("runAsUser", pod_context.get("runAsUser"))
    where = f'(pod: "{pods.full_name(pod)}", container: {spec["name"]})'
    if user is not None:
        why = f"container's runAsUser breaks non-root policy {where}" if user == 0 else ""
    elif image_user.isdigit():
        why = f"container has runAsNonRoot and image will run as root {where}" if int(image_user) == 0 else ""
    elif image_user:
        why = f"container has runAsNonRoot and image has non-numeric user ({image_user}), cannot verify user is non-root {where}"
    else:
        why = f"container has runAsNonRoot and image will run as root {where}"
    return Failure("CreateContainerConfigError", why) if why else None
