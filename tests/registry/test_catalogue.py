from kapi.objects.resource import Resource
from kapi.registry import catalogue
from kapi.registry.kind import Kind
from kapi.registry.strategy import Strategy
from kapi.schema.schema import Schema

STANDARD = catalogue.standard(strategies={})


def thing(version: str, group: str = "example.com") -> Kind:
    return Kind(Resource(group, version, "things", "Thing", True), lambda: Schema("object"), Strategy(), "thing", ("get",))


def test_kinds_are_found() -> None:
    pod = STANDARD.get("", "v1", "pods")
    assert pod is not None
    assert pod is STANDARD.by_kind("v1", "Pod")
    assert pod.schema.name == "io.k8s.api.core.v1.Pod"
    assert pod.short_names == ("po",)
    assert pod.subresources["status"] == ("get", "patch", "update")
    assert STANDARD.get("", "v1", "nothing") is None
    assert STANDARD.by_kind("apps/v2", "Deployment") is None


def test_groups_come_in_order_of_preference() -> None:
    groups = STANDARD.groups()
    assert list(groups)[:4] == ["", "apiregistration.k8s.io", "apps", "events.k8s.io"]
    assert groups["autoscaling"] == ["v2", "v1"]
    assert [k.resource.version for k in STANDARD.versions("autoscaling", "horizontalpodautoscalers")] == ["v2", "v1"]


def test_versions_share_a_collection() -> None:
    versions = STANDARD.versions("autoscaling", "horizontalpodautoscalers")
    assert {kind.collection for kind in versions} == {"/autoscaling/horizontalpodautoscalers/"}
    event = STANDARD.by_kind("events.k8s.io/v1", "Event")
    assert event is not None
    assert event.collection == "/core/events/"


def test_kinds_come_and_go() -> None:
    served = catalogue.Catalogue([thing("v1", "apps")])
    before = served.generation
    for version in ("v1beta1", "v1", "v10", "v2alpha1", "odd"):
        served.add(thing(version))
    assert served.generation == before + 5
    assert served.groups() == {"apps": ["v1"], "example.com": ["v10", "v1", "v1beta1", "v2alpha1", "odd"]}
    served.remove("example.com", "v1", "things")
    served.remove("example.com", "v1", "things")
    assert served.by_kind("example.com/v1", "Thing") is None
    assert served.generation == before + 6


def test_only_stable_versions_are_served_unasked() -> None:
    assert {version for versions in STANDARD.groups().values() for version in versions} == {"v1", "v2"}
    groups = catalogue.standard({"api/beta": True}, {}).groups()
    assert groups["coordination.k8s.io"] == ["v1", "v1beta1"]
    assert "internal.apiserver.k8s.io" not in groups


def test_runtime_config_switches_versions() -> None:
    groups = catalogue.standard({"api/all": False, "api/ga": True, "batch/v1": False, "networking.k8s.io/v1beta1": True}, {}).groups()
    assert "batch" not in groups
    assert groups["networking.k8s.io"] == ["v1", "v1beta1"]
    assert groups["resource.k8s.io"] == ["v1"]
    assert "internal.apiserver.k8s.io" not in groups


def test_subresources_speak_other_kinds() -> None:
    pods, deployments = STANDARD.get("", "v1", "pods"), STANDARD.get("apps", "v1", "deployments")
    assert pods is not None
    assert deployments is not None
    assert catalogue.subresource_kind(pods, "proxy") == ("", "", "PodProxyOptions")
    assert catalogue.subresource_kind(pods, "status") == ("", "", "Pod")
    assert catalogue.subresource_kind(deployments, "scale") == ("autoscaling", "v1", "Scale")


def test_a_kind_without_strategy_has_a_status_only_where_there_is_an_endpoint() -> None:
    pods, maps = STANDARD.get("", "v1", "pods"), STANDARD.get("", "v1", "configmaps")
    assert pods is not None
    assert maps is not None
    assert (pods.strategy.status, maps.strategy.status) == (True, False)
