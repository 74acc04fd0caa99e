"""Services: what the type of a service decides, what an update keeps, and what `kubectl get` shows."""

from typing import Any

import pytest

from kapi.objects import time
from kapi.objects.meta import Object
from kapi.registry.kinds.core.service import ServiceStrategy, normalize_cluster_ips
from tests.registry.kinds.changing import causes, ready

SERVICE = ServiceStrategy()
NOW = 1_000_000.0


def service(**spec: Any) -> Object:
    return {"metadata": {"name": "s", "creationTimestamp": time.stamp(NOW - 90)}, "spec": {"ports": [{"port": 80}], **spec}}


def test_defaults() -> None:
    spec = ready(SERVICE, service())["spec"]
    assert spec == {
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        "sessionAffinity": "None",
        "type": "ClusterIP",
        "internalTrafficPolicy": "Cluster",
    }
    balanced = ready(SERVICE, service(type="LoadBalancer"))["spec"]
    assert balanced["externalTrafficPolicy"] == "Cluster"
    assert balanced["allocateLoadBalancerNodePorts"] is True
    sticky = ready(SERVICE, service(sessionAffinity="ClientIP"))["spec"]
    assert sticky["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({"ports": []}, "spec.ports: Required value"),
        ({"ports": [{"port": 0, "targetPort": 1}]}, "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"),
        ({"ports": [{"port": 1}, {"port": 2, "name": "b"}]}, "spec.ports[0].name: Required value"),
        ({"ports": [{"port": 1, "name": "a"}, {"port": 2, "name": "a"}]}, 'spec.ports[1].name: Duplicate value: "a"'),
        ({"ports": [{"port": 1, "nodePort": 30000}]}, "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"),
        ({"sessionAffinity": "Sticky"}, 'spec.sessionAffinity: Unsupported value: "Sticky": supported values: "ClientIP", "None"'),
        ({"clusterIPs": ["10.96.0.9"]}, 'spec.clusterIPs: Invalid value: ["10.96.0.9"]: must be empty when `clusterIP` is not specified'),
        ({"clusterIP": "None", "clusterIPs": ["None"], "type": "NodePort"},
         "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services"),
        ({"ipFamilies": ["IPv4", "IPv4"]}, 'spec.ipFamilies[1]: Duplicate value: "IPv4"'),
        ({"externalIPs": ["127.0.0.1"]},
         'spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)'),
        ({"type": "ExternalName"}, "spec.externalName: Required value"),
        ({"type": "ExternalName", "externalName": "a.b", "ipFamilies": ["IPv4"]},
         "spec.ipFamilies: Forbidden: may not be set for ExternalName services"),
        ({"loadBalancerClass": "a.b/c"}, "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'"),
        ({"loadBalancerSourceRanges": ["10.0.0.0/8"]},
         "spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'"),
        ({"allocateLoadBalancerNodePorts": True},
         "spec.allocateLoadBalancerNodePorts: Forbidden: may only be used when `type` is 'LoadBalancer'"),
        ({"externalTrafficPolicy": "Local"},
         'spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services'),
        ({"healthCheckNodePort": 3},
         "spec.healthCheckNodePort: Invalid value: 3: "
         "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"),
        ({"internalTrafficPolicy": "Near"}, 'spec.internalTrafficPolicy: Unsupported value: "Near": supported values: "Cluster", "Local"'),
        ({"trafficDistribution": "Near"},
         'spec.trafficDistribution: Unsupported value: "Near": supported values: "PreferClose", "PreferSameZone", "PreferSameNode"'),
        ({"type": "Odd"}, 'spec.type: Unsupported value: "Odd": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"'),
    ],
)  # fmt: skip
def test_one_cause(spec: Object, wanted: str) -> None:
    assert causes(SERVICE, service(**spec)) == [wanted]


def changing(before: Object, after: Object) -> list[str]:
    old, new = ready(SERVICE, service(**before)), ready(SERVICE, service(**after))
    return [f"{c.field}: {c.message}" for c in SERVICE.validate(new, old)]


def test_the_primary_address_stays() -> None:
    one, other = {"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"]}, {"clusterIP": "10.96.0.8", "clusterIPs": ["10.96.0.8"]}
    assert changing(one, one) == []
    assert changing(one, other) == ['spec.clusterIPs[0]: Invalid value: ["10.96.0.8"]: may not change once set']


def test_a_health_check_keeps_its_port() -> None:
    checked = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30001}
    assert changing(checked, checked) == []
    assert changing(checked, {**checked, "healthCheckNodePort": 30002}) == ["spec.healthCheckNodePort: Forbidden: field is immutable"]


