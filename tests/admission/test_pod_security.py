"""Pod Security Standards: what each level refuses, in stock's words."""

from typing import Any

import pytest

from kapi.admission.pod_security import LABEL, PodSecurity, violations
from kapi.objects import errors
from kapi.objects.resource import DEPLOYMENTS, NAMESPACES, PODS

SAFE = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [{"name": "c", "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}],
}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"hostNetwork": True, "hostPID": True}, "host namespaces (hostNetwork=true, hostPID=true)"),
        ({"volumes": [{"name": "v", "hostPath": {}}]}, 'hostPath volumes (volume "v")'),
        (
            {"containers": [{"name": "c", "securityContext": {"privileged": True}}]},
            'privileged (container "c" must not set securityContext.privileged=true)',
        ),
        ({"containers": [{"name": "c", "ports": [{"hostPort": 80}]}]}, 'hostPort (container "c" uses hostPort 80)'),
        (
            {"containers": [{"name": "c", "securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}}]},
            'non-default capabilities (container "c" must not include "NET_ADMIN" in securityContext.capabilities.add)',
        ),
        (
            {"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
            'seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")',
        ),
        ({"securityContext": {"sysctls": [{"name": "kernel.x"}]}}, "forbidden sysctls (kernel.x)"),
    ],
)
def test_baseline(spec: Any, message: str) -> None:
    assert violations("baseline", {}, spec) == message
    assert violations("privileged", {}, spec) == ""


def test_restricted() -> None:
    assert violations("restricted", {}, SAFE) == ""
    assert violations("restricted", {}, {"containers": [{"name": "a"}, {"name": "b"}]}) == (
        'allowPrivilegeEscalation != false (containers "a", "b" must set securityContext.allowPrivilegeEscalation=false), '
        'unrestricted capabilities (containers "a", "b" must set securityContext.capabilities.drop=["ALL"]), '
        'runAsNonRoot != true (pod or containers "a", "b" must set securityContext.runAsNonRoot=true), '
        'seccompProfile (pod or containers "a", "b" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")'
    )


def test_the_namespace_decides(world: Any) -> None:
    plugin = PodSecurity(world.reader)
    bad = {"metadata": {"name": "p"}, "spec": {"hostNetwork": True, "containers": [{"name": "c"}]}}
    world.add(NAMESPACES, "ns")
    plugin.validate(world.attrs(PODS, bad))
    world.add(NAMESPACES, "ns", labels={f"{LABEL}enforce": "baseline", f"{LABEL}warn": "restricted"})
    with pytest.raises(errors.Forbidden) as caught:
        plugin.validate(world.attrs(PODS, bad))
    assert caught.value.message == (
        'pods "p" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)'
    )
    attrs = world.attrs(DEPLOYMENTS, {"metadata": {"name": "d"}, "spec": {"template": {"spec": {"containers": [{"name": "c"}]}}}})
    plugin.validate(attrs)
    assert attrs.warnings[0].startswith('would violate PodSecurity "restricted:latest": allowPrivilegeEscalation != false')


def test_tightening_a_namespace_warns_about_its_pods(world: Any) -> None:
    world.add(PODS, "p", "ns", spec={"hostPID": True, "containers": [{"name": "c"}]})
    new = {"metadata": {"name": "ns", "labels": {f"{LABEL}enforce": "baseline"}}}
    attrs = world.attrs(NAMESPACES, new, "UPDATE", old={"metadata": {"name": "ns"}})
    PodSecurity(world.reader).validate(attrs)
    assert attrs.warnings == [
        'existing pods in namespace "ns" violate the new PodSecurity enforce level "baseline:latest"',
        "p: host namespaces",
    ]
