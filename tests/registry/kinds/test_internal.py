"""Structures as messages show them."""

from kapi.registry.validation.internal import to_internal


def test_absent_fields_are_null_or_zero() -> None:
    assert to_internal("PodResourceClaim", {"name": "x"}) == {"Name": "x", "ResourceClaimName": None, "ResourceClaimTemplateName": None}
    assert to_internal("NodeAddress", {}) == {"Type": "", "Address": ""}


def test_fields_the_wire_keeps_one_level_up() -> None:
    shown = to_internal("PodSpec", {"hostNetwork": True, "containers": [{"name": "c", "tty": True}]})
    assert shown["SecurityContext"]["HostNetwork"] is True
    assert shown["Containers"][0]["TTY"] is True
    assert shown["Volumes"] is None


def test_metadata_keeps_its_own_names_and_leaves_empty_ones_out() -> None:
    shown = to_internal("PodTemplateSpec", {"metadata": {"labels": {"a": "b"}}, "spec": {}})
    assert list(shown) == ["labels", "Spec"]
    assert to_internal("selector", {"matchExpressions": [{"key": "k"}]}) == {"matchExpressions": [{"key": "k", "operator": ""}]}
