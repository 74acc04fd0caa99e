"""What a pod becomes in CRI's terms: resources, security, names."""

from typing import Any

import pytest

from kapi.objects.meta import Object
from kubelet import admit, config, dns, pods, resources, security
from kubelet.dns import Resolver
from kubelet.observed_state import Failure
from kubelet.settings import Settings
from tests.kubelet.build import one, pod

GIB = 1 << 30
HOST = Resolver(("1.1.1.1",), ("example.org",), ("timeout:1",))


def fresh(*containers: Object, **spec: Any) -> Object:
    """A pod whose QoS class is not known yet."""
    return {**pod(*containers, **spec), "status": {}}


def asks(requests: Object | None = None, limits: Object | None = None) -> Object:
    return one(resources={k: v for k, v in (("requests", requests), ("limits", limits)) if v})


@pytest.mark.parametrize(
    ("container", "kind"),
    [
        (asks(), "BestEffort"),
        (asks({"cpu": "0"}), "BestEffort"),
        (asks({"cpu": "1"}), "Burstable"),
        (asks({"cpu": "1", "memory": "1Gi"}, {"cpu": "1", "memory": "1Gi"}), "Guaranteed"),
        (asks({"cpu": "1", "memory": "1Gi"}, {"cpu": "2", "memory": "1Gi"}), "Burstable"),
        (asks(None, {"memory": "1Gi"}), "Burstable"),
    ],
)
def test_quality_of_service(container: Object, kind: str) -> None:
    assert pods.qos(fresh(container)) == kind


def test_the_kernels_figures() -> None:
    container = asks({"cpu": "250m", "memory": "2Gi"}, {"cpu": "1500m", "memory": "4Gi"})
    assert resources.container(fresh(container), container, 8 * GIB, unified=False) == {
        "cpu_shares": 256, "cpu_period": 100000, "cpu_quota": 150000, "memory_limit_in_bytes": 4 * GIB, "oom_score_adj": 750,
    }  # fmt: skip
    assert resources.container(fresh(one()), one(), GIB, unified=True) == {
        "cpu_shares": 2, "oom_score_adj": 1000, "unified": {"memory.oom.group": "1"},
    }  # fmt: skip
    assert (resources.weight(2), resources.weight(262144), resources.quota(5)) == (1, 10000, 1000)


def test_the_pods_own_cgroup() -> None:
    limits = {"cpu": "1", "memory": "1Gi"}
    of = fresh(asks(limits, limits), {**asks(limits, limits), "name": "b"})
    assert resources.pod_limits(of) == {"shares": 2048, "quota": 200000, "memory": 2 * GIB}
    assert resources.parent(of) == "/kubepods/podu1"
    assert resources.parent(fresh(), "/kapi") == "/kapi/kubepods/besteffort/podu1"
    assert resources.pod_limits(fresh(asks(limits, limits), one("b")))["memory"] == 0


def test_admission_counts_init_containers_and_others() -> None:
    wants = fresh(asks({"cpu": "1"}), initContainers=[asks({"cpu": "2"})])
    assert pods.requests(wants) == {"cpu": 2000}
    room = admit.NodeAttributes("n1", {"pods": "2", "cpu": "3", "memory": "1Gi", "ephemeral-storage": "1Gi"})
    assert admit.admit(wants, [fresh(asks({"cpu": "1"}))], room) is None
    assert admit.admit(wants, [fresh(asks({"cpu": "2"}))], room) == Failure(
        "OutOfcpu", "Node didn't have enough resource: cpu, requested: 2000, used: 2000, capacity: 3000"
    )
    assert admit.admit(fresh(), [fresh(), fresh()], room) == Failure(
        "OutOfpods", "Node didn't have enough resource: pods, requested: 1, used: 2, capacity: 2"
    )


NODE = admit.NodeAttributes(
    "n1", {"pods": "2", "cpu": "3", "memory": "1Gi"}, {"zone": "a"}, [{"key": "gone", "effect": "NoExecute"}], (), ["kernel.msg*"]
)


def refused(of: Object, *others: Object, node: admit.NodeAttributes = NODE) -> str:
    failure = admit.admit({**of, "spec": {"tolerations": [{"operator": "Exists"}], **of["spec"]}}, others, node)
    return f"{failure.reason}: {failure.message}" if failure else ""


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({"nodeSelector": {"zone": "a"}}, ""),
        ({"nodeSelector": {"zone": "b"}}, "NodeAffinity: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"),
        ({"tolerations": []}, "TaintToleration: Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"),
        ({"os": {"name": "windows"}}, "PodOSNotSupported: Failed to admit pod as the OS field doesn't match node OS"),
    ],
)
def test_a_pod_must_suit_the_node(spec: Object, wanted: str) -> None:
    assert refused(fresh(**spec)) == wanted


def test_host_ports_are_taken_once() -> None:
    def of(ip: str) -> Object:
        return fresh(one(ports=[{"containerPort": 80, "hostPort": 80, "hostIP": ip}]))

    assert refused(of("1.1.1.1"), of("1.1.1.2")) == ""
    taken = "NodePorts: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
    assert refused(of("1.1.1.1"), of("0.0.0.0")) == taken


@pytest.mark.parametrize(
    ("name", "spec", "wanted"),
    [
        ("net.ipv4.tcp_syncookies", {}, ""),
        ("kernel/msgmax", {}, ""),
        ("kernel.sem", {}, '"kernel.sem" not allowlisted'),
        ("net.ipv4.tcp_syncookies", {"hostNetwork": True}, '"net.ipv4.tcp_syncookies" not allowed with host net enabled'),
        ("kernel.shm_rmid_forced", {"hostIPC": True}, '"kernel.shm_rmid_forced" not allowed with host ipc enabled'),
    ],
)
def test_sysctls_that_could_disturb_others_are_refused(name: str, spec: Object, wanted: str) -> None:
    of = fresh(securityContext={"sysctls": [{"name": name, "value": "1"}]}, **spec)
    assert refused(of) == (f"SysctlForbidden: forbidden sysctl: {wanted}" if wanted else "")