def test_any_port_may_be_balanced() -> None:
    assert causes(SERVICE, service(type="LoadBalancer", ports=[{"port": 10250}])) == []


def test_the_primary_family_stays() -> None:
    both = {"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9", "fd00::9"], "ipFamilyPolicy": "PreferDualStack"}
    assert changing({**both, "ipFamilies": ["IPv4", "IPv6"]}, {**both, "ipFamilies": ["IPv6", "IPv4"]})[:2] == [
        'spec.ipFamilies[0]: Invalid value: ["IPv6","IPv4"]: may not change once set',
        'spec.ipFamilies[0]: Invalid value: ["IPv6","IPv4"]: may not change once set',
    ]
    assert changing({**both, "ipFamilies": ["IPv4", "IPv6"]}, {**both, "ipFamilies": ["IPv4"]}) == [
        "spec.ipFamilyPolicy: Invalid value: \"PreferDualStack\": must be set to 'SingleStack' when releasing the secondary ipFamily"
    ]
    unset = changing({"ipFamilies": ["IPv4", "IPv6"]}, {})
    assert unset == ["spec.ipFamilies[0]: Invalid value: null: primary ipFamily can not be unset"]


def test_points_of_a_load_balancer() -> None:
    def told(kind: str, **point: str) -> list[str]:
        obj = ready(SERVICE, service(type=kind))
        status = {"status": {"loadBalancer": {"ingress": [point]}}}
        return [f"{c.field}: {c.message}" for c in SERVICE.validate_status({**obj, **status}, obj)]

    at = "status.loadBalancer.ingress"
    assert told("LoadBalancer", ip="1.2.3.4", ipMode="VIP") == []
    assert told("NodePort", ip="1.2.3.4") == [f"{at}: Forbidden: may only be used when `spec.type` is 'LoadBalancer'"]
    assert told("LoadBalancer", ip="1.2.3.4") == [f"{at}[0].ipMode: Required value: must be specified when `ip` is set"]
    assert told("LoadBalancer", ipMode="") == [f"{at}[0].ipMode: Forbidden: may not be specified when `ip` is not set"]
    assert told("LoadBalancer", ip="1.2.3.4", ipMode="No") == [f'{at}[0].ipMode: Unsupported value: "No": supported values: "Proxy", "VIP"']


def test_another_type_drops_what_it_has_no_use_for() -> None:
    ports = [{"port": 80, "nodePort": 30080}]
    old = ready(SERVICE, service(type="LoadBalancer", loadBalancerClass="a.b/c", ports=ports))
    new = ready(SERVICE, {**old, "spec": {**old["spec"], "type": "ClusterIP"}}, old)
    assert not {"loadBalancerClass", "allocateLoadBalancerNodePorts", "externalTrafficPolicy"} & set(new["spec"])
    assert "nodePort" not in new["spec"]["ports"][0]


def test_one_address_field_follows_the_other() -> None:
    spec: Object = {"clusterIP": "10.96.0.9"}
    normalize_cluster_ips(spec, None)
    assert spec["clusterIPs"] == ["10.96.0.9"]
    spec["clusterIP"] = "10.96.0.8"
    normalize_cluster_ips(spec, {"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"]})
    assert spec["clusterIPs"] == ["10.96.0.8"]


def test_warnings() -> None:
    obj = ready(SERVICE, service(clusterIP="None", externalIPs=["010.0.0.1"], externalName="x", trafficDistribution="PreferClose"))
    assert SERVICE.warnings(obj, None) == [
        "spec.externalIPs is ignored for headless services",
        'spec.externalIPs[0]: non-standard IP address "010.0.0.1" will be considered invalid in a future Kubernetes release: '
        'use "10.0.0.1"',
        'spec.externalName is ignored when spec.type is not "ExternalName"',
        'spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"',
    ]


def test_row() -> None:
    obj = ready(SERVICE, service(type="NodePort", clusterIPs=["10.96.0.9"], selector={"b": "2", "a": "1"}))
    obj["spec"]["ports"][0]["nodePort"] = 30080
    assert SERVICE.row(obj, NOW) == ["s", "NodePort", "10.96.0.9", "<none>", "80:30080/TCP", "90s", "a=1,b=2"]
    balanced = ready(SERVICE, service(type="LoadBalancer"))
    assert SERVICE.row(balanced, NOW)[3] == "<pending>"
    balanced["status"]["loadBalancer"]["ingress"] = [{"ip": "1.2.3.4"}, {"hostname": "h"}]
    assert SERVICE.row(balanced, NOW)[3] == "1.2.3.4,h"
