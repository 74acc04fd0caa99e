"""The Lease of an API server: it says that it is there."""

import socket

from kapi.api.app import App
from kapi.apiserver import identity_lease
from kapi.client.client import Client
from kapi.objects.resource import LEASES


async def test_a_server_says_that_it_is_there(app: App, kept: Client) -> None:
    (lease,) = (await kept.list(LEASES, "kube-system", labels="apiserver.kubernetes.io/identity=kube-apiserver"))["items"]
    assert lease["metadata"]["name"] == identity_lease.name_of(socket.gethostname())
    gone = {"holderIdentity": "x", "leaseDurationSeconds": 3600, "renewTime": "2020-01-01T00:00:00.000000Z"}
    labels = lease["metadata"]["labels"]
    await kept.create(LEASES, {"metadata": {"name": "apiserver-x", "namespace": "kube-system", "labels": labels}, "spec": gone})
    kind = app.catalogue.by_kind("coordination.k8s.io/v1", "Lease")
    assert kind is not None
    await identity_lease.IdentityLease(app.rest, kind).renew()
    (left,) = (await kept.list(LEASES, "kube-system", labels="apiserver.kubernetes.io/identity=kube-apiserver"))["items"]
    assert left["metadata"]["uid"] == lease["metadata"]["uid"]
    assert left["spec"]["holderIdentity"] != lease["spec"]["holderIdentity"], "another process of the same host"
