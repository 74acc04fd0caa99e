"""DeviceTaintRule (resource.k8s.io)."""


from kapi.objects import names
from kapi.objects.meta import Object
from kapi.registry.kinds.resource import slices
from kapi.registry.validation.part import Part, RuledStrategy


class DeviceTaintRuleStrategy(RuledStrategy):
    """resource.k8s.io DeviceTaintRule."""

    returns_deleted = True

    def check(self, new: Part, old: Object | None) -> None:
        selector = new.part("spec").part("deviceSelector")
        for field, check in (("driver", names.dns_subdomain), ("pool", names.dns_subdomain), ("device", names.dns_label)):
            if field in selector:
                selector.checked(field, check)
        slices.taint(new.part("spec").part("taint"))
