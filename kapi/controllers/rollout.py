"""Replica arithmetic of a Deployment: how many replicas each of its ReplicaSets should have. Pure.

Annotations of a ReplicaSet have the Deployment's sizes when it was last scaled; proportions are computed from these.
"""

import math
from collections.abc import Sequence

from kapi.objects import meta
from kapi.objects.meta import Object

REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"
HASH_LABEL = "pod-template-hash"


def replicas(obj: Object) -> int:
    wanted = obj["spec"].get("replicas")
    return 1 if wanted is None else int(wanted)


def available(rs: Object) -> int:
    return int((rs.get("status") or {}).get("availableReplicas") or 0)


def total(sets: Sequence[Object]) -> int:
    return sum(replicas(rs) for rs in sets)


def scaled_value(value: int | str | None, total_replicas: int, *, up: bool) -> int:
    """An int-or-percent value of `total_replicas`."""
    if isinstance(value, str) and value.endswith("%"):
        part = int(value[:-1]) * total_replicas / 100
        return math.ceil(part) if up else math.floor(part)
    return int(value or 0)


def rolling(deployment: Object) -> bool:
    return bool((deployment["spec"].get("strategy") or {}).get("type", "RollingUpdate") == "RollingUpdate")


def limits(deployment: Object) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) in pods, not both zero."""
    if not rolling(deployment):
        return 0, 0
    rule = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    desired = replicas(deployment)
    surge = scaled_value(rule.get("maxSurge", "25%"), desired, up=True)
    unavailable = scaled_value(rule.get("maxUnavailable", "25%"), desired, up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return surge, min(unavailable, desired)


def new_replicas(deployment: Object, replica_sets: Sequence[Object], newest: Object | None) -> int:
    """The replicas that the newest ReplicaSet (None: not created yet) may have now; it is not scaled down here."""
    desired = replicas(deployment)
    if not rolling(deployment):
        return desired
    have = replicas(newest) if newest is not None else 0
    budget = desired + limits(deployment)[0] - total(replica_sets)
    return have + min(budget, desired - have) if budget > 0 else have


def by_age(sets: Sequence[Object]) -> list[Object]:
    """Sorted, oldest first."""
    return sorted(sets, key=lambda rs: (meta.metadata(rs).get("creationTimestamp") or "", meta.name(rs)))


def old_steps(deployment: Object, old: Sequence[Object], newest: Object) -> dict[str, int]:
    """{name: replicas} of old ReplicaSets in this step: unhealthy pods are removed first, then as many as availability allows."""
    floor = replicas(deployment) - limits(deployment)[1]
    budget = total([*old, newest]) - floor - (replicas(newest) - available(newest))
    if budget <= 0 or total(old) == 0:
        return {}
    sizes = {meta.name(rs): replicas(rs) for rs in old}
    for rs in by_age(old):
        unhealthy = min(budget, max(sizes[meta.name(rs)] - available(rs), 0))
        sizes[meta.name(rs)] -= unhealthy
        budget -= unhealthy
    surplus_available = sum(available(rs) for rs in [*old, newest]) - floor
    for rs in by_age(old):
        down = min(sizes[meta.name(rs)], max(surplus_available, 0))
        sizes[meta.name(rs)] -= down
        surplus_available -= down
    return {meta.name(rs): sizes[meta.name(rs)] for rs in old if sizes[meta.name(rs)] != replicas(rs)}


def _annotated(rs: Object, name: str) -> int:
    text = meta.annotations(rs).get(name, "")
    return int(text) if text.lstrip("-").isdigit() else 0


def proportion(rs: Object, deployment: Object, to_add: int, added: int) -> int:
    """The share of `to_add` (may be negative) for one ReplicaSet, when `added` has been assigned already."""
    have = replicas(rs)
    if have == 0 or to_add == 0 or to_add == added:
        return 0
    before = _annotated(rs, MAXIMUM) or int((deployment.get("status") or {}).get("replicas") or 0)
    if not before:
        return 0
    after = have * (replicas(deployment) + limits(deployment)[0]) / before
    share = (math.floor(after + 0.5) if after >= 0 else math.ceil(after - 0.5)) - have
    left = to_add - added
    return min(share, left) if to_add > 0 else max(share, left)


def proportional(deployment: Object, active: Sequence[Object]) -> dict[str, int]:
    """{name: replicas} after resizing a Deployment during a rollout: proportional to size, the remainder to the largest."""
    desired = replicas(deployment)
    allowed = desired + limits(deployment)[0] if desired > 0 else 0
    to_add = allowed - total(active)
    newest_first = list(reversed(by_age(active)))
    ranked = sorted(newest_first if to_add > 0 else by_age(active), key=replicas, reverse=True)
    sizes: dict[str, int] = {}
    added = 0
    for rs in ranked:
        share = proportion(rs, deployment, to_add, added) if to_add else 0
        sizes[meta.name(rs)] = replicas(rs) + share
        added += share
    if ranked and to_add:
        first = meta.name(ranked[0])
        sizes[first] = max(sizes[first] + to_add - added, 0)
    return sizes


def resized(deployment: Object, active: Sequence[Object]) -> bool:
    """Whether the Deployment's replicas changed since its ReplicaSets were last scaled."""
    return any(DESIRED in meta.annotations(rs) and _annotated(rs, DESIRED) != replicas(deployment) for rs in active)


def complete(deployment: Object, status: Object) -> bool:
    desired = replicas(deployment)
    counts = (status.get(k, 0) for k in ("updatedReplicas", "replicas", "availableReplicas"))
    generation = meta.metadata(deployment).get("generation", 0)
    return all(c == desired for c in counts) and status.get("observedGeneration", 0) >= generation


def progressing(old: Object, new: Object) -> bool:
    """Whether there are more new or available pods, or fewer old ones, than before."""

    def outdated(status: Object) -> int:
        return int(status.get("replicas", 0)) - int(status.get("updatedReplicas", 0))

    grew = (new.get(k, 0) > old.get(k, 0) for k in ("updatedReplicas", "readyReplicas", "availableReplicas"))
    return any(grew) or outdated(new) < outdated(old)
