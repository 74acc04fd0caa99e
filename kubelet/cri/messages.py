"""Protobuf messages of CRI v1, containerd's events and gRPC health checks that the kubelet uses, built from a table on import.

A line is a message, or several of the same shape; a word is a field `name=number[:type]`: string without a type, `*` before a repeated
type, `map` for string to string. Enums are int32. Names and numbers are those of the public protocol (runtime.v1, containerd 1.x); the
messages of a method are named after it.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_CRI = """
VersionRequest version=1
VersionResponse version=1 runtime_name=2 runtime_version=3 runtime_api_version=4
StatusRequest verbose=1:bool
RuntimeCondition type=1 status=2:bool reason=3 message=4
RuntimeStatus conditions=1:*RuntimeCondition
StatusResponse status=1:RuntimeStatus
Int64Value value=1:int64
UInt64Value value=1:uint64
DNSConfig servers=1:*string searches=2:*string options=3:*string
PortMapping protocol=1:int32 container_port=2:int32 host_port=3:int32 host_ip=4
Mount container_path=1 host_path=2 readonly=3:bool selinux_relabel=4:bool propagation=5:int32 recursive_read_only=8:bool
NamespaceOption network=1:int32 pid=2:int32 ipc=3:int32 target_id=4
SecurityProfile profile_type=1:int32 localhost_ref=2
SELinuxOption user=1 role=2 type=3 level=4
LinuxSandboxSecurityContext namespace_options=1:NamespaceOption selinux_options=2:SELinuxOption run_as_user=3:Int64Value \
run_as_group=8:Int64Value readonly_rootfs=4:bool supplemental_groups=5:*int64 privileged=6:bool seccomp=9:SecurityProfile \
apparmor=10:SecurityProfile
LinuxContainerResources cpu_period=1:int64 cpu_quota=2:int64 cpu_shares=3:int64 memory_limit_in_bytes=4:int64 oom_score_adj=5:int64 \
cpuset_cpus=6 cpuset_mems=7 unified=9:map memory_swap_limit_in_bytes=10:int64
LinuxPodSandboxConfig cgroup_parent=1 security_context=2:LinuxSandboxSecurityContext sysctls=3:map overhead=4:LinuxContainerResources \
resources=5:LinuxContainerResources
PodSandboxMetadata name=1 uid=2 namespace=3 attempt=4:uint32
PodSandboxConfig metadata=1:PodSandboxMetadata hostname=2 log_directory=3 dns_config=4:DNSConfig port_mappings=5:*PortMapping labels=6:map \
annotations=7:map linux=8:LinuxPodSandboxConfig
RunPodSandboxRequest config=1:PodSandboxConfig runtime_handler=2
RunPodSandboxResponse pod_sandbox_id=1
StopPodSandboxRequest,RemovePodSandboxRequest,PodSandboxStatusRequest pod_sandbox_id=1
PodIP ip=1
PodSandboxNetworkStatus ip=1 additional_ips=2:*PodIP
Namespace options=2:NamespaceOption
LinuxPodSandboxStatus namespaces=1:Namespace
PodSandboxStatus id=1 metadata=2:PodSandboxMetadata state=3:int32 created_at=4:int64 network=5:PodSandboxNetworkStatus \
linux=6:LinuxPodSandboxStatus labels=7:map annotations=8:map
PodSandboxStatusResponse status=1:PodSandboxStatus
PodSandboxFilter id=1 label_selector=3:map
ListPodSandboxRequest filter=1:PodSandboxFilter
PodSandbox id=1 metadata=2:PodSandboxMetadata state=3:int32 created_at=4:int64 labels=5:map annotations=6:map
ListPodSandboxResponse items=1:*PodSandbox
ImageSpec image=1 annotations=2:map user_specified_image=18
KeyValue key=1 value=2
Capability add_capabilities=1:*string drop_capabilities=2:*string
LinuxContainerSecurityContext capabilities=1:Capability privileged=2:bool namespace_options=3:NamespaceOption \
selinux_options=4:SELinuxOption run_as_user=5:Int64Value run_as_group=12:Int64Value run_as_username=6 readonly_rootfs=7:bool \
supplemental_groups=8:*int64 no_new_privs=11:bool masked_paths=13:*string readonly_paths=14:*string seccomp=15:SecurityProfile \
apparmor=16:SecurityProfile
LinuxContainerConfig resources=1:LinuxContainerResources security_context=2:LinuxContainerSecurityContext
ContainerMetadata name=1 attempt=2:uint32
ContainerConfig metadata=1:ContainerMetadata image=2:ImageSpec command=3:*string args=4:*string working_dir=5 envs=6:*KeyValue \
mounts=7:*Mount labels=9:map annotations=10:map log_path=11 stdin=12:bool stdin_once=13:bool tty=14:bool \
linux=15:LinuxContainerConfig
CreateContainerRequest pod_sandbox_id=1 config=2:ContainerConfig sandbox_config=3:PodSandboxConfig
CreateContainerResponse container_id=1
StartContainerRequest,RemoveContainerRequest,ContainerStatusRequest,ReopenContainerLogRequest container_id=1
StopContainerRequest container_id=1 timeout=2:int64
UpdateContainerResourcesRequest container_id=1 linux=2:LinuxContainerResources
ContainerFilter id=1 pod_sandbox_id=3 label_selector=4:map
ListContainersRequest filter=1:ContainerFilter
Container id=1 pod_sandbox_id=2 metadata=3:ContainerMetadata image=4:ImageSpec image_ref=5 state=6:int32 created_at=7:int64 labels=8:map \
annotations=9:map
ListContainersResponse containers=1:*Container
ContainerStatus id=1 metadata=2:ContainerMetadata state=3:int32 created_at=4:int64 started_at=5:int64 finished_at=6:int64 \
exit_code=7:int32 image=8:ImageSpec image_ref=9 reason=10 message=11 labels=12:map annotations=13:map mounts=14:*Mount log_path=15
ContainerStatusResponse status=1:ContainerStatus
ExecSyncRequest container_id=1 cmd=2:*string timeout=3:int64
ExecSyncResponse stdout=1:bytes stderr=2:bytes exit_code=3:int32
ExecRequest container_id=1 cmd=2:*string tty=3:bool stdin=4:bool stdout=5:bool stderr=6:bool
AttachRequest container_id=1 stdin=2:bool tty=3:bool stdout=4:bool stderr=5:bool
PortForwardRequest pod_sandbox_id=1 port=2:*int32
ExecResponse,AttachResponse,PortForwardResponse url=1
Image id=1 repo_tags=2:*string repo_digests=3:*string size=4:uint64 uid=5:Int64Value username=6 spec=7:ImageSpec pinned=8:bool
ImageStatusRequest,RemoveImageRequest image=1:ImageSpec
ListImagesRequest
ListImagesResponse images=1:*Image
ImageStatusResponse image=1:Image
AuthConfig username=1 password=2 auth=3 server_address=4 identity_token=5 registry_token=6
PullImageRequest image=1:ImageSpec auth=2:AuthConfig sandbox_config=3:PodSandboxConfig
PullImageResponse image_ref=1
ImageFsInfoRequest
FilesystemIdentifier mountpoint=1
FilesystemUsage timestamp=1:int64 fs_id=2:FilesystemIdentifier used_bytes=3:UInt64Value inodes_used=4:UInt64Value
ImageFsInfoResponse image_filesystems=1:*FilesystemUsage
ContainerAttributes id=1 metadata=2:ContainerMetadata labels=3:map
CpuUsage timestamp=1:int64 usage_core_nano_seconds=2:UInt64Value
MemoryUsage timestamp=1:int64 working_set_bytes=2:UInt64Value usage_bytes=4:UInt64Value rss_bytes=5:UInt64Value
ContainerStats attributes=1:ContainerAttributes cpu=2:CpuUsage memory=3:MemoryUsage writable_layer=4:FilesystemUsage
ListContainerStatsRequest
ListContainerStatsResponse stats=1:*ContainerStats
NetworkInterfaceUsage name=1 rx_bytes=2:UInt64Value rx_errors=3:UInt64Value tx_bytes=4:UInt64Value tx_errors=5:UInt64Value
NetworkUsage default_interface=2:NetworkInterfaceUsage interfaces=3:*NetworkInterfaceUsage
LinuxPodSandboxStats network=3:NetworkUsage
PodSandboxAttributes id=1 metadata=2:PodSandboxMetadata
PodSandboxStats attributes=1:PodSandboxAttributes linux=2:LinuxPodSandboxStats
ListPodSandboxStatsRequest
ListPodSandboxStatsResponse stats=1:*PodSandboxStats
GetEventsRequest
ContainerEventResponse container_id=1 container_event_type=2:int32 created_at=3:int64
Nothing
SubscribeRequest filters=1:*string
AnyEvent type_url=1 value=2:bytes
Envelope namespace=2 topic=3 event=4:AnyEvent
HealthCheckRequest service=1
HealthCheckResponse status=1:int32
TaskExit container_id=1 id=2 pid=3:uint32 exit_status=4:uint32
"""

_PACKAGE = "kubelet.cri"
_TYPES = {name.removeprefix("TYPE_").lower(): number for name, number in descriptor_pb2.FieldDescriptorProto.Type.items()}


def _entry(message: Any, field: Any) -> None:
    """The nested message type that protobuf generates for `map<string, string> field`."""
    entry = message.nested_type.add(name="".join(p.title() for p in field.name.split("_")) + "Entry")
    entry.options.map_entry = True
    for number, name in ((1, "key"), (2, "value")):
        entry.field.add(name=name, number=number, type=_TYPES["string"], label=1)
    field.type, field.label = _TYPES["message"], 3
    field.type_name = f".{_PACKAGE}.{message.name}.{entry.name}"


def _field(message: Any, word: str) -> None:
    name, _, rest = word.partition("=")
    number, _, kind = rest.partition(":")
    field = message.field.add(name=name, number=int(number), label=3 if kind.startswith("*") else 1)
    kind = kind.removeprefix("*") or "string"
    if kind == "map":
        _entry(message, field)
    elif kind in _TYPES:
        field.type = _TYPES[kind]
    else:
        field.type, field.type_name = _TYPES["message"], f".{_PACKAGE}.{kind}"


def _build(table: str) -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="kubelet/cri.proto", package=_PACKAGE, syntax="proto3")
    for line in table.strip().splitlines():
        names, *words = line.split()
        for name in names.split(","):
            message = file.message_type.add(name=name)
            for word in words:
                _field(message, word)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = pool.FindFileByName(file.name).message_types_by_name
    return {name: message_factory.GetMessageClass(found[name]) for name in found}


MESSAGES: dict[str, Any] = _build(_CRI)
"""Message classes by name, e.g. MESSAGES["VersionRequest"](version="v1")."""
