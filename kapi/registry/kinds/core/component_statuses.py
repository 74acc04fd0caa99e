"""ComponentStatus: a kind that is only read, made for each request (kapi.api.components), and deprecated since v1.19."""

from typing import Any

from kapi.objects.meta import Object
from kapi.registry.strategy import Strategy
from kapi.registry.validation import rules


class ComponentStatusStrategy(Strategy):
    """core/v1 ComponentStatus."""

    deprecated = "v1 ComponentStatus is deprecated in v1.19+"
    status = False
    generation = False
    columns = rules.columns(
        "Name", "Status: Status of the component conditions", "Message: Message of the component conditions",
        "Error: Error of the component conditions",
    )  # fmt: skip

    def row(self, obj: Object, now: float) -> list[Any]:
        healthy: Object = next((c for c in obj.get("conditions") or () if c.get("type") == "Healthy"), {})
        known = "Unknown" if not healthy else "Healthy" if healthy.get("status") == "True" else "Unhealthy"
        return [obj["metadata"]["name"], known, healthy.get("message") or "", healthy.get("error") or ""]
