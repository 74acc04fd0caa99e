"""The controllers of kube-controller-manager, a file each; this is the list of them.

They use only the API of a server, kapi's or a stock one.
"""

import asyncio
from collections.abc import Iterable

from kapi.client import Client, Context, Controller, Informers, Recorder
from kapi.client.health import Figures
from kapi.client.leases import LeaderElection
from kapi.controllers.account_token import AccountTokens
from kapi.controllers.autoscaler import Autoscaling
from kapi.controllers.cluster_role import ClusterRoleAggregation
from kapi.controllers.cronjob import CronJobs
from kapi.controllers.daemonset import DaemonSets
from kapi.controllers.deployment import Deployments
from kapi.controllers.disruption import Disruption, StaleDisruption
from kapi.controllers.endpoint import Endpoints
from kapi.controllers.endpoint_mirror import EndpointMirrors
from kapi.controllers.endpoint_slice import EndpointSlices
from kapi.controllers.ephemeral_volume import EphemeralVolumes
from kapi.controllers.garbage import GarbageCollector
from kapi.controllers.job import Jobs
from kapi.controllers.namespace import Namespaces
from kapi.controllers.namespace_content import DefaultServiceAccounts, RootCertificates
from kapi.controllers.node import NodeLifecycle
from kapi.controllers.node_ttl import NodeTTL
from kapi.controllers.pod_garbage import PodGarbageCollector
from kapi.controllers.policy_types import PolicyTypes
from kapi.controllers.protection import AttributesProtection, ClaimProtection, VolumeProtection
from kapi.controllers.quota import Quotas
from kapi.controllers.replicaset import ReplicaSets, ReplicationControllers
from kapi.controllers.service_cidr import ServiceRanges
from kapi.controllers.settings import Settings, with_keys
from kapi.controllers.signing_request import RequestApproval, RequestCleaning, RequestSigning
from kapi.controllers.statefulset import StatefulSets
from kapi.controllers.storage_migration import StorageVersionMigrations
from kapi.controllers.taint_eviction import TaintEviction
from kapi.controllers.ttl import TimeToLive
from kapi.controllers.volume import VolumeBinder
from kapi.objects import metrics

__all__ = ["AGENT", "CONTROLLERS", "Settings", "run", "with_keys"]

AGENT = "kube-controller-manager"
"""User-Agent of the controllers, and thereby the field manager of their writes."""

CONTROLLERS: tuple[type[Controller], ...] = (
    Namespaces,
    DefaultServiceAccounts,
    RootCertificates,
    ReplicaSets,
    ReplicationControllers,
    Deployments,
    StatefulSets,
    DaemonSets,
    Jobs,
    CronJobs,
    TimeToLive,
    Autoscaling,
    Disruption,
    StaleDisruption,
    Quotas,
    ClusterRoleAggregation,
    AccountTokens,
    RequestApproval,
    RequestSigning,
    RequestCleaning,
    ClaimProtection,
    VolumeProtection,
    AttributesProtection,
    VolumeBinder,
    EphemeralVolumes,
    NodeLifecycle,
    NodeTTL,
    TaintEviction,
    PodGarbageCollector,
    ServiceRanges,
    PolicyTypes,
    StorageVersionMigrations,
    EndpointSlices,
    Endpoints,
    EndpointMirrors,
    GarbageCollector,  # last: it watches the metadata of resources that no other controller watches whole
)


async def run(client: Client, settings: Settings | None = None, figures: Figures | None = None) -> None:
    """Run all controllers until cancelled; with leader election, while leading. Their metrics are added to `figures`."""
    chosen = settings or Settings()
    if not chosen.leader_elect:
        await _run(client, chosen, figures)
        return
    await LeaderElection(client, AGENT, chosen.identity).run(lambda: _run(client, chosen, figures))


async def _run(client: Client, settings: Settings, figures: Figures | None) -> None:
    informers = Informers(client)
    recorder = Recorder(client, AGENT)
    context = Context(client, informers, recorder, settings)
    controllers = [kind(context) for kind in CONTROLLERS]
    if figures is not None:
        figures[1:] = [lambda: _depths(controllers)]
    async with asyncio.TaskGroup() as group:
        group.create_task(informers.run(), name="informers")
        group.create_task(recorder.run(), name="events")
        for controller in controllers:
            group.create_task(controller.run(), name=controller.name)


def _depths(controllers: Iterable[Controller]) -> Iterable[str]:
    """The metric workqueue_depth: number of queued keys per controller."""
    family = metrics.Family("workqueue_depth", "Keys that wait in the queue of a controller.", ("name",), gauge=True)
    for controller in controllers:
        family.values[(controller.name,)] += len(controller.queue)
    return family.lines()
