"""Identity of a StatefulSet's pods: ordinal, name, host name, claims, and revision. Pure."""

import re

from kapi.controllers import history
from kapi.controllers.history import POD_LABEL
from kapi.controllers.workload import Workload
from kapi.objects import meta
from kapi.objects.meta import Object

POD_NAME = "statefulset.kubernetes.io/pod-name"
POD_INDEX = "apps.kubernetes.io/pod-index"
_numbered = re.compile(r"(.*)-([0-9]+)")


def name(owner: Object, number: int) -> str:
    return f"{meta.name(owner)}-{number}"


def ordinal(owner: Object, pod: Object) -> int:
    """The pod's ordinal; -1 if its name is not one of this set's."""
    found = _numbered.fullmatch(meta.name(pod))
    return int(found[2]) if found and found[1] == meta.name(owner) else -1


def revision_of(pod: Object) -> str:
    return meta.labels(pod).get(POD_LABEL, "")


def revision_for(owner: Object, number: int, current: Object, update: Object) -> Object:
    """The revision for an ordinal: below the partition of a rolling update, pods keep the current revision."""
    strategy = owner["spec"].get("updateStrategy") or {}
    if strategy.get("type", "RollingUpdate") != "RollingUpdate":
        return update
    start = (owner["spec"].get("ordinals") or {}).get("start", 0)
    rule = strategy.get("rollingUpdate")
    below = (rule.get("partition") or 0) if rule is not None else (owner.get("status") or {}).get("currentReplicas", 0)
    return current if number < start + below else update


def claim_name(owner: Object, template: Object, number: int) -> str:
    return f"{meta.name(template)}-{name(owner, number)}"


def claim_names(owner: Object, number: int) -> list[str]:
    return [claim_name(owner, template, number) for template in owner["spec"].get("volumeClaimTemplates") or ()]


def claim_owners(controller: Workload, owner: Object, pod: Object, claim: Object, *, retired: bool) -> list[Object]:
    """The owner references a claim should have: `retired` if scaling down deletes its pod. Foreign references are kept."""
    policy = owner["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    kept = [ref for ref in meta.owners(claim) if ref["uid"] not in (meta.uid(owner), meta.uid(pod))]
    if any(ref.get("controller") for ref in kept):
        return kept
    if retired and policy.get("whenScaled") == "Delete":
        return [*kept, meta.owner_reference(pod, api_version="v1", kind="Pod")]
    return [*kept, controller.reference(owner)] if policy.get("whenDeleted") == "Delete" else kept


def claims(controller: Workload, owner: Object, number: int) -> list[Object]:
    """The claims of an ordinal, as created."""
    out = []
    policy = owner["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    owners = {"ownerReferences": [controller.reference(owner)]} if policy.get("whenDeleted") == "Delete" else {}
    labels = (owner["spec"].get("selector") or {}).get("matchLabels") or {}
    for template in owner["spec"].get("volumeClaimTemplates") or ():
        about = {k: v for k, v in template["metadata"].items() if k in ("annotations", "labels")}
        about["labels"] = {**about.get("labels", {}), **labels}
        about |= {"name": claim_name(owner, template, number), "namespace": meta.namespace(owner), **owners}
        out.append({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": about, "spec": template["spec"]})
    return out


def pod(controller: Workload, owner: Object, number: int, revision: Object) -> Object:
    """The pod of an ordinal at a revision."""
    own = name(owner, number)
    made = controller.pod(owner, history.template(revision), name=own)
    labels = {POD_NAME: own, POD_INDEX: str(number), POD_LABEL: meta.name(revision)}
    made["metadata"]["labels"] = {**made["metadata"].get("labels", {}), **labels}
    spec = {**made["spec"], "hostname": own, "subdomain": owner["spec"].get("serviceName") or ""}
    templates = owner["spec"].get("volumeClaimTemplates") or ()
    if templates:
        named = {meta.name(t) for t in templates}
        disks = [{"name": meta.name(t), "persistentVolumeClaim": {"claimName": claim_name(owner, t, number)}} for t in templates]
        spec["volumes"] = [*disks, *(v for v in spec.get("volumes") or () if v["name"] not in named)]
    made["spec"] = spec
    return made
