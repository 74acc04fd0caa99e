"""Helm, the newest and one of years ago: a chart with hooks is installed, tested, upgraded, rolled back and uninstalled."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.clients.programs import program
from tests.e2e.cluster import Kubectl

pytestmark = pytest.mark.slow

CHART = str(Path(__file__).parent / "chart")
WAIT = ("--wait", "--timeout", "40s")


@pytest.fixture(params=["new", "old"])
def helm(request: pytest.FixtureRequest, kubectl: Kubectl) -> Kubectl:
    """Helm takes -n as kubectl does."""
    return Kubectl(kubectl.cluster, kubectl.namespace, str(program(request.param, "helm")))


def hooks(kubectl: Kubectl) -> set[str]:
    """Jobs of hooks that ran to their end."""
    return {j["metadata"]["name"] for j in kubectl.json("get", "jobs")["items"] if j["status"].get("succeeded") == 1}


def color(kubectl: Kubectl) -> str:
    return kubectl.field("configmap/one-settings", ".data.color")


def test_a_release_s_life(helm: Kubectl, kubectl: Kubectl) -> None:
    assert "STATUS: deployed" in helm("install", "one", CHART, *WAIT)
    assert hooks(kubectl) == {"one-pre-install", "one-post-install"}
    assert kubectl.field("deployment/one-web", ".status.availableReplicas") == "2"
    assert kubectl.field("configmap/one-settings", ".data.kube") == "v1.36.2"
    assert "Succeeded" in helm("test", "one", "--timeout", "40s")
    assert "has been upgraded" in helm("upgrade", "one", CHART, "--set", "color=red,replicas=1", *WAIT)
    assert (color(kubectl), kubectl.field("deployment/one-web", ".spec.replicas")) == ("red", "1")
    helm("rollback", "one", "1", *WAIT)
    assert (color(kubectl), kubectl.field("deployment/one-web", ".spec.replicas")) == ("blue", "2")
    assert hooks(kubectl) >= {"one-pre-upgrade", "one-post-rollback"}
    past: list[Any] = json.loads(helm("history", "one", "-o", "json"))
    assert [(r["revision"], r["status"]) for r in past] == [(1, "superseded"), (2, "superseded"), (3, "deployed")]
    assert [r["name"] for r in json.loads(helm("list", "-o", "json"))] == ["one"]
    assert "uninstalled" in helm("uninstall", "one", *WAIT)
    assert "one-pre-delete" in hooks(kubectl)
    assert kubectl("get", "deployments,services,secrets", "-o", "name") == ""


def test_a_hook_that_fails(helm: Kubectl, kubectl: Kubectl) -> None:
    """The release has failed, and nothing but the hook was made."""
    failed = helm("install", "one", CHART, "--set", "hook=exit 1", "--timeout", "20s", fails=True)
    assert "pre-install" in failed.err
    assert [r["status"] for r in json.loads(helm("list", "--failed", "-o", "json"))] == ["failed"]
    assert kubectl("get", "deployments", "-o", "name") == ""


def test_what_is_there_already(helm: Kubectl, kubectl: Kubectl) -> None:
    """Objects of others are not taken over."""
    kubectl("create", "configmap", "one-settings")
    assert "exists and cannot be imported" in helm("install", "one", CHART, fails=True).err
