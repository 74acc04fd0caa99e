"""Revisions of a Deployment: which ReplicaSet is the newest, and the annotations of ReplicaSets (revision, history, sizes)."""

from collections.abc import Iterable, Sequence

from kapi.controllers import rollout
from kapi.controllers.hashing import short_hash
from kapi.objects import meta
from kapi.objects.meta import Object

HISTORY_LIMIT = 2000
ROLLBACK = "deprecated.deployment.rollback.to"
"""Annotation of a Deployment: the revision to roll back to, 0 for the previous one."""
APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
NOT_COPIED = {APPLIED, rollout.REVISION, rollout.HISTORY, rollout.DESIRED, rollout.MAXIMUM, ROLLBACK}


def _plain(template: Object) -> Object:
    """The template without its hash label and without empty metadata."""
    about = {k: v for k, v in (template.get("metadata") or {}).items() if v}
    own = {k: v for k, v in (about.pop("labels", None) or {}).items() if k != rollout.HASH_LABEL}
    return {"metadata": about, "labels": own, "spec": template.get("spec")}


def newest(deployment: Object, sets: Sequence[Object]) -> Object | None:
    """The oldest ReplicaSet with the Deployment's template."""
    template = _plain(deployment["spec"]["template"])
    return next((rs for rs in rollout.by_age(sets) if _plain(rs["spec"]["template"]) == template), None)


def revision(obj: Object) -> int:
    text = meta.annotations(obj).get(rollout.REVISION, "")
    return int(text) if text.isdigit() else 0


def next_revision(old: Iterable[Object]) -> int:
    return max((revision(rs) for rs in old), default=0) + 1


def rollback_to(text: str, sets: Iterable[Object]) -> int:
    """The revision to roll back to; 0 if there is none."""
    asked = int(text) if text.isdigit() else 0
    known = sorted({revision(rs) for rs in sets}, reverse=True)
    return asked or next(iter(known[1:]), 0)


def rolled_back(deployment: Object, rs: Object) -> Object:
    """The Deployment with the template and annotations of one of its ReplicaSets."""
    template = meta.clone(rs["spec"]["template"])
    ((template.get("metadata") or {}).get("labels") or {}).pop(rollout.HASH_LABEL, None)
    kept = {k: v for k, v in meta.annotations(deployment).items() if k in NOT_COPIED}
    annotations = kept | {k: v for k, v in meta.annotations(rs).items() if k not in NOT_COPIED}
    about = {**deployment["metadata"], "annotations": annotations}
    return {**deployment, "metadata": about, "spec": {**deployment["spec"], "template": template}}


def sizes(deployment: Object) -> dict[str, str]:
    """The annotations with the Deployment's sizes for which a ReplicaSet was scaled."""
    replicas = rollout.replicas(deployment)
    return {rollout.DESIRED: str(replicas), rollout.MAXIMUM: str(replicas + rollout.limits(deployment)[0])}


def annotations(deployment: Object, rs: Object | None, number: int) -> dict[str, str]:
    """The desired annotations of the newest ReplicaSet: the Deployment's, its revision, and its revision history."""
    have = dict(meta.annotations(rs)) if rs is not None else {}
    copied = {k: v for k, v in meta.annotations(deployment).items() if k not in NOT_COPIED}
    out = {**have, **copied}
    before = have.get(rollout.REVISION)
    if before is not None and not before.isdigit() and before:
        return out
    if int(before or 0) < number:
        out[rollout.REVISION] = str(number)
        if before:
            out[rollout.HISTORY] = _history(have.get(rollout.HISTORY, ""), before)
    return {**out, **sizes(deployment)} if rs is None else out


def _history(text: str, before: str) -> str:
    """Append a revision to a history: '1,3' and '5' -> '1,3,5', without the oldest beyond the limit."""
    known = [r for r in text.split(",") if r] + [before]
    while len(",".join(known)) > HISTORY_LIMIT:
        known.pop(0)
    return ",".join(known)


def fresh(deployment: Object, number: int, replicas: int, *, api_version: str, kind: str) -> Object:
    """A new ReplicaSet for the Deployment's template."""
    template = meta.clone(deployment["spec"]["template"])
    collisions = (deployment.get("status") or {}).get("collisionCount") or 0
    code = short_hash(deployment["spec"]["template"], collisions)
    about = template.setdefault("metadata", {})
    about["labels"] = {**(about.get("labels") or {}), rollout.HASH_LABEL: code}
    selector = meta.clone(deployment["spec"]["selector"])
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), rollout.HASH_LABEL: code}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{meta.name(deployment)}-{code}",
            "namespace": meta.namespace(deployment),
            "labels": about["labels"],
            "annotations": annotations(deployment, None, number),
            "ownerReferences": [meta.owner_reference(deployment, api_version=api_version, kind=kind)],
        },
        "spec": {
            "replicas": replicas,
            "minReadySeconds": deployment["spec"].get("minReadySeconds", 0),
            "selector": selector,
            "template": template,
        },
    }
