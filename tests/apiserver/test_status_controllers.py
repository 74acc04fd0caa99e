from contextlib import aclosing
from typing import Any

import pytest

from kapi.api.app import App
from kapi.apiserver import status_controllers
from kapi.client.client import Client
from kapi.objects import errors
from kapi.objects.resource import Resource

SCHEMAS = Resource("flowcontrol.apiserver.k8s.io", "v1", "flowschemas", "FlowSchema", False)
LEVELS = Resource("flowcontrol.apiserver.k8s.io", "v1", "prioritylevelconfigurations", "PriorityLevelConfiguration", False)
APIS = Resource("apiregistration.k8s.io", "v1", "apiservices", "APIService", False)
SERVICES = Resource("", "v1", "services", "Service", True)
SLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", True)


async def until(client: Client, resource: Resource, name: str, reason: str) -> dict[str, Any]:
    """The condition of an object once its reason is this one."""
    async with aclosing(client.watch(resource, version="0", fields=f"metadata.name={name}")) as events:  # type: ignore[type-var]
        async for _, obj in events:
            for condition in (obj.get("status") or {}).get("conditions") or ():
                if condition["reason"] == reason:
                    found: dict[str, Any] = condition
                    return found
    raise AssertionError("the watch ended")


async def test_a_work_that_is_refused_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    left = [errors.InternalError("database or disk is full", {})] * 2

    async def work() -> None:
        if left:
            raise left.pop()

    await status_controllers.retried("identity", work, 0.001)
    assert [(record.levelname, record.exc_info) for record in caplog.records] == [("WARNING", None)] * 2


async def test_flow_schemas_learn_whether_their_level_exists(kept: Client) -> None:
    probes = await until(kept, SCHEMAS, "probes", "Found")
    assert (probes["type"], probes["status"]) == ("Dangling", "False")
    await kept.create(SCHEMAS, {"metadata": {"name": "mine"}, "spec": {"priorityLevelConfiguration": {"name": "none"}}})
    lost = await until(kept, SCHEMAS, "mine", "NotFound")
    assert lost["status"] == "True"
    await kept.create(LEVELS, {"metadata": {"name": "none"}, "spec": {"type": "Exempt"}})
    await until(kept, SCHEMAS, "mine", "Found")


async def test_a_remote_api_is_as_available_as_its_service(kept: Client) -> None:
    service = {"namespace": "default", "name": "metrics", "port": 443}
    spec = {"group": "a.example", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10, "service": service}
    await kept.create(APIS, {"metadata": {"name": "v1.a.example"}, "spec": {**spec, "insecureSkipTLSVerify": True}})
    missing = await until(kept, APIS, "v1.a.example", "ServiceNotFound")
    assert missing["message"] == 'service/metrics in "default" is not present'
    await kept.create(SERVICES, {"metadata": {"name": "metrics", "namespace": "default"}, "spec": {"ports": [{"port": 443}]}})
    await until(kept, APIS, "v1.a.example", "EndpointsNotFound")
    meta = {"name": "m", "namespace": "default", "labels": {"kubernetes.io/service-name": "metrics"}}
    await kept.create(SLICES, {"metadata": meta, "addressType": "IPv4", "endpoints": [], "ports": [{"port": 443}]})
    await until(kept, APIS, "v1.a.example", "MissingEndpoints")


async def test_every_served_group_version_is_local(kept: Client, app: App) -> None:
    listed = (await kept.list(APIS))["items"]
    served = {f"{version}.{group}" for group, versions in app.catalogue.groups().items() for version in versions}
    assert {obj["metadata"]["name"] for obj in listed} == served
    assert {obj["status"]["conditions"][0]["reason"] for obj in listed} == {"Local"}
