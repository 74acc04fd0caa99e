"""What the scheduler keeps of objects, and which changes of a pod it calls by which name."""

from kapi.objects.meta import Object
from kapi.scheduler.event_handlers import pod_events, trim_node, trim_pod, trim_set
from kapi.scheduler.framework import Event
from kapi.scheduler.pods import Pod
from tests.scheduler.making import node, pod


def resized(wanted: str, **said: Object) -> dict[str, int]:
    one = pod("p", cpu=wanted, nodeName="a")
    one["status"]["containerStatuses"] = [{"name": "c", **said}]
    return Pod(trim_pod(one)).spec.requests


def test_a_resize_holds_the_most_of_wanted_allotted_and_actual() -> None:
    assert resized("1", allocatedResources={"cpu": "2"}) == {"cpu": 2000}
    assert resized("3", allocatedResources={"cpu": "2"}) == {"cpu": 3000}
    assert resized("1", resources={"requests": {"cpu": "1500m"}}) == {"cpu": 1500}
    assert resized("1", allocatedResources={"cpu": "1000m"}) == {"cpu": 1000}


def test_trimming_a_pod_changes_nothing_that_matters() -> None:
    tall = pod("p", cpu="1", labels={"a": "b"}, tolerations=[{"operator": "Exists"}], ports=[{"hostPort": 80}], serviceAccountName="x")
    tall["spec"]["containers"][0] |= {"env": [{"name": "A", "value": "B"}], "volumeMounts": [{"name": "v"}]}
    tall["spec"]["volumes"] = [{"name": "v", "emptyDir": {}}, {"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]
    short = trim_pod(tall)
    assert "env" not in short["spec"]["containers"][0]
    assert Pod(short).spec is Pod(tall).spec
    assert Pod(short).claims == [("data", False)]
    assert trim_pod(short) == short


def test_nodes_and_sets_are_trimmed_too() -> None:
    one = node("a", taints=[{"key": "k"}])
    one["status"]["conditions"] = [{"type": "Ready"}]
    assert "conditions" not in trim_node(one)["status"]
    assert trim_node(one)["spec"] == one["spec"]
    budget: Object = {"metadata": {"name": "b"}, "spec": {"selector": {}, "x": 1}, "status": {"disruptionsAllowed": 1}}
    assert trim_set({"kind": "PodDisruptionBudget", **budget}) == {**budget, "spec": {"selector": {}}}
    assert trim_set({"kind": "Service", **budget}) == {"metadata": {"name": "b"}, "spec": {"selector": {}}}


def test_the_names_of_changes() -> None:
    old = Pod(pod("p", cpu="2"))
    assert pod_events(old, Pod(pod("p", cpu="2", status={"phase": "Running"}))) == []
    assert Event("pod", "scale-down") in pod_events(old, Pod(pod("p", cpu="1")))
    assert Event("pod", "label") in pod_events(old, Pod(pod("p", cpu="2", labels={"a": "b"})))
    assert Event("pod", "tolerations") in pod_events(old, Pod(pod("p", cpu="2", tolerations=[{"operator": "Exists"}])))
    assert pod_events(Pod(pod("p", cpu="2", schedulingGates=[{"name": "g"}])), old) == [Event("pod", "gates")]
