"""Pod Security Standards: what each level refuses, in stock's words."""

from typing import Any

import pytest

from kapi import limits
from kapi.admission.pod_security import PodSecurity
from kapi.admission.pod_security_levels import LABEL, LevelVersion, policy
from kapi.objects import errors
from kapi.objects.resource import DEPLOYMENTS, NAMESPACES, PODS

_POD: dict[str, Any] = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
_CONTAINER: dict[str, Any] = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
SAFE: dict[str, Any] = {"securityContext": _POD, "containers": [{"name": "c", "securityContext": _CONTAINER}]}


def violations(level: str, meta: Any, spec: Any, version: str = "latest") -> str:
    return LevelVersion(level, version).violations(meta, spec)


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


UNMASKED = {**SAFE, "hostUsers": False, "containers": [{"name": "c", "securityContext": {**_CONTAINER, "procMount": "Unmasked"}}]}
PROBED = {"containers": [{"name": "c", "livenessProbe": {"httpGet": {"host": "127.0.0.1"}}}]}
ROOT = {**SAFE, "securityContext": {**_POD, "runAsUser": 0}}
WINDOWS = {"os": {"name": "windows"}, "securityContext": {"runAsNonRoot": True}, "containers": [{"name": "c"}]}
ENGINE = {"securityContext": {"seLinuxOptions": {"type": "container_engine_t"}}}
KEEPALIVE = {"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_keepalive_time"}]}}
RMEM = {"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_rmem"}]}}
UNCONFINED = {"securityContext": {"seccompProfile": {"type": "Unconfined"}}}


@pytest.mark.parametrize(
    ("level", "spec", "last_before", "reason_before", "first_after", "reason_after"),
    [
        ("baseline", UNMASKED, "v1.34", "procMount", "v1.35", ""),
        ("restricted", UNMASKED, "v1.34", "procMount", "latest", "procMount"),
        ("baseline", PROBED, "v1.33", "", "v1.34", "probe or lifecycle host"),
        ("restricted", ROOT, "v1.22", "", "v1.23", "runAsUser=0"),
        ("restricted", {**ROOT, "hostUsers": False}, "v1.34", "runAsUser=0", "v1.35", ""),
        ("restricted", WINDOWS, "v1.24", "allowPrivilegeEscalation != false", "v1.25", ""),
        ("baseline", ENGINE, "v1.30", "seLinuxOptions", "v1.31", ""),
        ("baseline", KEEPALIVE, "v1.28", "forbidden sysctls", "v1.29", ""),
        ("baseline", RMEM, "v1.31", "forbidden sysctls", "v1.32", ""),
        ("baseline", UNCONFINED, "v1.18", "", "v1.19", "seccompProfile"),
    ],
)
def test_a_version_has_the_checks_of_its_time(
    level: str, spec: Any, last_before: str, reason_before: str, first_after: str, reason_after: str
) -> None:
    assert violations(level, {}, spec, last_before).partition(" (")[0] == reason_before
    assert violations(level, {}, spec, first_after).partition(" (")[0] == reason_after


