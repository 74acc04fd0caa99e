"""ReplicaSet and ReplicationController: keep the specified number of pods of one template."""


from kapi.controllers import pods, workload
from kapi.controllers.workload import BURST, Failure, Workload
from kapi.objects import conditions, labels, meta, time
from kapi.objects.meta import Object
from kapi.objects.resource import REPLICA_SETS, REPLICATION_CONTROLLERS


class ReplicaSets(Workload):
    name = "replicaset-controller"
    resource = REPLICA_SETS

    async def sync(self, owner: Object) -> float | None:
        owned = await self.claim(owner)
        replicas = owner["spec"].get("replicas", 1)
        active = [p for p in owned if pods.active(p)]
        failure: Failure = None
        if not meta.deleting(owner) and len(active) != replicas:
            failure = await self._scale(owner, active, replicas - len(active))
        current = self.objects.get(meta.key(owner)) or owner
        owned = [p for p in self.owned_by(owner) if not pods.finished(p)]
        await self.update_status(current, self._status(current, owned, replicas - len(active), failure))
        if failure is not None:
            raise failure
        return pods.available_in((p for p in owned if pods.active(p)), owner["spec"].get("minReadySeconds", 0), time.now())

    async def _scale(self, owner: Object, active: list[Object], missing: int) -> Failure:
        if missing > 0:
            pod = self.pod(owner, owner["spec"]["template"])
            return await workload.slow_start(min(missing, BURST), lambda _: self.create_pod(owner, pod))
        victims = pods.deletion_order(active, self._siblings(owner))[: min(-missing, BURST)]
        return await workload.run_all([self.delete_pod(owner, p) for p in victims])

    def _siblings(self, owner: Object) -> list[Object]:
        """The pods of the other ReplicaSets of the same Deployment."""
        ref = meta.controller_of(owner)
        if ref is None:
            return []
        others = [o for o in self.objects.by_index("namespace", meta.namespace(owner)) if o is not owner and meta.controller_of(o) == ref]
        return [p for o in others for p in self.owned_by(o)]

    def _status(self, owner: Object, owned: list[Object], missing: int, failure: Failure) -> Object:
        spec, old = owner["spec"], owner.get("status") or {}
        template = labels.from_dict((spec["template"].get("metadata") or {}).get("labels"))
        now, min_ready = time.now(), spec.get("minReadySeconds", 0)
        active = [p for p in owned if pods.active(p)]
        ready = [p for p in active if pods.ready(p)]
        status: Object = {
            "replicas": len(active),
            "fullyLabeledReplicas": sum(template.matches(meta.labels(p)) for p in active),
            "readyReplicas": len(ready),
            "availableReplicas": sum(pods.available(p, min_ready, now) for p in ready) if min_ready else len(ready),
            "observedGeneration": meta.metadata(owner).get("generation", 0),
        }
        if self.resource is REPLICA_SETS:
            status["terminatingReplicas"] = sum(pods.terminating(p) for p in owned)
        listed = self._conditions(old.get("conditions") or [], missing, failure)
        return {**status, "conditions": listed} if listed else status

    def _conditions(self, old: list[Object], missing: int, failure: Failure) -> list[Object]:
        if failure is None:
            return conditions.without(old, "ReplicaFailure")
        if conditions.find(old, "ReplicaFailure") is not None:
            return old
        reason = "FailedCreate" if missing > 0 else "FailedDelete"
        return conditions.updated(old, {"type": "ReplicaFailure", "status": "True", "reason": reason, "message": str(failure)})


class ReplicationControllers(ReplicaSets):
    name = "replication-controller"
    resource = REPLICATION_CONTROLLERS

    def selector(self, obj: Object) -> labels.Selector:
        return labels.from_dict(obj["spec"].get("selector"))
