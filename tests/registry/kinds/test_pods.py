"""Pods: what is refused and with which words, what defaults and admission-free preparation leave, grace, fields."""

from typing import Any

import pytest

from kapi.objects import time
from kapi.objects.meta import Object
from kapi.registry.kinds.core.pods.placement import PREFERRED
from kapi.registry.kinds.core.pods.pod_strategy import PodStrategy
from tests.registry.kinds.making import container, faults, made, pod

PODS = PodStrategy()


def volume(**source: Any) -> Object:
    return {"volumes": [{"name": "v", **source}]}


def prober(**probe: Any) -> Object:
    return {"containers": container(livenessProbe={"tcpSocket": {"port": 80}, **probe})}


REQUIRED = "Required value"
MORE_THAN_ONE = "Forbidden: may not specify more than 1 volume type"

BAD: list[tuple[Object, list[str]]] = [
    ({"containers": []}, [f"spec.containers: {REQUIRED}"]),
    ({"containers": [{"image": "i"}]}, [f"spec.containers[0].name: {REQUIRED}"]),
    ({"containers": [{"name": "c"}]}, [f"spec.containers[0].image: {REQUIRED}"]),
    ({"containers": container() * 2}, ['spec.containers[1].name: Duplicate value: "c"']),
    ({"restartPolicy": "x"}, ['spec.restartPolicy: Unsupported value: "x": supported values: "Always", "OnFailure", "Never"']),
    ({"dnsPolicy": "x"},
     ['spec.dnsPolicy: Unsupported value: "x": supported values: "ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"']),
    ({"dnsPolicy": "None"}, ["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"]),
    ({"dnsPolicy": "None", "dnsConfig": {}},
     ["spec.dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when `dnsPolicy` is None"]),
    ({"activeDeadlineSeconds": 0}, ["spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"]),
    ({"containers": container(imagePullPolicy="x")},
     ['spec.containers[0].imagePullPolicy: Unsupported value: "x": supported values: "Always", "IfNotPresent", "Never"']),
    ({"containers": container(terminationMessagePolicy="x")},
     ['spec.containers[0].terminationMessagePolicy: Unsupported value: "x": supported values: "File", "FallbackToLogsOnError"']),
    ({"containers": container(ports=[{}])}, [f"spec.containers[0].ports[0].containerPort: {REQUIRED}"]),
    ({"containers": container(ports=[{"containerPort": 99999}])},
     ["spec.containers[0].ports[0].containerPort: Invalid value: 99999: must be between 1 and 65535, inclusive"]),
    ({"containers": container(ports=[{"containerPort": 1, "protocol": "x"}])},
     ['spec.containers[0].ports[0].protocol: Unsupported value: "x": supported values: "SCTP", "TCP", "UDP"']),
    ({"containers": container(ports=[{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}])},
     ['spec.containers[0].ports[1].name: Duplicate value: "a"']),
    ({"containers": container(env=[{"value": "x"}])}, [f"spec.containers[0].env[0].name: {REQUIRED}"]),
    ({"containers": container(env=[{"name": "A", "valueFrom": {}}])},
     ['spec.containers[0].env[0].valueFrom: Invalid value: "": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`,'
      " `secretKeyRef` or `fileKeyRef`"]),
    ({"containers": container(env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s"}}}])},
     [f"spec.containers[0].env[0].valueFrom.secretKeyRef.key: {REQUIRED}"]),
    ({"containers": container(volumeMounts=[{"name": "x", "mountPath": "/x"}])},
     ['spec.containers[0].volumeMounts[0].name: Not found: "x"']),
    ({**volume(emptyDir={}), "containers": container(volumeMounts=[{"name": "v"}])},
     [f"spec.containers[0].volumeMounts[0].mountPath: {REQUIRED}"]),
    ({**volume(emptyDir={}), "containers": container(volumeMounts=[{"name": "v", "mountPath": "/x"}] * 2)},
     ['spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/x": must be unique']),
    ({"containers": container(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}})},
     ['spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1']),
    ({"containers": container(resources={"limits": {"cpu": "-1"}})},
     ['spec.containers[0].resources.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0',
      'spec.containers[0].resources.requests[cpu]: Invalid value: "-1": must be greater than or equal to 0']),
    ({"containers": container(securityContext={"privileged": True, "allowPrivilegeEscalation": False})},
     ["spec.containers[0].securityContext: Invalid value: ~cannot set `allowPrivilegeEscalation` to false and `privileged` to true"]),
    (prober(timeoutSeconds=-1), ["spec.containers[0].livenessProbe.timeoutSeconds: Invalid value: -1: must be greater than or equal to 0"]),
    (prober(successThreshold=2), ["spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1"]),
    (prober(httpGet={"port": 80}), ["spec.containers[0].livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type"]),
    (volume(), []),
    (volume(emptyDir={}, hostPath={"path": "/x"}), [f"spec.volumes[0].hostPath: {MORE_THAN_ONE}"]),
    (volume(hostPath={}), [f"spec.volumes[0].hostPath.path: {REQUIRED}"]),
    (volume(hostPath={"path": "/a/../b"}), ["spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"]),
    (volume(configMap={}), [f"spec.volumes[0].configMap.name: {REQUIRED}"]),
    (volume(secret={}), [f"spec.volumes[0].secret.secretName: {REQUIRED}"]),
    (volume(secret={"secretName": "s", "defaultMode": 9999}),
     ["spec.volumes[0].secret.defaultMode: Invalid value: 9999: must be a number between 0 and 0777 (octal), both inclusive"]),
    (volume(persistentVolumeClaim={}), [f"spec.volumes[0].persistentVolumeClaim.claimName: {REQUIRED}"]),
    (volume(csi={}), [f"spec.volumes[0].csi.driver: {REQUIRED}"]),
    (volume(nfs={"server": "s", "path": "x"}), ['spec.volumes[0].nfs.path: Invalid value: "x": must be an absolute path']),
    ({"volumes": [{"name": "v", "emptyDir": {}}, {"name": "v", "emptyDir": {}}]}, ['spec.volumes[1].name: Duplicate value: "v"']),
    ({"volumes": [{"emptyDir": {}}]}, [f"spec.volumes[0].name: {REQUIRED}"]),
    (volume(emptyDir={"medium": "HugePages", "sizeLimit": "-1"}), ["~spec.volumes[0].emptyDir.sizeLimit"]),
    ({"tolerations": [{"key": "k", "operator": "x"}]},
     ['spec.tolerations[0].operator: Unsupported value: "x": supported values: "Equal", "Exists"']),
    ({"tolerations": [{"key": "k", "operator": "Exists", "value": "v"}]},
     ["spec.tolerations[0].operator: Invalid value: \"v\": value must be empty when `operator` is 'Exists'"]),
    ({"tolerations": [{"key": "k", "effect": "NoSchedule", "tolerationSeconds": 1}]},
     ["spec.tolerations[0].effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute' when `tolerationSeconds` is set"]),
    ({"tolerations": [{"key": "k", "effect": "x"}]},
     ['spec.tolerations[0].effect: Unsupported value: "x": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"']),
    ({"topologySpreadConstraints": [{"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}]},
     ["spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero"]),
    ({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}},
     ["spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must have at least one"
      " node selector term"]),
    ({"affinity": {"podAffinity": {PREFERRED: [{"weight": 101, "podAffinityTerm": {"topologyKey": "z"}}]}}},
     [f"spec.affinity.podAffinity.{PREFERRED}[0].weight: Invalid value: 101: must be in the range 1-100"]),
    ({"nodeSelector": {"bad key!": "v"}}, ["~spec.nodeSelector: Invalid value: \"bad key!\": name part must consist of"]),
    ({"serviceAccountName": "Bad!"}, ["~spec.serviceAccountName: Invalid value: \"Bad!\": a lowercase RFC 1123 subdomain"]),
    ({"hostname": "Bad!"}, ["~spec.hostname: Invalid value: \"Bad!\": a lowercase RFC 1123 label"]),
    ({"nodeName": "Bad!"}, ["~spec.nodeName: Invalid value: \"Bad!\": a lowercase RFC 1123 subdomain"]),
    ({"hostAliases": [{"ip": "x"}]},
     ['spec.hostAliases[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)']),
    ({"priorityClassName": "Bad!"}, ["~spec.priorityClassName: Invalid value: \"Bad!\": a lowercase RFC 1123 subdomain"]),
    ({"preemptionPolicy": "x"}, ['spec.preemptionPolicy: Unsupported value: "x": supported values: "PreemptLowerPriority", "Never"']),
    ({"schedulingGates": [{"name": "g"}, {"name": "g"}]}, ['spec.schedulingGates[1]: Duplicate value: "g"']),
    ({"schedulingGates": [{"name": "g"}], "nodeName": "n"},
     ["spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"]),
    ({"os": {"name": "x"}}, ['spec.os: Unsupported value: "x": supported values: "linux", "windows"']),
    ({"securityContext": {"runAsUser": -1}},
     ["spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive"]),
    ({"hostIPC": True, "securityContext": {"sysctls": [{"name": "kernel.sem"}, {"name": "kernel.semantics"}, {"name": "kernel/shmall"}]}},
     ["spec.securityContext.sysctls[0].name: Invalid value: \"kernel.sem\": may not be specified when 'hostIPC' is true",
      "spec.securityContext.sysctls[2].name: Invalid value: \"kernel/shmall\": may not be specified when 'hostIPC' is true"]),
    ({"securityContext": {"sysctls": [{"name": "a"}, {"name": "a"}]}}, ['spec.securityContext.sysctls[1].name: Duplicate value: "a"']),
    ({"securityContext": {"seccompProfile": {"type": "Localhost"}}},
     ["spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost"]),
    ({"hostNetwork": True, "containers": container(ports=[{"containerPort": 80, "hostPort": 81}])},
     ["spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true"]),
    ({"ephemeralContainers": [{"name": "e", "image": "i", "terminationMessagePolicy": "File", "imagePullPolicy": "Always"}]},
     ["spec.ephemeralContainers: Forbidden: cannot be set on create"]),
    ({"initContainers": container()}, ['spec.initContainers[0].name: Duplicate value: "c"']),
    ({"initContainers": [{"name": "x", "image": "i", "restartPolicy": "Sometimes"}]},
     ['spec.initContainers[0].restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "Never", "OnFailure"']),
    ({"initContainers": [{"name": "x", "image": "i", "livenessProbe": {"tcpSocket": {"port": 1}}}]},
     ["spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always"]),
    ({"resources": {"requests": {"nvidia.com/x": "1"}}}, 
     ['spec.resources.requests[nvidia.com/x]: Unsupported value: "nvidia.com/x": supported values: "cpu", "hugepages-", "memory"',
      "spec.resources.limits: Required value: Limit must be set for non overcommitable resources"]),
    ({"readinessGates": [{"conditionType": "bad type!"}]}, ["~spec.readinessGates[0].conditionType: Invalid value: \"bad type!\""]),
    ({"overhead": {"cpu": "-1"}}, ["~spec.overhead.limits[cpu]: Invalid value: \"-1\""]),
]


def agree(found: list[str], expected: list[str]) -> bool:
    """`~` in an expected line: the texts before and after it occur in the found one."""
    return len(found) == len(expected) and all(
        all(piece in line for piece in wanted.split("~")) if "~" in wanted else line == wanted
        for line, wanted in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize(("spec", "expected"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_refused(spec: Object, expected: list[str]) -> None:
    found = faults(PODS, pod(**spec))
    assert agree(found, expected), found


def test_accepted_and_filled_in() -> None:
    found = made(PODS, pod())
    assert found["spec"] == {
        "containers": [
            {
                "name": "c", "image": "i", "imagePullPolicy": "Always",
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            }
        ],
        "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
        "terminationGracePeriodSeconds": 30, "securityContext": {}, "enableServiceLinks": True,
    }  # fmt: skip
    assert found["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert PODS.validate(found, None) == []


@pytest.mark.parametrize(
    ("image", "policy"),
    [("i", "Always"), ("i:latest", "Always"), ("i:1", "IfNotPresent"), ("h:5000/i", "Always"), ("i@sha256:" + "0" * 64, "IfNotPresent")],
)
def test_pull_policy_follows_the_tag(image: str, policy: str) -> None:
    assert made(PODS, pod(containers=[{"name": "c", "image": image}]))["spec"]["containers"][0]["imagePullPolicy"] == policy


def test_defaults_of_nested_parts() -> None:
    spec = made(PODS, pod(
        hostNetwork=True,
        containers=container(
            ports=[{"containerPort": 80}], resources={"limits": {"cpu": "1500m"}}, livenessProbe={"httpGet": {"port": 80}},
            env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        ),
        volumes=[{"name": "a"}, {"name": "s", "secret": {"secretName": "x"}}, {"name": "h", "hostPath": {"path": "/"}},
                 {"name": "p", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}],
    ))["spec"]  # fmt: skip
    part = spec["containers"][0]
    assert part["ports"] == [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}]
    assert part["resources"] == {"limits": {"cpu": "1500m"}, "requests": {"cpu": "1500m"}}
    assert part["livenessProbe"] == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
    }  # fmt: skip
    assert part["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] == "v1"
    assert spec["volumes"][0]["emptyDir"] == {}
    assert spec["volumes"][1]["secret"]["defaultMode"] == 0o644
    assert spec["volumes"][2]["hostPath"]["type"] == ""
    assert spec["volumes"][3]["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"] == 3600


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}, "Burstable"),
        ({"limits": {"nvidia.com/gpu": "1"}}, "BestEffort"),
    ],
)
def test_qos_class(resources: Object, expected: str) -> None:
    assert made(PODS, pod(containers=container(resources=resources)))["status"]["qosClass"] == expected


def test_gated_pod_says_why_it_waits() -> None:
    time.set_clock(lambda: 0.0)
    try:
        found = made(PODS, pod(schedulingGates=[{"name": "g"}]))
    finally:
        time.set_clock(None)
    assert found["status"]["conditions"] == [
        {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "lastProbeTime": None,
         "lastTransitionTime": "1970-01-01T00:00:00Z", "message": "Scheduling is blocked due to non-empty scheduling gates"}
    ]  # fmt: skip


def test_fields_behind_gates_that_are_off_are_not_kept() -> None:
    spec = made(PODS, pod(
        schedulingGroup={"podGroupName": "g"}, containers=container(lifecycle={"stopSignal": "SIGTERM"}),
        volumes=[{"name": "p", "projected": {"sources": [{"clusterTrustBundle": {"path": "x"}}]}}],
    ))["spec"]  # fmt: skip
    assert "schedulingGroup" not in spec
    assert "lifecycle" not in spec["containers"][0]
    assert spec["volumes"][0]["projected"]["sources"] == [{}]


def test_match_label_keys_become_requirements() -> None:
    obj = pod(topologySpreadConstraints=[
        {"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}, "matchLabelKeys": ["a", "absent"]}
    ])  # fmt: skip
    obj["metadata"]["labels"] = {"a": "b"}
    selector = made(PODS, obj)["spec"]["topologySpreadConstraints"][0]["labelSelector"]
    assert selector == {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}


@pytest.mark.parametrize(
    ("asked", "node", "phase", "expected"),
    [(None, "n", "Running", 30), (5, "n", "Running", 5), (0, "n", "Running", 0), (-3, "n", "Running", 1), (None, "", "Pending", 0),
     (None, "n", "Failed", 0), (7, "n", "Succeeded", 0)],
)  # fmt: skip
def test_grace(asked: int | None, node: str, phase: str, expected: int) -> None:
    obj = made(PODS, pod(nodeName=node) if node else pod())
    obj["status"]["phase"] = phase
    assert PODS.grace(obj, asked) == expected


def test_selectable_fields() -> None:
    obj = made(PODS, pod(nodeName="n", serviceAccountName="s"))
    obj["status"].update(podIPs=[{"ip": "10.0.0.1"}], nominatedNodeName="m")
    found: dict[str, Any] = {name: get(obj) for name, get in PODS.fields.items()}
    assert found == {
        "spec.nodeName": "n", "spec.restartPolicy": "Always", "spec.schedulerName": "default-scheduler", "spec.serviceAccountName": "s",
        "spec.hostNetwork": "false", "status.phase": "Pending", "status.podIP": "10.0.0.1", "status.nominatedNodeName": "m",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"containers": container(env=[{"name": "A", "value": "1"}, {"name": "A", "value": "2"}])},
         'spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply'),
        ({"volumes": [{"name": "g", "gitRepo": {"repository": "r"}}]},
         "spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+"),
        ({"containers": container(resources={"requests": {"memory": "1500m"}})},
         'spec.containers[0].resources.requests[memory]: fractional byte value "1500m" is invalid, must be an integer'),
        ({"nodeSelector": {"beta.kubernetes.io/os": "linux"}},
         'spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead'),
        ({"containers": container(ports=[{"containerPort": 1, "name": "a"}, {"containerPort": 1, "name": "b"}])},
         "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]"),
        ({"volumes": [{"name": "p", "projected": {"sources": [{}]}}]}, 'volume "p" (Projected) has no sources provided'),
        ({"hostAliases": [{"ip": "1.1.1.1"}, {"ip": "1.1.1.1"}]}, 'spec.hostAliases[1].ip: duplicate ip "1.1.1.1"'),
    ],
)  # fmt: skip
def test_warnings(spec: Object, expected: str) -> None:
    obj = pod(**spec)
    PODS.default(obj)
    assert PODS.warnings(obj, None) == [expected]


def test_names_no_host_can_have_are_warned_of() -> None:
    obj = pod()
    obj["metadata"]["name"] = "a.b"
    assert PODS.warnings(obj, None)[0].startswith("metadata.name: this is used in the Pod's hostname")
