"""Settings of the scheduler."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kapi.settings import NO_OPTION
from kapi.settings.types import Address, Count, OptionalPort, Percentage


@dataclass(frozen=True)
class ProfileSettings:
    """One scheduler name and what differs from the default plugins for it."""

    name: str = "default-scheduler"
    """Pods with this spec.schedulerName are placed by this profile."""
    disabled: frozenset[str] = frozenset()
    """Plugins left out, by name."""
    weights: Mapping[str, int] = field(default_factory=dict)
    """Score weights that differ from the default, by plugin name."""


@dataclass(frozen=True)
class Settings:
    profiles: tuple[ProfileSettings, ...] = field(default=(ProfileSettings(),), metadata=NO_OPTION)
    """The profiles this scheduler serves."""
    percentage_of_nodes_to_score: Percentage = 0
    """How many feasible nodes are enough, in percent of all; 0 adapts to the size of the cluster."""
    bindings: Count = 16
    """How many bindings may be under way at once."""
    secure_port: OptionalPort = 10259
    """Port of /healthz, /livez, /readyz and /metrics, where there is a certificate to serve with; 0 for none."""
    bind_address: Address = "127.0.0.1"
    """Address of that port."""
    leader_elect: bool = False
    """Whether several schedulers share the work by a lease, one leading at a time."""
    identity: str = ""
    """Who this process is in the lease; empty: the host's name and something of its own."""