@pytest.mark.parametrize(("pressures", "container", "taken"), [
    (["MemoryPressure"], asks(), False), (["MemoryPressure"], asks({"cpu": "1"}), True), (["DiskPressure"], asks({"cpu": "1"}), False),
])  # fmt: skip
def test_a_node_under_pressure_takes_no_more(pressures: list[str], container: Object, taken: bool) -> None:
    of, node = fresh(container, tolerations=[]), NODE._replace(pressures=pressures, taints=())
    assert (refused(of, node=node) == "") is taken
    critical = fresh(container, priority=2_000_000_000)
    assert refused(critical, node=node) == ""


def test_security_of_a_container() -> None:
    of = pod(securityContext={"runAsUser": 5, "fsGroup": 7, "supplementalGroups": [9], "seccompProfile": {"type": "RuntimeDefault"}})
    out = security.container(of, one(securityContext={"runAsGroup": 6, "capabilities": {"drop": ["ALL"]}}), "0")
    assert (out["run_as_user"], out["run_as_group"], out["supplemental_groups"]) == ({"value": 5}, {"value": 6}, [9, 7])
    assert out["capabilities"] == {"add_capabilities": [], "drop_capabilities": ["ALL"]}
    assert out["seccomp"]["profile_type"] == 0
    assert "/proc/kcore" in out["masked_paths"]
    privileged = security.container(of, one(securityContext={"privileged": True}), "")
    assert (privileged["privileged"], "masked_paths" in privileged) == (True, False)
    assert security.container(pod(), one(), "nobody")["run_as_username"] == "nobody"


@pytest.mark.parametrize(
    ("own", "user", "refused"),
    [({}, "", True), ({}, "0", True), ({}, "5", False), ({}, "nobody", True), ({"runAsUser": 0}, "5", True), ({"runAsUser": 5}, "", False)],
)
def test_run_as_non_root(own: Object, user: str, refused: bool) -> None:
    of = pod(securityContext={"runAsNonRoot": True})
    assert (security.refused(of, one(securityContext=own), user) is not None) is refused


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({}, Resolver(("10.96.0.10",), ("default.svc.c.l", "svc.c.l", "c.l", "example.org"), ("ndots:5",))),
        ({"dnsPolicy": "Default"}, HOST),
        ({"hostNetwork": True}, HOST),
        ({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["9.9.9.9"]}}, Resolver(("9.9.9.9",))),
        (
            {"dnsPolicy": "Default", "dnsConfig": {"searches": ["x"], "options": [{"name": "ndots", "value": "2"}]}},
            Resolver(("1.1.1.1",), ("example.org", "x"), ("timeout:1", "ndots:2")),
        ),
    ],
)
def test_resolvers(spec: Object, wanted: Resolver) -> None:
    assert dns.resolver(pod(**spec), HOST, ("10.96.0.10",), "c.l") == wanted


def test_resolv_conf_is_read() -> None:
    assert dns.parse("# x\nnameserver 1.1.1.1\nsearch example.org\noptions timeout:1\n") == HOST


def test_hosts() -> None:
    of = pod(hostname="h", subdomain="s", hostAliases=[{"ip": "1.2.3.4", "hostnames": ["a", "b"]}])
    text = dns.hosts(of, ["10.0.0.5"], "cluster.local")
    assert "10.0.0.5\th.s.default.svc.cluster.local\th\n" in text
    assert text.endswith("\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n")


def test_the_sandboxs_configuration() -> None:
    of = pod(one(ports=[{"containerPort": 80, "hostPort": 8080, "protocol": "UDP"}]), shareProcessNamespace=True)
    of["metadata"]["labels"] = {"app": "web"}
    out = config.sandbox(of, 2, Settings(), Resolver(("1.1.1.1",)))
    assert out["metadata"] == {"name": "web", "uid": "u1", "namespace": "default", "attempt": 2}
    assert (out["hostname"], out["log_directory"]) == ("web", "/var/log/pods/default_web_u1")
    assert out["labels"] == {
        "app": "web", "io.kubernetes.pod.name": "web", "io.kubernetes.pod.namespace": "default", "io.kubernetes.pod.uid": "u1",
    }  # fmt: skip
    assert out["port_mappings"] == [{"protocol": 1, "container_port": 80, "host_port": 8080, "host_ip": ""}]
    assert out["linux"]["security_context"]["namespace_options"] == {"network": 0, "pid": 0, "ipc": 0}


def test_a_pod_may_be_named_by_its_full_name() -> None:
    of = pod(hostname="h", subdomain="s", setHostnameAsFQDN=True)
    assert config.sandbox(of, 0, Settings(), HOST)["hostname"] == "h.s.default.svc.cluster.local"
    with pytest.raises(ValueError, match=r"Failed to construct FQDN .* too long \(64 characters is the max, 92 characters requested\)"):
        config.sandbox(pod(hostname="h" * 63, subdomain="ss", setHostnameAsFQDN=True), 0, Settings(), HOST)


def test_a_subpath_stays_inside(tmp_path: Any) -> None:
    assert config.resolve_subpath(str(tmp_path), "a/b") == tmp_path / "a/b"
    (tmp_path / "out").symlink_to("/etc")
    with pytest.raises(Exception, match="outside"):
        config.resolve_subpath(str(tmp_path), "out/passwd")
