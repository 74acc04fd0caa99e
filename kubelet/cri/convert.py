"""CRI messages as the dataclasses of kubelet.runtime: nanoseconds become seconds, enums become words."""

from typing import Any

from kubelet import runtime
from kubelet.runtime import Container, Image, Sandbox, Traffic, Usage

_STATES = (runtime.CREATED, runtime.RUNNING, runtime.EXITED, runtime.UNKNOWN)
_NODE = 2
_NANO = 1e9


def sandbox(item: Any, ips: tuple[str, ...] = (), *, host_network: bool = False) -> Sandbox:
    meta = item.metadata
    return Sandbox(
        id=item.id, uid=meta.uid, name=meta.name, namespace=meta.namespace, attempt=meta.attempt, ready=item.state == 0,
        created=item.created_at / _NANO, ips=ips, labels=dict(item.labels), host_network=host_network,
    )


def sandbox_status(status: Any) -> Sandbox:
    network = status.network
    ips = (network.ip, *(more.ip for more in network.additional_ips)) if network.ip else ()
    return sandbox(status, ips, host_network=status.linux.namespaces.options.network == _NODE)


def container(item: Any, sandbox_id: str = "", **more: Any) -> Container:
    """A container from ListContainers or, with `sandbox_id`, from ContainerStatus, which does not name its sandbox."""
    labels = dict(item.labels)
    return Container(
        id=item.id, sandbox=sandbox_id or item.pod_sandbox_id, uid=labels.get(runtime.POD_UID, ""), name=item.metadata.name,
        attempt=item.metadata.attempt, state=_STATES[item.state], created=item.created_at / _NANO, image=item.image.image,
        image_id=item.image_ref, labels=labels, annotations=dict(item.annotations), **more,
    )


def container_status(status: Any, sandbox_id: str) -> Container:
    return container(
        status, sandbox_id, started=status.started_at / _NANO, finished=status.finished_at / _NANO, exit_code=status.exit_code,
        reason=status.reason, message=status.message, log_path=status.log_path,
        mounts={m.container_path: m.host_path for m in status.mounts},
    )


def image(item: Any) -> Image:
    user = str(item.uid.value) if item.HasField("uid") else item.username
    return Image(item.id, tuple(item.repo_tags), tuple(item.repo_digests), item.size, user, item.pinned)


def usage(stats: Any) -> Usage:
    labels = stats.attributes.labels
    memory, disk = stats.memory, stats.writable_layer
    return Usage(
        container=stats.attributes.id, uid=labels.get(runtime.POD_UID, ""), name=stats.attributes.metadata.name,
        cpu_ns=stats.cpu.usage_core_nano_seconds.value, working_set=memory.working_set_bytes.value, usage=memory.usage_bytes.value,
        rss=memory.rss_bytes.value, disk=disk.used_bytes.value, inodes=disk.inodes_used.value, at=stats.cpu.timestamp / _NANO,
    )


def traffic(network: Any) -> list[Traffic]:
    """Counters of a sandbox; CRI reports the default interface apart from the others."""
    found = [i for i in (network.default_interface, *network.interfaces) if i.name]
    return [Traffic(i.name, *(getattr(i, field).value for field in Traffic._fields[1:])) for i in found]
