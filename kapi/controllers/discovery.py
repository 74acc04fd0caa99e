"""Discovery of the served resources: two requests of aggregated discovery, each resource once, at its preferred version."""

from dataclasses import dataclass

from kapi.client import Client
from kapi.objects.meta import Object
from kapi.objects.resource import Resource

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


@dataclass(frozen=True)
class Served:
    """A resource, its verbs, and whether its group's server responded."""

    resource: Resource
    verbs: frozenset[str]


@dataclass(frozen=True)
class Discovery:
    served: tuple[Served, ...]
    failed: tuple[str, ...]
    """Group versions whose server did not respond, e.g. "metrics.k8s.io/v1beta1"."""

    def able(self, *verbs: str) -> list[Resource]:
        return [s.resource for s in self.served if s.verbs.issuperset(verbs)]


async def discover(client: Client) -> Discovery:
    """Raises StatusError, OSError."""
    found: dict[tuple[str, str], Served] = {}
    failed: list[str] = []
    for path in ("/api", "/apis"):
        response = await client.send("GET", path, accept=AGGREGATED)
        for group in response.get("items") or ():
            name = group["metadata"].get("name", "")
            for version in group.get("versions") or ():
                if version.get("freshness") == "Stale":
                    failed.append(f"{name}/{version['version']}")
                for entry in version.get("resources") or ():
                    found.setdefault((name, entry["resource"]), _served(name, version["version"], entry))
    return Discovery(tuple(found.values()), tuple(failed))


def _served(group: str, version: str, entry: Object) -> Served:
    kind = (entry.get("responseKind") or {}).get("kind", "")
    resource = Resource(group, version, entry["resource"], kind, entry.get("scope") == "Namespaced")
    return Served(resource, frozenset(entry.get("verbs") or ()))