def test_restricted_of_old_versions_keeps_what_baseline_checks() -> None:
    adds = {"securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"add": ["ALL"]}}, "name": "c"}
    spec = {"securityContext": {"runAsNonRoot": True}, "containers": [adds]}
    found = 'non-default capabilities (container "c" must not include "ALL" in securityContext.capabilities.add)'
    assert violations("restricted", {}, spec, "v1.18") == found
    annotated = {"annotations": {"container.seccomp.security.alpha.kubernetes.io/c": "unconfined"}}
    found = 'seccompProfile (forbidden annotation container.seccomp.security.alpha.kubernetes.io/c="unconfined")'
    assert violations("baseline", annotated, {"containers": [{"name": "c"}]}, "v1.18") == found


def test_app_armor_fields_and_annotations_are_told_together() -> None:
    key = "container.apparmor.security.beta.kubernetes.io/c"
    spec = {"containers": [{"name": "c", "securityContext": {"appArmorProfile": {"type": "Unconfined"}}}]}
    assert violations("baseline", {"annotations": {key: "unconfined", key + "2": "localhost/x"}}, spec) == (
        'forbidden AppArmor profiles (container "c" and annotation must not set AppArmor profile type to '
        f'"Unconfined", "{key}="unconfined"")'
    )


def test_what_is_enforced_is_warned_of_where_nothing_else_is_said() -> None:
    chosen, wrong = policy({f"{LABEL}enforce": "baseline", f"{LABEL}enforce-version": "v1.24"})
    assert (chosen.warn, chosen.audit, wrong) == (("baseline", "v1.24"), ("privileged", "latest"), [])
    chosen, _ = policy({f"{LABEL}enforce": "restricted", f"{LABEL}warn": "privileged"})
    assert chosen.warn == ("privileged", "latest")
    chosen, _ = policy({f"{LABEL}enforce": "baseline", f"{LABEL}warn-version": "v1.20"})
    assert chosen.warn == ("baseline", "v1.20")


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("enforce", "strict", "must be one of privileged, baseline, restricted"),
        ("warn-version", "v2", 'must be "latest" or "v1.x"'),
        ("audit-version", "v1.024", 'must be "latest" or "v1.x"'),
    ],
)
def test_labels_that_cannot_be_read_are_refused_once(world: Any, key: str, value: str, why: str) -> None:
    bad = {"metadata": {"name": "ns", "labels": {LABEL + key: value}}}
    with pytest.raises(errors.Invalid) as caught:
        PodSecurity(world.reader).validate(world.attrs(NAMESPACES, bad))
    field = f"metadata.labels[{LABEL}{key}]"
    assert caught.value.message == f'Namespace "ns" is invalid: {field}: Invalid value: "{value}": {why}'
    PodSecurity(world.reader).validate(world.attrs(NAMESPACES, bad, "UPDATE", old=bad))


def test_labels_that_cannot_be_read_are_enforced_as_restricted() -> None:
    chosen, _ = policy({f"{LABEL}enforce": "strict", f"{LABEL}audit": "x", f"{LABEL}warn": "x"})
    assert (chosen.enforce.level, chosen.audit.level, chosen.warn.level) == ("restricted", "privileged", "privileged")


async def test_a_laxer_level_of_the_same_version_looks_at_no_pod(world: Any) -> None:
    world.add(PODS, "p", "ns", spec={"hostPID": True, "containers": [{"name": "c"}]})
    new: Any = {"metadata": {"name": "ns", "labels": {f"{LABEL}enforce": "baseline"}}}
    old: Any = {"metadata": {"name": "ns", "labels": {f"{LABEL}enforce": "restricted"}}}
    attrs = world.attrs(NAMESPACES, new, "UPDATE", old=old)
    assert PodSecurity(world.reader).validate(attrs) is None
    old["metadata"]["labels"][f"{LABEL}enforce-version"] = "v1.30"
    attrs = world.attrs(NAMESPACES, new, "UPDATE", old=old)
    await PodSecurity(world.reader).validate(attrs)  # type: ignore[misc]
    assert attrs.warnings


async def test_only_so_many_pods_are_looked_at(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PODS_CHECKED", 2)
    for i in range(3):
        world.add(PODS, f"p{i}", "ns", spec={"hostPID": True, "containers": [{"name": "c"}]})
    new = {"metadata": {"name": "ns", "labels": {f"{LABEL}enforce": "baseline"}}}
    attrs = world.attrs(NAMESPACES, new, "UPDATE", old={"metadata": {"name": "ns"}})
    await PodSecurity(world.reader).validate(attrs)  # type: ignore[misc]
    assert attrs.warnings == [
        "new PodSecurity enforce level only checked against the first 2 of 3 existing pods",
        'existing pods in namespace "ns" violate the new PodSecurity enforce level "baseline:latest"',
        "p0 (and 1 other pod): host namespaces",
    ]


async def test_tightening_a_namespace_warns_about_its_pods(world: Any) -> None:
    world.add(PODS, "p", "ns", spec={"hostPID": True, "containers": [{"name": "c"}]})
    new = {"metadata": {"name": "ns", "labels": {f"{LABEL}enforce": "baseline"}}}
    attrs = world.attrs(NAMESPACES, new, "UPDATE", old={"metadata": {"name": "ns"}})
    await PodSecurity(world.reader).validate(attrs)  # type: ignore[misc]
    assert attrs.warnings == [
        'existing pods in namespace "ns" violate the new PodSecurity enforce level "baseline:latest"',
        "p: host namespaces",
    ]
