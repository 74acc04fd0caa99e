"""RuntimeClass (node.k8s.io)."""

from kapi.objects import names
from kapi.objects.meta import Object
from kapi.registry.kinds.core.pods import container_resources, placement
from kapi.registry.validation import internal, rules
from kapi.registry.validation.part import Part, PlainStrategy


class RuntimeClassStrategy(PlainStrategy):
    """node.k8s.io/v1 RuntimeClass."""

    loose_finalizers = True
    unconditional_update = False
    columns = rules.columns("Name", "Handler@handler", "Age", of="node.v1.RuntimeClass")

    def check(self, new: Part, old: Object | None) -> None:
        if old is not None:
            new.e.immutable("handler", new.text("handler"), old.get("handler") or "")
            return
        new.named("handler", names.dns_label)
        for at, name, value in new.part("overhead").entries("podFixed"):
            container_resources.container_resource_name(new.e, at, name)
            container_resources.amount(new.e, at, name, value)
        scheduling, seen = new.part("scheduling"), list[Object]()
        scheduling.labels("nodeSelector")
        placement.tolerations(scheduling)
        for at, toleration in scheduling.values("tolerations"):
            if toleration in seen:
                new.e.duplicate(at, internal.to_internal("Toleration", toleration))
            seen.append(toleration)
