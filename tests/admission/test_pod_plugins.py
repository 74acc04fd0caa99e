"""What admission makes of pods, and the words with which it refuses them."""

from typing import Any

import pytest

from kapi.admission import limit_ranger, pods, service_account
from kapi.objects import errors, usage
from kapi.objects.resource import LIMIT_RANGES, NODES, PODS, PRIORITY_CLASSES, RUNTIME_CLASSES, SERVICE_ACCOUNTS


def pod(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}], **spec}}


def refusal(call: Any, attrs: Any) -> str:
    with pytest.raises(errors.Forbidden) as caught:
        call(attrs)
    return caught.value.message


def test_a_pod_gets_its_account_and_token(world: Any) -> None:
    world.add(SERVICE_ACCOUNTS, "default", "ns", imagePullSecrets=[{"name": "pull"}])
    attrs = world.attrs(PODS, pod(initContainers=[{"name": "i", "volumeMounts": [{"mountPath": service_account.MOUNT_PATH}]}]))
    service_account.ServiceAccount(world.reader).mutate(attrs)
    spec = attrs.new["spec"]
    assert (spec["serviceAccountName"], spec["serviceAccount"]) == ("default", "default")
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    (volume,) = spec["volumes"]
    assert volume["name"].startswith("kube-api-access-")
    assert len(volume["name"]) == len("kube-api-access-") + 5
    assert [next(iter(s)) for s in volume["projected"]["sources"]] == ["serviceAccountToken", "configMap", "downwardAPI"]
    assert spec["containers"][0]["volumeMounts"] == [{"name": volume["name"], "readOnly": True, "mountPath": service_account.MOUNT_PATH}]
    assert len(spec["initContainers"][0]["volumeMounts"]) == 1


KEY = [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        ({"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}, "volume with"),
        ({"volumes": [{"name": "v", "cinder": {"secretRef": {"name": "s"}}}]}, "volume with"),
        ({"volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": "s"}}]}}]}, "volume with"),
        ({"initContainers": [{"name": "i", "env": KEY}]}, "init container i with envVar E referencing"),
        ({"containers": [{"name": "c", "env": KEY}]}, "container c with envVar E referencing"),
        ({"containers": [{"name": "c", "envFrom": [{"secretRef": {"name": "s"}}]}]}, "container c with envFrom referencing"),
        ({"ephemeralContainers": [{"name": "e", "env": KEY}]}, "ephemeral container e with envVar E referencing"),
    ],
)
def test_an_account_may_name_the_secrets_of_its_pods(world: Any, spec: Any, where: str) -> None:
    plugin = service_account.ServiceAccount(world.reader)
    attrs = world.attrs(PODS, pod(serviceAccountName="bot", **{"containers": [], **spec}))
    world.add(SERVICE_ACCOUNTS, "bot", "ns", secrets=[{"name": "s"}], annotations={service_account.ENFORCE_SECRETS: "true"})
    plugin.validate(attrs)
    world.add(SERVICE_ACCOUNTS, "bot", "ns", secrets=[{"name": "other"}], annotations={service_account.ENFORCE_SECRETS: "true"})
    why = f'{where} secret.secretName="s" is not allowed because service account bot does not reference that secret'
    assert refusal(plugin.validate, attrs) == f'pods "p" is forbidden: {why}'


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"serviceAccountName": "bot"}, "a mirror pod may not reference service accounts"),
        ({"volumes": [{"name": "v", "cinder": {"secretRef": {"name": "s"}}}]}, "a mirror pod may not reference secrets"),
        ({"imagePullSecrets": [{"name": "s"}]}, "a mirror pod may not reference secrets"),
        (
            {"volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {}}]}}]},
            "a mirror pod may not use ServiceAccountToken volume projections",
        ),
    ],
)
def test_a_mirror_pod_of_anybody_refers_to_no_secret(world: Any, spec: Any, why: str) -> None:
    mirror = pod(**spec)
    mirror["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
    plugin = service_account.ServiceAccount(world.reader)
    attrs = world.attrs(PODS, mirror)
    plugin.mutate(attrs)
    assert refusal(plugin.validate, attrs) == f'pods "p" is forbidden: {why}'


def test_the_token_may_be_declined(world: Any) -> None:
    world.add(SERVICE_ACCOUNTS, "default", "ns", automountServiceAccountToken=False)
    attrs = world.attrs(PODS, pod())
    service_account.ServiceAccount(world.reader).mutate(attrs)
    assert "volumes" not in attrs.new["spec"]


def test_an_unknown_account_is_refused(world: Any) -> None:
    message = refusal(service_account.ServiceAccount(world.reader).mutate, world.attrs(PODS, pod(serviceAccountName="x")))
    assert message == 'pods "p" is forbidden: error looking up service account ns/x: serviceaccount "x" not found'


def test_priority_comes_from_the_class(world: Any) -> None:
    plugin = pods.Priority(world.reader)
    plain = world.attrs(PODS, pod())
    plugin.mutate(plain)
    assert (plain.new["spec"]["priority"], plain.new["spec"]["preemptionPolicy"]) == (0, "PreemptLowerPriority")
    world.add(PRIORITY_CLASSES, "high", value=100, globalDefault=True, preemptionPolicy="Never")
    attrs = world.attrs(PODS, pod())
    plugin.mutate(attrs)
    spec = attrs.new["spec"]
    assert (spec["priorityClassName"], spec["priority"], spec["preemptionPolicy"]) == ("high", 100, "Never")
    tail = "must not be provided in pod spec; priority admission controller computed 100 from the given PriorityClass name"
    assert refusal(plugin.mutate, world.attrs(PODS, pod(priority=5))) == f'pods "p" is forbidden: the integer value of priority (5) {tail}'
    assert "no PriorityClass with name none was found" in refusal(plugin.mutate, world.attrs(PODS, pod(priorityClassName="none")))
    second = world.attrs(PRIORITY_CLASSES, {"metadata": {"name": "other"}, "globalDefault": True})
    assert "PriorityClass high is already marked as default. Only one default can exist" in refusal(plugin.validate, second)


def test_tolerations_are_added_unless_given(world: Any) -> None:
    plugin = pods.DefaultTolerationSeconds()
    attrs = world.attrs(PODS, pod(tolerations=[{"key": pods.NOT_READY, "operator": "Exists", "effect": "NoExecute"}]))
    plugin.mutate(attrs)
    assert [t["key"] for t in attrs.new["spec"]["tolerations"]] == [pods.NOT_READY, pods.UNREACHABLE]
    everything = world.attrs(PODS, pod(tolerations=[{"operator": "Exists"}]))
    plugin.mutate(everything)
    assert everything.new["spec"]["tolerations"] == [{"operator": "Exists"}]


def test_runtime_class(world: Any) -> None:
    plugin = pods.RuntimeClass(world.reader)
    assert 'pod rejected: RuntimeClass "x" not found' in refusal(plugin.mutate, world.attrs(PODS, pod(runtimeClassName="x")))
    scheduling = {"nodeSelector": {"k": "v"}, "tolerations": [{"key": "t"}]}
    world.add(RUNTIME_CLASSES, "kata", overhead={"podFixed": {"cpu": "100m"}}, scheduling=scheduling)
    attrs = world.attrs(PODS, pod(runtimeClassName="kata"))
    plugin.mutate(attrs)
    plugin.validate(attrs)
    spec = attrs.new["spec"]
    assert (spec["overhead"], spec["nodeSelector"], spec["tolerations"]) == ({"cpu": "100m"}, {"k": "v"}, [{"key": "t"}])
    clash = world.attrs(PODS, pod(runtimeClassName="kata", nodeSelector={"k": "w"}))
    assert "conflict: runtimeClass.scheduling.nodeSelector[k] = v; pod.spec.nodeSelector[k] = w" in refusal(plugin.mutate, clash)
    bare = world.attrs(PODS, pod(overhead={"cpu": "1"}))
    assert "Pod Overhead set without corresponding RuntimeClass defined Overhead" in refusal(plugin.validate, bare)


def test_a_binding_carries_the_nodes_topology(world: Any) -> None:
    world.add(NODES, "n1", labels={"topology.kubernetes.io/zone": "z", "x": "y"})
    attrs = world.attrs(PODS, {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}}, subresource="binding")
    pods.PodTopologyLabels(world.reader).mutate(attrs)
    assert attrs.new["metadata"]["labels"] == {"topology.kubernetes.io/zone": "z"}


