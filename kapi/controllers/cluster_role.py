"""ClusterRole aggregation: fills in the rules of ClusterRoles with an aggregationRule."""

from collections.abc import Iterable

from kapi.client import Controller
from kapi.objects import labels, meta
from kapi.objects.meta import Object
from kapi.objects.resource import CLUSTER_ROLES


class ClusterRoleAggregation(Controller):
    name = "clusterrole-aggregation-controller"

    def setup(self) -> None:
        self.objects = self.watch(CLUSTER_ROLES, self._affected)

    def _affected(self, role: Object) -> Iterable[str]:
        """The role's own key, and those of the roles that aggregate it."""
        for other in self.objects:
            rule = other.get("aggregationRule")
            if rule and (other is role or self._takes(rule, role)):
                yield meta.name(other)
        if role.get("aggregationRule"):
            yield meta.name(role)

    def _takes(self, rule: Object, role: Object) -> bool:
        return any(labels.from_object(s).matches(meta.labels(role)) for s in rule.get("clusterRoleSelectors") or ())

    async def sync(self, role: Object) -> float | None:
        if not role.get("aggregationRule"):
            return None
        key = meta.key(role)
        rules: list[Object] = []
        for other in sorted(self.objects, key=meta.name):
            if meta.name(other) != key and self._takes(role["aggregationRule"], other):
                rules += [r for r in other.get("rules") or () if r not in rules]
        if rules != (role.get("rules") or []):
            wanted = {"apiVersion": role["apiVersion"], "kind": role["kind"], "metadata": {"name": key}, "rules": rules}
            await self.client.patch(CLUSTER_ROLES, key, wanted, kind="apply", fieldManager=self.name, force=True)
        return None
