"""TaintNodesByCondition: a new node starts with the taint not-ready."""

from kapi.admission.plugin import CREATE, Plugin
from kapi.registry.admission import AdmissionAttributes

NOT_READY = "node.kubernetes.io/not-ready"


class TaintNodesByCondition(Plugin):
    """A new node takes no pods until it reports that it is ready."""

    name = "TaintNodesByCondition"
    handled = {CREATE: ("nodes",)}

    def mutate(self, attrs: AdmissionAttributes) -> None:
        node = attrs.new or {}
        taints = (node.get("spec") or {}).get("taints") or []
        if not any(t.get("key") == NOT_READY and t.get("effect") == "NoSchedule" for t in taints):
            node["spec"] = {**(node.get("spec") or {}), "taints": [*taints, {"key": NOT_READY, "effect": "NoSchedule"}]}