def container_limits(**item: Any) -> dict[str, Any]:
    return {"limits": [{"type": "Container", **item}]}


def test_limit_ranges_fill_in_and_say_so(world: Any) -> None:
    world.add(LIMIT_RANGES, "l", "ns", spec=container_limits(default={"cpu": "1"}, defaultRequest={"cpu": "100m", "memory": "1Mi"}))
    attrs = world.attrs(PODS, pod())
    limit_ranger.LimitRanger(world.reader).mutate(attrs)
    assert attrs.new["spec"]["containers"][0]["resources"] == {"requests": {"cpu": "100m", "memory": "1Mi"}, "limits": {"cpu": "1"}}
    note = "LimitRanger plugin set: cpu, memory request for container c; cpu limit for container c"
    assert attrs.new["metadata"]["annotations"] == {limit_ranger.ANNOTATION: note}


@pytest.mark.parametrize(
    ("item", "resources", "message"),
    [
        ({"min": {"cpu": "1"}}, {}, "minimum cpu usage per Container is 1.  No request is specified"),
        ({"min": {"cpu": "1"}}, {"requests": {"cpu": "500m"}}, "minimum cpu usage per Container is 1, but request is 500m"),
        ({"max": {"cpu": "1"}}, {"limits": {"cpu": "2"}}, "maximum cpu usage per Container is 1, but limit is 2"),
        (
            {"maxLimitRequestRatio": {"cpu": "2"}},
            {"limits": {"cpu": "3"}, "requests": {"cpu": "1"}},
            "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000",
        ),
    ],
)
def test_limit_ranges_bound(world: Any, item: Any, resources: Any, message: str) -> None:
    world.add(LIMIT_RANGES, "l", "ns", spec=container_limits(**item))
    attrs = world.attrs(PODS, pod(containers=[{"name": "c", "resources": resources}]))
    assert refusal(limit_ranger.LimitRanger(world.reader).validate, attrs) == f'pods "p" is forbidden: {message}'


def test_a_pods_sum_counts_sidecars_and_the_largest_init_container() -> None:
    def asking(cpu: str, **more: Any) -> dict[str, Any]:
        return {"resources": {"requests": {"cpu": cpu}}, **more}

    spec = {"containers": [asking("1"), asking("500m")], "initContainers": [asking("1", restartPolicy="Always"), asking("4")]}
    assert usage.sum_of(spec, "requests") == {"cpu": "4"}
    assert usage.sum_of({**spec, "initContainers": spec["initContainers"][:1]}, "requests") == {"cpu": "2500m"}
