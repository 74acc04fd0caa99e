"""Variables, expansion and the downward API."""

import base64

import pytest

from kapi.objects.meta import Object
from kapi.objects.resource import CONFIG_MAPS, SECRETS, Resource
from kubelet import environment
from kubelet.environment import EnvironmentContext, MissingReference
from tests.kubelet.build import one, pod

OBJECTS = {
    (CONFIG_MAPS, "cm"): {"kind": "ConfigMap", "data": {"a": "1", "b": "2"}},
    (SECRETS, "s"): {"kind": "Secret", "data": {"k": base64.b64encode(b"hidden").decode()}},
}
AROUND = EnvironmentContext(ips=("10.0.0.5",), host_ips=("192.168.0.1",), node="n1", allocatable={"cpu": "2", "memory": "1Gi"})


async def lookup(resource: Resource, namespace: str, name: str) -> Object | None:
    return OBJECTS.get((resource, name))


async def of(container: Object, environment_context: EnvironmentContext = AROUND) -> dict[str, str]:
    return await environment.variables(pod(container), container, lookup, environment_context)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("$(A)-$(B)", "1-$(B)"), ("$$(A)", "$(A)"), ("$A", "$A"), ("$(A", "$(A"), ("$$$(A)", "$1"), ("a$", "a$"), ("$()", "$()")],
)
def test_expansion(text: str, wanted: str) -> None:
    assert environment.expand(text, {"A": "1"}) == wanted


async def test_later_variables_see_earlier_ones() -> None:
    env = [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)2"}, {"name": "C", "value": "$(D)"}, {"name": "D"}]
    assert await of(one(env=env)) == {"A": "1", "B": "12", "C": "$(D)", "D": ""}


async def test_sources() -> None:
    env = [
        {"name": "CM", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "a"}}},
        {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        {"name": "NONE", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k", "optional": True}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        {"name": "MEM", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
    ]
    prefixed = [{"prefix": "X_", "configMapRef": {"name": "cm"}}]
    found = await of(one(env=env, envFrom=prefixed, resources={"limits": {"cpu": "1500m"}}))
    assert found == {"X_a": "1", "X_b": "2", "CM": "1", "S": "hidden", "IP": "10.0.0.5", "NODE": "n1", "CPU": "2", "MEM": "1024"}


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"configMapKeyRef": {"name": "none", "key": "a"}}, 'configmap "none" not found'),
        ({"secretKeyRef": {"name": "none", "key": "a"}}, 'secret "none" not found'),
        ({"configMapKeyRef": {"name": "cm", "key": "z"}}, "couldn't find key z in ConfigMap default/cm"),
        ({"secretKeyRef": {"name": "s", "key": "z"}}, "couldn't find key z in Secret default/s"),
    ],
)
async def test_what_is_missing(env: Object, message: str) -> None:
    with pytest.raises(MissingReference) as caught:
        await of(one(env=[{"name": "A", "valueFrom": env}]))
    assert str(caught.value) == message


def test_services() -> None:
    ports = [{"name": "http-x", "port": 80, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]
    service = {"metadata": {"name": "my-web"}, "spec": {"clusterIP": "10.96.0.7", "ports": ports}}
    headless = {"metadata": {"name": "h"}, "spec": {"clusterIP": "None", "ports": ports}}
    assert environment.service_variables([service, headless]) == {
        "MY_WEB_SERVICE_HOST": "10.96.0.7", "MY_WEB_SERVICE_PORT": "80", "MY_WEB_SERVICE_PORT_HTTP_X": "80",
        "MY_WEB_PORT": "tcp://10.96.0.7:80", "MY_WEB_PORT_80_TCP": "tcp://10.96.0.7:80", "MY_WEB_PORT_80_TCP_PROTO": "tcp",
        "MY_WEB_PORT_80_TCP_PORT": "80", "MY_WEB_PORT_80_TCP_ADDR": "10.96.0.7", "MY_WEB_PORT_53_UDP": "udp://10.96.0.7:53",
        "MY_WEB_PORT_53_UDP_PROTO": "udp", "MY_WEB_PORT_53_UDP_PORT": "53", "MY_WEB_PORT_53_UDP_ADDR": "10.96.0.7",
    }  # fmt: skip


def test_labels_as_a_file() -> None:
    of_labels = pod()
    of_labels["metadata"]["labels"] = {"b": 'x"y', "a": "1"}
    assert environment.field_value(of_labels, "metadata.labels", AROUND) == 'a="1"\nb="x\\"y"'
    assert environment.field_value(of_labels, "metadata.labels['a']", AROUND) == "1"
