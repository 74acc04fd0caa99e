"""What a pod requests, and which pods share a Spec."""

from kapi.scheduler import pods
from kapi.scheduler.pods import Pod
from tests.scheduler.making import pod


def test_missing_requests_count_when_scoring_only() -> None:
    one = Pod(pod("a"))
    assert one.spec.needs == ()
    assert (one.spec.nonzero_cpu, one.spec.nonzero_memory) == (100, 200 * 1024 * 1024)


def test_pods_of_one_template_share_what_is_computed() -> None:
    token = [{"name": "kube-api-access-x1", "projected": {}}]
    a, b = Pod(pod("a", cpu="1", volumes=token)), Pod(pod("b", cpu="1", nodeName="n"))
    assert a.spec is b.spec
    assert a.identity is b.identity
    assert Pod(pod("c", cpu="2")).spec is not a.spec
    assert Pod(pod("d", cpu="1", labels={"x": "y"})).identity is not a.identity


def test_image_names_get_their_tag() -> None:
    assert pods.image_name("web") == "web:latest"
    assert pods.image_name("host:5000/web") == "host:5000/web:latest"
    assert pods.image_name("web:1") == "web:1"


def test_claims_include_ephemeral_ones() -> None:
    spec = {"volumes": [{"name": "a", "persistentVolumeClaim": {"claimName": "x"}}, {"name": "b", "ephemeral": {}}, {"name": "c"}]}
    assert pods.claims("p", spec) == [("x", False), ("p-b", True)]
