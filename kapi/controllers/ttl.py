"""TTL after finished: deletes finished Jobs when ttlSecondsAfterFinished has passed."""


from kapi.client import Controller
from kapi.controllers import job_rules
from kapi.objects import meta, time
from kapi.objects.meta import Object
from kapi.objects.resource import JOBS


class TimeToLive(Controller):
    name = "ttl-after-finished-controller"

    def setup(self) -> None:
        self.objects = self.watch(JOBS, lambda job: [meta.key(job)] if self._finished_with_ttl(job) else [])

    def _finished_with_ttl(self, job: Object) -> bool:
        return job["spec"].get("ttlSecondsAfterFinished") is not None and job_rules.finished(job) and not meta.deleting(job)

    async def sync(self, job: Object) -> float | None:
        if not self._finished_with_ttl(job):
            return None
        ended = max(time.parse(c.get("lastTransitionTime")) for c in job["status"]["conditions"] if c["type"] in ("Complete", "Failed"))
        left = ended + float(job["spec"]["ttlSecondsAfterFinished"]) - time.now()
        if left <= 0:
            await self.delete_object(JOBS, job, propagation="Foreground")
        return left if left > 0 else None
