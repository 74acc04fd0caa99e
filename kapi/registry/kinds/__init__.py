"""The list of strategies: one line for every built-in resource that differs from the plain Strategy."""

from kapi.registry.kinds.service import ServiceStrategy
from kapi.registry.strategy import Strategy

STRATEGIES: dict[tuple[str, str], type[Strategy]] = {
    # (group, plural): strategy
    ("", "services"): ServiceStrategy,
}
