"""How a kubelet is set up. Names and defaults are stock's, v1.36, where stock has the setting."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Settings:
    node_name: str = ""
    """Name of the node; empty: the host name."""
    kubeconfig: str = ""
    """File that says where the API server is and who we are."""
    root_dir: str = "/var/lib/kubelet"
    """Directory for pods' volumes and the like."""
    container_runtime_endpoint: str = "unix:///run/containerd/containerd.sock"
    """Socket of the CRI runtime."""
    pod_cidr: str = ""
    """Addresses of this node's pods, e.g. 10.244.0.0/24 (told to the API; the network is the runtime's)."""
    cluster_dns: str = ""
    """Addresses of the cluster's DNS, comma separated."""
    cluster_domain: str = "cluster.local"
    """Domain of the cluster's services."""
    node_ip: str = ""
    """Address of the node; empty: that of the default route."""
    node_labels: str = ""
    """Labels the node registers with, a=b,c=d."""
    register_with_taints: str = ""
    """Taints the node registers with, key=value:Effect,..."""
    pod_manifest_path: str = ""
    """Directory of static pods' manifests."""
    pod_logs_dir: str = "/var/log/pods"
    """Directory of the containers' logs."""
    cgroup_root: str = "/"
    """Cgroup below which kubepods is made."""
    resolv_conf: str = "/etc/resolv.conf"
    """Resolver configuration that pods inherit."""
    max_pods: int = 110
    """Pods this node takes."""
    system_reserved: str = ""
    """What is kept from pods, e.g. cpu=100m,memory=200Mi,ephemeral-storage=1Gi."""
    eviction_hard: str = "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%,imagefs.inodesFree<5%"
    """Pods are evicted when one of these holds."""
    allowed_unsafe_sysctls: str = ""
    """Sysctls pods may set beyond the safe ones, comma separated; a name may end in *."""
    image_gc_high_threshold: int = 85
    """Percentage of disk use above which unused images go."""
    image_gc_low_threshold: int = 80
    """Percentage of disk use down to which unused images go."""
    container_log_max_size: int = 10 << 20
    """Bytes after which a container's log is rotated."""
    container_log_max_files: int = 5
    """Files kept of a container's log."""
    sync_frequency: float = 60.0
    """Seconds between looks at volumes' sources."""
    port: int = 10250
    """Port of the kubelet's own server; 0: none."""
    address: str = ""
    """Address the kubelet's own server listens on; empty: that of the node; 0.0.0.0: all there are."""
    tls_cert_file: str = ""
    """Certificate of the kubelet's own server."""
    tls_private_key_file: str = ""
    """Its private key."""
    client_ca_file: str = ""
    """CA of those who may talk to the kubelet's own server."""
    simulate: bool = False
    """Run no containers: only pretend to."""
    nodes: int = 1
    """With --simulate: how many nodes, NAME-0 to NAME-(N-1)."""

    @property
    def pods_dir(self) -> Path:
        return Path(self.root_dir, "pods")

    def shown(self) -> dict[str, Any]:
        """The part of stock's KubeletConfiguration that is set here."""
        return {
            "kind": "KubeletConfiguration", "apiVersion": "kubelet.config.k8s.io/v1beta1", "address": self.address, "port": self.port,
            "staticPodPath": self.pod_manifest_path, "clusterDomain": self.cluster_domain, "podCIDR": self.pod_cidr,
            "clusterDNS": [address for address in self.cluster_dns.split(",") if address], "resolvConf": self.resolv_conf,
            "maxPods": self.max_pods, "podLogsDir": self.pod_logs_dir, "cgroupRoot": self.cgroup_root,
            "evictionHard": dict(word.split("<", 1) for word in self.eviction_hard.split(",") if word),
            "systemReserved": pairs(self.system_reserved), "syncFrequency": f"{self.sync_frequency:g}s",
            "imageGCHighThresholdPercent": self.image_gc_high_threshold, "imageGCLowThresholdPercent": self.image_gc_low_threshold,
            "containerLogMaxSize": str(self.container_log_max_size), "containerLogMaxFiles": self.container_log_max_files,
            "containerRuntimeEndpoint": self.container_runtime_endpoint,
            "allowedUnsafeSysctls": [name for name in self.allowed_unsafe_sysctls.split(",") if name],
        }  # fmt: skip

    def pod_dir(self, uid: str) -> Path:
        return self.pods_dir / uid


def pairs(text: str) -> dict[str, str]:
    """'a=b,c=d' as {"a": "b", "c": "d"}."""
    return {key: value for key, _, value in (pair.partition("=") for pair in text.split(",") if pair)}
