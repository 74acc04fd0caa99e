"""How a kubelet is set up: one frozen dataclass, a line of doc per field; the command line is derived from it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


def option(default: Any, help: str) -> Any:
    """A field with its help text, e.g. `port: int = option(10250, "...")`."""
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Settings:
    """Defaults are stock's, v1.36, where stock has the setting."""

    node_name: str = option("", "name of the node (default: the host name)")
    kubeconfig: str = option("", "file that says where the API server is and who we are")
    root_dir: str = option("/var/lib/kubelet", "directory for pods' volumes and the like")
    container_runtime_endpoint: str = option("unix:///run/containerd/containerd.sock", "socket of the CRI runtime")
    pod_cidr: str = option("", "addresses of this node's pods, e.g. 10.244.0.0/24 (told to the API; the network is the runtime's)")
    cluster_dns: str = option("", "addresses of the cluster's DNS, comma separated")
    cluster_domain: str = option("cluster.local", "domain of the cluster's services")
    node_ip: str = option("", "address of the node (default: that of the default route)")
    node_labels: str = option("", "labels the node registers with, a=b,c=d")
    register_with_taints: str = option("", "taints the node registers with, key=value:Effect,...")
    pod_manifest_path: str = option("", "directory of static pods' manifests")
    pod_logs_dir: str = option("/var/log/pods", "directory of the containers' logs")
    cgroup_root: str = option("/", "cgroup below which kubepods is made")
    resolv_conf: str = option("/etc/resolv.conf", "resolver configuration that pods inherit")
    max_pods: int = option(110, "pods this node takes")
    system_reserved_cpu: str = option("0", "CPU kept from pods, e.g. 100m")
    system_reserved_memory: str = option("0", "memory kept from pods, e.g. 200Mi")
    eviction_memory: str = option("100Mi", "pods are evicted when less memory than this is available")
    eviction_disk: int = option(10, "pods are evicted when less than this percentage of the disk is free")
    image_gc_high: int = option(85, "percentage of disk use above which unused images go")
    image_gc_low: int = option(80, "percentage of disk use down to which unused images go")
    log_max_size: int = option(10 << 20, "bytes after which a container's log is rotated")
    log_max_files: int = option(5, "files kept of a container's log")
    sync_seconds: float = option(60.0, "seconds between looks at volumes' sources")
    port: int = option(10250, "port of the kubelet's own server; 0: none")
    address: str = option("0.0.0.0", "address the kubelet's own server listens on")
    tls_cert_file: str = option("", "certificate of the kubelet's own server")
    tls_private_key_file: str = option("", "its private key")
    client_ca_file: str = option("", "CA of those who may talk to the kubelet's own server")
    simulate: bool = option(False, "run no containers: only pretend to")
    nodes: int = option(1, "with --simulate: how many nodes, NAME-0 to NAME-(N-1)")

    @property
    def pods_dir(self) -> Path:
        return Path(self.root_dir, "pods")

    def pod_dir(self, uid: str) -> Path:
        return self.pods_dir / uid
