"""How a kubelet is set up. Names and defaults are stock's, v1.36, where stock has the setting."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from kapi.settings import NO_OPTION, Form, types
from kubelet import eviction_signals

POD_CIDR = "10.244.0.0/24"
"""Of the first simulated node, when none is named."""
EVICTION = "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%,imagefs.inodesFree<5%"
CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
"""The label that makes a node's role, as kubeadm sets it."""

Thresholds = Annotated[Mapping[str, str], Form(eviction_signals.parse, "SIGNAL<AMOUNT,…", lambda value: types.shown_pairs(value, "<"))]


@dataclass(frozen=True)
class Settings:
    node_name: types.NodeName = ""
    """Name of the node; empty: the host name. Of simulated nodes: NAME, or of several NAME-0 and so on; empty: node-0 and so on."""
    kubeconfig: types.ExistingFile | None = None
    """File with the API server's address and the user's credentials (default: $KUBECONFIG, then ~/.kube/config)."""
    root_dir: types.RootDirectory = Path("/var/lib/kubelet")
    """Directory for pods' volumes and the like."""
    container_runtime_endpoint: types.Endpoint = "unix:///run/containerd/containerd.sock"
    """Socket of the CRI runtime."""
    pod_cidr: types.CIDR = ""
    """Addresses of this node's pods, e.g. 10.244.0.0/24 (written to the Node; the runtime configures the network)."""
    cluster_dns: types.Addresses = ()
    """Addresses of the cluster's DNS, comma separated."""
    cluster_domain: types.Domain = "cluster.local"
    """Domain of the cluster's services."""
    node_ip: types.NodeAddresses = ()
    """Address of the node; empty: that of the default route."""
    node_labels: types.Labels = field(default_factory=dict)
    """Labels the node registers with, a=b,c=d."""
    register_with_taints: types.Taints = ()
    """Taints the node registers with, key=value:Effect,..."""
    pod_manifest_path: types.Directory | None = None
    """Directory of static pods' manifests."""
    pod_logs_dir: types.AbsolutePath = "/var/log/pods"
    """Directory of the containers' logs."""
    cgroup_root: types.AbsolutePath = "/"
    """Cgroup below which kubepods is made."""
    resolv_conf: types.AbsolutePath = "/etc/resolv.conf"
    """Resolver configuration that pods inherit."""
    max_pods: types.NonNegative = 110
    """Pods this node takes."""
    system_reserved: types.Reserved = field(default_factory=dict)
    """What is kept from pods, e.g. cpu=100m,memory=200Mi,ephemeral-storage=1Gi."""
    eviction_hard: Thresholds = field(default_factory=lambda: eviction_signals.parse(EVICTION))
    """Pods are evicted when one of these holds."""
    allowed_unsafe_sysctls: types.Sysctls = ()
    """Sysctls pods may set beyond the safe ones, comma separated; a name may end in *."""
    image_gc_high_threshold: types.Percentage = 85
    """Percentage of disk use above which unused images go."""
    image_gc_low_threshold: types.Percentage = 80
    """Percentage of disk use down to which unused images go."""
    container_log_max_size: types.Bytes = 10 << 20
    """Bytes after which a container's log is rotated."""
    container_log_max_files: Annotated[int, Form(types.integer(2), "N")] = 5
    """Files kept of a container's log."""
    sync_frequency: types.Seconds = 60.0
    """Seconds between looks at volumes' sources."""
    port: types.OptionalPort = 10250
    """Port of the kubelet's own server; 0: none."""
    address: types.Address = ""
    """Address the kubelet's own server listens on; empty: that of the node; 0.0.0.0: all there are."""
    tls_cert_file: types.ExistingFile | None = None
    """Certificate of the kubelet's own server."""
    tls_private_key_file: types.ExistingFile | None = None
    """Its private key."""
    client_ca_file: types.ExistingFile | None = None
    """CA of those who may talk to the kubelet's own server."""
    simulate: bool = False
    """Run no containers: only pretend to."""
    nodes: types.Count = 1
    """With --simulate: how many nodes."""
    control_plane: bool = field(default=False, metadata=NO_OPTION)
    """The first simulated node has the role of a control plane."""

    def __post_init__(self) -> None:
        if self.image_gc_low_threshold >= self.image_gc_high_threshold:
            low, high = self.image_gc_low_threshold, self.image_gc_high_threshold
            raise ValueError(f"--image-gc-low-threshold {low} must be less than --image-gc-high-threshold {high}")
        if (self.tls_cert_file is None) != (self.tls_private_key_file is None):
            raise ValueError("--tls-cert-file and --tls-private-key-file must be given together")
        if self.nodes > 1 and not self.simulate:
            raise ValueError(f"--nodes {self.nodes} needs --simulate")
        types.check_pod_ranges(self.pod_cidr or POD_CIDR, self.nodes)

    @property
    def pods_dir(self) -> Path:
        return self.root_dir / "pods"

    def shown(self) -> dict[str, Any]:
        """The part of stock's KubeletConfiguration that is set here."""
        return {
            "kind": "KubeletConfiguration", "apiVersion": "kubelet.config.k8s.io/v1beta1", "address": self.address, "port": self.port,
            "staticPodPath": str(self.pod_manifest_path or ""), "clusterDomain": self.cluster_domain, "podCIDR": self.pod_cidr,
            "clusterDNS": list(self.cluster_dns), "resolvConf": self.resolv_conf,
            "maxPods": self.max_pods, "podLogsDir": self.pod_logs_dir, "cgroupRoot": self.cgroup_root,
            "evictionHard": dict(self.eviction_hard),
            "systemReserved": dict(self.system_reserved), "syncFrequency": f"{self.sync_frequency:g}s",
            "imageGCHighThresholdPercent": self.image_gc_high_threshold, "imageGCLowThresholdPercent": self.image_gc_low_threshold,
            "containerLogMaxSize": str(self.container_log_max_size), "containerLogMaxFiles": self.container_log_max_files,
            "containerRuntimeEndpoint": self.container_runtime_endpoint,
            "allowedUnsafeSysctls": list(self.allowed_unsafe_sysctls),
        }  # fmt: skip

    def pod_dir(self, uid: str) -> Path:
        return self.pods_dir / uid


def simulated_names(name: str, nodes: int) -> list[str]:
    """What simulated nodes are called: node-0, node-1 …, unless they were given a name."""
    return [name] if name and nodes == 1 else [f"{name or 'node'}-{i}" for i in range(nodes)]
