"""What `kapi doctor` looks at: one table of checks. A check changes nothing, and needs neither root nor a cluster."""

from collections.abc import Callable
from dataclasses import dataclass

from kapi.cli.checks import cluster, database, kernel, limits, network, programs, user
from kapi.cli.checks.finding import Finding, Scope


@dataclass(frozen=True)
class Check:
    """One row of the doctor's answer."""

    name: str
    look: Callable[[Scope], Finding]
    containers: bool = False
    """Only a cluster with containers needs it."""
    inside: bool = False
    """It looks at what is in the data directory."""


CHECKS = (
    Check("user", user.privileges),
    Check("capabilities", user.capabilities, containers=True),
    Check("cgroups", kernel.cgroups, containers=True),
    Check("file systems", kernel.file_systems, containers=True),
    Check("namespaces", kernel.namespaces, containers=True),
    Check("bridge", kernel.bridge, containers=True),
    Check("nftables", kernel.nftables, containers=True),
    Check("forwarding", kernel.forwarding, containers=True),
    Check("bridged packets", kernel.bridged_packets, containers=True),
    Check("programs", programs.programs, containers=True),
    Check("network plugins", programs.plugins, containers=True),
    Check("node name", network.node_name),
    Check("Python", programs.python),
    Check("kubectl", programs.kubectl),
    Check("kubeconfig", user.kubeconfig),
    Check("inotify", limits.inotify),
    Check("open files", limits.open_files),
    Check("memory", limits.memory),
    Check("swap", limits.swap, containers=True),
    Check("disk space", limits.disk_space),
    Check("inodes", limits.inodes),
    Check("mount", limits.mount),
    Check("clock", limits.clock),
    Check("ports", network.ports),
    Check("proxies", network.proxies),
    Check("data directory", cluster.directory),
    Check("database", database.database, inside=True),
    Check("certificates", cluster.certificates, inside=True),
    Check("containerd", cluster.containerd, containers=True, inside=True),
    Check("leftovers", cluster.leftovers, containers=True),
)
"""In the order they are shown."""

few_files = limits.few_files

__all__ = ["CHECKS", "Check", "Finding", "Scope", "few_files"]
