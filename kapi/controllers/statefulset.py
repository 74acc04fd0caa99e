"""StatefulSet: pods with stable names and volumes, created and replaced in order of their ordinals.

The identity of a pod (name, host name, claims) is in stateful_pod.py; this file has the order of operations.
"""


from kapi.client.controller import namespace_terminating
from kapi.controllers import pods, rollout, stateful_pod
from kapi.controllers.history import REVISION_LABEL, History
from kapi.controllers.stateful_pod import ordinal, revision_of
from kapi.controllers.workload import NORMAL, WARNING, Workload
from kapi.objects import errors, meta, time
from kapi.objects.meta import Object
from kapi.objects.resource import PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS


class StatefulSets(Workload):
    name = "statefulset-controller"
    resource = STATEFUL_SETS

    def setup(self) -> None:
        super().setup()
        self.claims = self.informer(PERSISTENT_VOLUME_CLAIMS)
        self.history = History(self, REVISION_LABEL)

    async def sync(self, owner: Object) -> float | None:
        owned = [p for p in await self.claim(owner) if ordinal(owner, p) >= 0]
        if meta.deleting(owner):
            return None
        update = await self.history.newest(owner, (owner["spec"]["template"].get("metadata") or {}).get("labels") or {})
        named = (owner.get("status") or {}).get("currentRevision")
        current = next((r for r in self.history.of(owner) if meta.name(r) == named), update)
        failure: errors.StatusError | None = None
        try:
            await self._sync_pods(owner, owned, current, update)
        except errors.StatusError as error:
            failure = error
        owned = [p for p in self.owned_by(owner) if ordinal(owner, p) >= 0]
        await self.update_status(owner, self._status(owner, owned, current, update))
        await self.history.truncate(owner, {revision_of(p) for p in owned}, [current, update])
        if failure is not None:
            raise failure
        return pods.available_in(owned, owner["spec"].get("minReadySeconds", 0), time.now())

    async def _sync_pods(self, owner: Object, owned: list[Object], current: Object, update: Object) -> None:
        """One sync: create missing ordinals upwards, delete surplus ones, then replace old revisions from the highest ordinal down."""
        spec = owner["spec"]
        start, count = (spec.get("ordinals") or {}).get("start", 0), spec.get("replicas", 1)
        in_order = spec.get("podManagementPolicy", "OrderedReady") == "OrderedReady"
        by_number = {ordinal(owner, p): p for p in owned}
        for number in range(start, start + count):
            revision = stateful_pod.revision_for(owner, number, current, update)
            if not await self._ensure_pod(owner, by_number.get(number), number, revision, in_order=in_order):
                return
        surplus = sorted((n for n in by_number if not start <= n < start + count), reverse=True)
        if not await self._scale_down(owner, [by_number[n] for n in surplus], list(by_number.values()), in_order=in_order):
            return
        if (spec.get("updateStrategy") or {}).get("type", "RollingUpdate") == "RollingUpdate":
            numbers = [by_number[n] for n in range(start, start + count) if n in by_number]
            await self._rolling_update(owner, numbers, update)

    async def _ensure_pod(self, owner: Object, pod: Object | None, number: int, revision: Object, *, in_order: bool) -> bool:
        """Ensure that the pod of an ordinal exists and is healthy. Returns False if the next ordinal has to wait for it."""
        if pod is not None and pods.finished(pod):
            if not meta.deleting(pod):
                kind, reason = (WARNING, "RecreatingFailedPod") if pods.phase(pod) == "Failed" else (NORMAL, "RecreatingTerminatedPod")
                where, word = f"{meta.namespace(owner)}/{meta.name(owner)}", "failed" if kind == WARNING else "terminated"
                self.recorder.event(owner, kind, reason, f"StatefulSet {where} is recreating {word} Pod {meta.name(pod)}")
                await self._delete(owner, pod)
            return not in_order
        if pod is None:
            await self._create(owner, number, revision)
            return not in_order
        if meta.deleting(pod):
            return not in_order
        await self._make_claims(owner, number, meta.name(pod))
        await self._own_claims(owner, pod, retired=False)
        return not in_order or self._is_healthy(owner, pod)

    def _is_healthy(self, owner: Object, pod: Object) -> bool:
        ready = pods.phase(pod) == "Running" and pods.available(pod, owner["spec"].get("minReadySeconds", 0), time.now())
        return ready and not meta.deleting(pod)

    async def _scale_down(self, owner: Object, surplus: list[Object], all_pods: list[Object], *, in_order: bool) -> bool:
        """Delete the highest ordinals, one at a time if ordered; an unhealthy pod blocks the deletion of all others."""
        first_unhealthy = min((p for p in all_pods if not self._is_healthy(owner, p)), key=lambda p: ordinal(owner, p), default=None)
        for pod in surplus:
            if meta.deleting(pod):
                if in_order:
                    return False
                continue
            if in_order and not self._is_healthy(owner, pod) and pod is not first_unhealthy:
                return False
            await self._own_claims(owner, pod, retired=True)
            await self._delete(owner, pod)
            if in_order:
                return False
        return True

    async def _rolling_update(self, owner: Object, numbered: list[Object], update: Object) -> None:
        """Replace pods of older revisions from the highest ordinal down to the partition, at most maxUnavailable at a time."""
        rule = (owner["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
        budget = max(rollout.scaled_value(rule.get("maxUnavailable", 1), owner["spec"].get("replicas", 1), up=False), 1)
        for pod in reversed(numbered):
            if ordinal(owner, pod) < rule.get("partition", 0):
                return
            if revision_of(pod) != meta.name(update) and not meta.deleting(pod):
                await self._delete(owner, pod)
                budget -= 1
            elif not self._is_healthy(owner, pod):
                budget -= 1
            if budget <= 0:
                return

    async def _create(self, owner: Object, number: int, revision: Object) -> None:
        name = stateful_pod.name(owner, number)
        await self._make_claims(owner, number, name)
        pod = stateful_pod.pod(self, owner, number, revision)
        try:
            await self.client.create(PODS, pod)
        except errors.StatusError as error:
            if not isinstance(error, errors.AlreadyExists) and not namespace_terminating(error):
                self.record_warning(owner, "FailedCreate", f"create Pod {name} in StatefulSet {meta.name(owner)} failed error: {error}")
            raise
        self.record_event(owner, "SuccessfulCreate", f"create Pod {name} in StatefulSet {meta.name(owner)} successful")

    async def _delete(self, owner: Object, pod: Object) -> None:
        what = f"delete Pod {meta.name(pod)} in StatefulSet {meta.name(owner)}"
        try:
            if await self.delete_object(PODS, pod):
                self.record_event(owner, "SuccessfulDelete", f"{what} successful")
        except errors.StatusError as error:
            self.record_warning(owner, "FailedDelete", f"{what} failed error: {error}")
            raise

    async def _make_claims(self, owner: Object, number: int, pod: str) -> None:
        for claim in stateful_pod.claims(self, owner, number):
            if self.claims.get(meta.key(claim)) is not None:
                continue
            what = f"create Claim {meta.name(claim)} Pod {pod} in StatefulSet {meta.name(owner)}"
            try:
                await self.client.create(PERSISTENT_VOLUME_CLAIMS, claim)
            except errors.AlreadyExists:
                continue
            except errors.StatusError as error:
                self.record_warning(owner, "FailedCreate", f"{what} failed error: {error}")
                raise
            self.record_event(owner, "SuccessfulCreate", f"{what} success")

    async def _own_claims(self, owner: Object, pod: Object, *, retired: bool) -> None:
        """Set the owner of claims (the set, or the pod being scaled down) by persistentVolumeClaimRetentionPolicy."""
        for name in stateful_pod.claim_names(owner, ordinal(owner, pod)):
            claim = self.claims.get(f"{meta.namespace(owner)}/{name}")
            if claim is None:
                continue
            wanted = stateful_pod.claim_owners(self, owner, pod, claim, retired=retired)
            if wanted != meta.owners(claim):
                await self.patch_object(PERSISTENT_VOLUME_CLAIMS, claim, {"metadata": {"ownerReferences": wanted or None}})

    def _status(self, owner: Object, owned: list[Object], current: Object, update: Object) -> Object:
        old, now = owner.get("status") or {}, time.now()
        min_ready = owner["spec"].get("minReadySeconds", 0)
        steady = [p for p in owned if not meta.deleting(p)]
        ready = [p for p in owned if pods.phase(p) == "Running" and pods.ready(p)]
        updated = sum(revision_of(p) == meta.name(update) for p in steady)
        status: Object = {
            "observedGeneration": meta.metadata(owner).get("generation", 0),
            "replicas": len(owned),
            "readyReplicas": len(ready),
            "availableReplicas": sum(pods.available(p, min_ready, now) for p in ready),
            "currentReplicas": sum(revision_of(p) == meta.name(current) for p in steady),
            "updatedReplicas": updated,
            "currentRevision": meta.name(current),
            "updateRevision": meta.name(update),
            "collisionCount": old.get("collisionCount") or 0,
        }
        rolling = (owner["spec"].get("updateStrategy") or {}).get("type", "RollingUpdate") == "RollingUpdate"
        if rolling and updated == len(owned) == len(ready):
            status |= {"currentRevision": meta.name(update), "currentReplicas": updated}
        return status
