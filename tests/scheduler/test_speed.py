"""A cycle stays cheap: bounds several times what it takes, so that only a lost order of magnitude fails."""

from collections.abc import Callable
from time import process_time

import pytest

from kapi.objects.meta import Object
from kapi.scheduler import matching
from kapi.scheduler.framework import Cycle
from kapi.scheduler.plugins.affinity import InterPodAffinity
from kapi.scheduler.plugins.images import ImageLocality
from kapi.scheduler.plugins.node_filters import NodeAffinity, NodePorts, NodeUnschedulable, TaintToleration
from kapi.scheduler.plugins.resources import NodeResourcesBalancedAllocation, NodeResourcesFit
from kapi.scheduler.plugins.spreading import PodTopologySpread
from kapi.scheduler.pods import Pod
from kapi.scheduler.snapshot import HOSTNAME
from tests.scheduler.making import cluster, node, pod, search

LABELS = {"app": "web"}
SELECTOR = matching.selector({"matchLabels": LABELS})


def plain(i: int) -> Object:
    return pod(f"p{i}", cpu="50m", memory="32Mi", nodeSelector={"fake": "yes"}, tolerations=[{"operator": "Exists"}])


def replica(i: int) -> Object:
    return pod(f"p{i}", cpu="50m", labels=LABELS)


def apart(i: int) -> Object:
    term = {"topologyKey": HOSTNAME, "labelSelector": {"matchLabels": LABELS}}
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    return pod(f"p{i}", cpu="50m", labels=LABELS, affinity=affinity)


@pytest.mark.slow
@pytest.mark.parametrize(("make", "microseconds"), [(plain, 150), (replica, 600), (apart, 800)])
def test_a_cycle_at_a_thousand_nodes(make: Callable[[int], Object], microseconds: int) -> None:
    where = cluster(*(node(f"n{i}", zone=f"z{i % 3}", cpu="64", memory="256Gi", labels={"fake": "yes"}) for i in range(1000)))
    spread = PodTopologySpread(lambda pod: SELECTOR if pod.identity.labels else None)
    plugins = (NodeUnschedulable(), TaintToleration(), NodeAffinity(), NodePorts(), NodeResourcesFit(), spread, InterPodAffinity())
    looking = search(where, *plugins, NodeResourcesBalancedAllocation(), ImageLocality())
    pods = [Pod(make(i)) for i in range(300)]
    start = process_time()
    for one in pods:
        where.place(one, looking.place(Cycle(one, where)).name)
    each = (process_time() - start) / len(pods) * 1e6
    assert each < 8 * microseconds
