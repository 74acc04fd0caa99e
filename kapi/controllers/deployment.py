"""Deployment: ReplicaSets by template, rolled from old to new within maxSurge and maxUnavailable, with history and a progress deadline.

Replica arithmetic is in rollout.py, revisions and annotations of ReplicaSets in revisions.py, conditions in progress.py.
"""


from kapi.client.controller import namespace_terminating
from kapi.controllers import pods, progress, revisions, rollout
from kapi.controllers.workload import NORMAL, WARNING, Workload, controller_keys
from kapi.objects import errors, meta, time
from kapi.objects.meta import Object
from kapi.objects.resource import DEPLOYMENTS, PODS, REPLICA_SETS


class Deployments(Workload):
    name = "deployment-controller"
    resource = DEPLOYMENTS
    owned = REPLICA_SETS

    def setup(self) -> None:
        super().setup()
        self.pods = self.informer(PODS)
        self.pods.add_index("controller", controller_keys)
        self.pods.add_handler(self._pod_changed)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        """A deleted pod may let a Recreate continue."""
        pod = new or old
        if pod is None or (new is not None and not pods.finished(new)):
            return
        ref = meta.controller_of(pod)
        if ref is None or ref["kind"] != "ReplicaSet":
            return
        rs = self.dependents.get(f"{meta.namespace(pod)}/{ref['name']}")
        owner = meta.controller_of(rs) if rs else None
        key = f"{meta.namespace(pod)}/{owner['name']}" if owner else ""
        deployment = self.objects.get(key)
        if deployment is not None and not rollout.rolling(deployment):
            self.queue.add(key)

    async def sync(self, deployment: Object) -> float | None:
        selector = deployment["spec"].get("selector") or {}
        if not any(selector.values()):
            self.record_warning(deployment, "SelectingAll", "This deployment is selecting all pods. A non-empty selector is required.")
            return None
        sets = await self.claim(deployment)
        if meta.deleting(deployment):
            await self._sync(deployment, sets, scale=False)
            return None
        deployment = await self._record_pause(deployment)
        active = [rs for rs in sets if rollout.replicas(rs) > 0]
        rolls_back = revisions.ROLLBACK in meta.annotations(deployment)
        if deployment["spec"].get("paused") or (not rolls_back and rollout.resized(deployment, active)):
            await self._sync(deployment, sets, scale=True)
            return None
        if rolls_back:
            await self._roll_back(deployment, sets)
            return None
        return await self._roll(deployment, sets)

    async def _roll(self, deployment: Object, sets: list[Object]) -> float | None:
        if rollout.rolling(deployment):
            newest, deployment = await self._newest(deployment, sets, create=True)
            moved = newest is not None and await self._scale_step(deployment, self._others(sets, newest), newest)
        else:
            newest, deployment, moved = await self._recreate(deployment, sets)
        sets = self.owned_by(deployment)
        if newest is not None:
            newest = self.dependents.get(meta.key(newest)) or newest
        if not moved and rollout.complete(deployment, deployment.get("status") or {}):
            await self._clean_up_history(deployment, self._others(sets, newest))
        status = progress.status(deployment, sets, newest)
        deployment = await self.update_status(deployment, progress.with_progress_and_failure(deployment, status, sets, newest))
        return progress.seconds_until_deadline(deployment, time.now())

    def _others(self, sets: list[Object], newest: Object | None) -> list[Object]:
        return [rs for rs in sets if newest is None or meta.uid(rs) != meta.uid(newest)]

    async def _scale_step(self, deployment: Object, old: list[Object], newest: Object) -> bool:
        """One step of a rolling update: scale the newest ReplicaSet, else scale down old ones."""
        replicas, have = rollout.replicas(deployment), rollout.replicas(newest)
        if have != replicas:
            size = replicas if have > replicas else rollout.new_replicas(deployment, [*old, newest], newest)
            if size != have:
                await self._scale(deployment, newest, size)
                return True
        steps = rollout.old_steps(deployment, [rs for rs in old if rollout.replicas(rs) > 0], newest)
        for rs in old:
            if meta.name(rs) in steps:
                await self._scale(deployment, rs, steps[meta.name(rs)])
        return bool(steps)

    async def _recreate(self, deployment: Object, sets: list[Object]) -> tuple[Object | None, Object, bool]:
        """Delete all old pods before creating new ones."""
        newest, deployment = await self._newest(deployment, sets, create=False)
        old = self._others(sets, newest)
        running = [rs for rs in old if rollout.replicas(rs) > 0]
        for rs in running:
            await self._scale(deployment, rs, 0)
        if running or any(not pods.finished(p) for rs in old for p in self.pods.by_index("controller", meta.uid(rs))):
            return newest, deployment, True
        newest, deployment = await self._newest(deployment, sets, create=True)
        moved = newest is not None and rollout.replicas(newest) != rollout.replicas(deployment)
        if newest is not None and moved:
            await self._scale(deployment, newest, rollout.replicas(deployment))
        return newest, deployment, moved

    async def _newest(self, deployment: Object, sets: list[Object], *, create: bool) -> tuple[Object | None, Object]:
        """The ReplicaSet of the current template, with its annotations and the Deployment's revision updated; created if `create`."""
        newest = revisions.newest(deployment, sets)
        old = self._others(sets, newest)
        number = revisions.next_revision(old)
        if newest is None:
            return await self._create(deployment, old, number) if create else (None, deployment)
        annotations = revisions.annotations(deployment, newest, number)
        ready = deployment["spec"].get("minReadySeconds", 0)
        if annotations != meta.annotations(newest) or newest["spec"].get("minReadySeconds", 0) != ready:
            about, spec = {**newest["metadata"], "annotations": annotations}, {**newest["spec"], "minReadySeconds": ready}
            newest = await self.client.update(REPLICA_SETS, {**newest, "metadata": about, "spec": spec})
        status = progress.with_initial_progress(deployment, f'Found new replica set "{meta.name(newest)}"', "FoundNewReplicaSet")
        return newest, await self._write_revision(deployment, revisions.revision(newest), status)

    async def _write_revision(self, deployment: Object, number: int, status: Object) -> Object:
        """Write the Deployment's revision annotation and status if they changed."""
        known = meta.annotations(deployment)
        if known.get(rollout.REVISION) == str(number) and status is deployment.get("status"):
            return deployment
        about = {**deployment["metadata"], "annotations": {**known, rollout.REVISION: str(number)}}
        return await self.client.update(DEPLOYMENTS, {**deployment, "metadata": about, "status": status}, subresource="status")

    async def _create(self, deployment: Object, old: list[Object], number: int) -> tuple[Object | None, Object]:
        size = rollout.new_replicas(deployment, old, None)
        replica_set = revisions.fresh(deployment, number, size, api_version=DEPLOYMENTS.api_version, kind=DEPLOYMENTS.kind)
        name = meta.name(replica_set)
        try:
            created = await self.client.create(REPLICA_SETS, replica_set)
        except errors.AlreadyExists:
            await self._collision(deployment, name)
            raise
        except errors.StatusError as error:
            if not namespace_terminating(error):
                await self._create_failed(deployment, name, error)
            raise
        if size > 0:
            self.record_event(deployment, "ScalingReplicaSet", f"Scaled up replica set {name} from 0 to {size}")
        if not progress.has_deadline(deployment):
            return created, await self._write_revision(deployment, number, deployment.get("status") or {})
        status = progress.with_progress(deployment, "True", "NewReplicaSetCreated", f'Created new replica set "{name}"')
        return created, await self._write_revision(deployment, number, status)

    async def _collision(self, deployment: Object, name: str) -> None:
        """Another ReplicaSet has the name: increment collisionCount, so that the next attempt has another name. A cached view that misses
        our own ReplicaSet is not a collision."""
        there = await self.client.get(REPLICA_SETS, name, meta.namespace(deployment))
        if meta.controlled_by(there, deployment) and revisions.newest(deployment, [there]) is not None:
            return
        status = dict(deployment.get("status") or {})
        status["collisionCount"] = (status.get("collisionCount") or 0) + 1
        await self.update_status(deployment, status)

    async def _create_failed(self, deployment: Object, name: str, error: errors.StatusError) -> None:
        text = f'Failed to create new replica set "{name}": {error}'
        self.record_warning(deployment, "ReplicaSetCreateError", text)
        if progress.has_deadline(deployment):
            await self.update_status(deployment, progress.with_progress(deployment, "False", "ReplicaSetCreateError", text))

    async def _scale(self, deployment: Object, rs: Object, size: int) -> None:
        """Scale a ReplicaSet, or update its annotations."""
        have = rollout.replicas(rs)
        annotations = {**meta.annotations(rs), **revisions.sizes(deployment)}
        if have == size and annotations == meta.annotations(rs):
            return
        about = {**rs["metadata"], "annotations": annotations}
        await self.client.update(REPLICA_SETS, {**rs, "metadata": about, "spec": {**rs["spec"], "replicas": size}})
        if have != size:
            way = "up" if size > have else "down"
            self.record_event(deployment, "ScalingReplicaSet", f"Scaled {way} replica set {meta.name(rs)} from {have} to {size}")

    async def _sync(self, deployment: Object, sets: list[Object], *, scale: bool) -> None:
        """Outside a rollout: scale proportionally and update the status."""
        newest, deployment = await self._newest(deployment, sets, create=False)
        if scale:
            await self._resize(deployment, self._others(sets, newest), newest)
            if deployment["spec"].get("paused") and revisions.ROLLBACK not in meta.annotations(deployment):
                await self._clean_up_history(deployment, self._others(sets, newest))
        sets = self.owned_by(deployment)
        await self.update_status(deployment, progress.status(deployment, sets, newest))

    async def _resize(self, deployment: Object, old: list[Object], newest: Object | None) -> None:
        replica_sets = [*old, newest] if newest is not None else old
        active = [rs for rs in replica_sets if rollout.replicas(rs) > 0]
        replicas = rollout.replicas(deployment)
        if len(active) <= 1:
            target = active[0] if active else newest or (rollout.by_age(old)[-1] if old else None)
            if target is not None:
                await self._scale(deployment, target, replicas)
        elif newest is not None and rollout.replicas(newest) == replicas == rollout.available(newest):
            for rs in old:
                if rollout.replicas(rs) > 0:
                    await self._scale(deployment, rs, 0)
        elif rollout.rolling(deployment):
            sizes = rollout.proportional(deployment, active)
            for rs in active:
                await self._scale(deployment, rs, sizes[meta.name(rs)])

    async def _clean_up_history(self, deployment: Object, old: list[Object]) -> None:
        """Delete the oldest ReplicaSets beyond revisionHistoryLimit."""
        limit = deployment["spec"].get("revisionHistoryLimit")
        if limit is None:
            return
        alive = [rs for rs in old if not meta.deleting(rs)]
        surplus = len(alive) - limit
        for rs in sorted(alive, key=revisions.revision)[: max(surplus, 0)]:
            status = rs.get("status") or {}
            behind = meta.metadata(rs).get("generation", 0) > status.get("observedGeneration", 0)
            if status.get("replicas") or rollout.replicas(rs) or behind:
                continue
            await self.client.delete(REPLICA_SETS, meta.name(rs), namespace=meta.namespace(rs), uid=meta.uid(rs), propagation="Background")

    async def _roll_back(self, deployment: Object, sets: list[Object]) -> None:
        """Roll back to the revision in the rollback annotation, and remove the annotation."""
        _, deployment = await self._newest(deployment, sets, create=True)
        about = {**deployment["metadata"], "annotations": dict(meta.annotations(deployment))}
        asked = revisions.rollback_to(about["annotations"].pop(revisions.ROLLBACK), self.owned_by(deployment))
        found = next((rs for rs in self.owned_by(deployment) if revisions.revision(rs) == asked), None)
        changed, kind = {**deployment, "metadata": about}, WARNING
        if found is None:
            reason = "RollbackRevisionNotFound"
            text = "Unable to find the revision to rollback to." if asked else "Unable to find last revision."
        elif revisions.newest(deployment, [found]) is not None:
            reason = "RollbackTemplateUnchanged"
            text = f'The rollback revision contains the same template as current deployment "{meta.name(deployment)}"'
        else:
            reason, kind = "Rollback", NORMAL
            text = f'Rolled back deployment "{meta.name(deployment)}" to revision {asked}'
            changed = revisions.rolled_back(changed, found)
        await self.client.update(DEPLOYMENTS, changed)
        self.recorder.event(deployment, kind, f"Deployment{reason}", text)

    async def _record_pause(self, deployment: Object) -> Object:
        """Pausing suspends the progress deadline; record it in the Progressing condition."""
        if not progress.has_deadline(deployment):
            return deployment
        reason = (meta.condition(deployment, "Progressing") or {}).get("reason")
        paused = bool(deployment["spec"].get("paused"))
        if reason == "ProgressDeadlineExceeded" or paused == (reason == "DeploymentPaused"):
            return deployment
        word = ("DeploymentPaused", "Deployment is paused") if paused else ("DeploymentResumed", "Deployment is resumed")
        return await self.update_status(deployment, progress.with_progress(deployment, "Unknown", *word))
