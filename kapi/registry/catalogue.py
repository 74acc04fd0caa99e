"""Everything that is served: the Kinds by group, version and plural, in stock's order of preference.

The built-in ones come from openapi's tables and the list of strategies; CustomResourceDefinitions add and remove theirs at
run time. APIServices tell which group versions are served by others, and in which order all are told of (`register`). What depends on
the whole (discovery, OpenAPI) keeps its work in `kept`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from kapi.objects.resource import Resource, split_api_version
from kapi.registry import runtime_config
from kapi.registry.kind import Kind
from kapi.registry.kinds import STRATEGIES
from kapi.registry.strategy import Strategy
from kapi.registry.validation.part import PlainStrategy
from kapi.schema import builtin
from openapi import tables

GroupVersionKind = tuple[str, str, str]

SUBRESOURCE_KINDS: dict[str, GroupVersionKind] = {
    "scale": ("autoscaling", "v1", "Scale"),
    "eviction": ("policy", "v1", "Eviction"),
    "token": ("authentication.k8s.io", "v1", "TokenRequest"),
    "binding": ("", "", "Binding"),
    "attach": ("", "", "PodAttachOptions"),
    "exec": ("", "", "PodExecOptions"),
    "portforward": ("", "", "PodPortForwardOptions"),
}
"""(group, version, kind) of a subresource's objects where it is not its parent's; group and version "" mean the parent's own."""


FIRST_GROUP = "apiregistration.k8s.io"
"""The group that stands before all others, whatever their priorities."""
GroupVersion = tuple[str, str]


class Priority(NamedTuple):
    """Where an APIService puts its group version: the higher comes first."""

    group: int
    version: int


CUSTOM = Priority(1000, 100)
"""The priority of the group versions of CustomResourceDefinitions."""


class Remote(NamedTuple):
    """What is known of a group version that another server serves."""

    resources: bytes = b"[]"
    """What its discovery says of its resources, in JSON: APIResourceDiscovery objects of apidiscovery.k8s.io/v2."""
    stale: bool = True
    """Whether the server could not be asked."""
    documents: tuple[tuple[str, str], ...] = ()
    """(name, URL) of its documents in the index of OpenAPI 3, e.g. ("apis/example.com/v1", "/openapi/v3/apis/example.com/v1?hash=…")."""
    paths: Mapping[str, bytes] = {}
    definitions: Mapping[str, bytes] = {}
    """Its part of the OpenAPI 2 document: path items and definitions in JSON by their names."""
    digest: str = ""
    """A hash of that part."""

    @property
    def size(self) -> int:
        """Bytes it takes."""
        parts = (len(name) + len(raw) for section in (self.paths, self.definitions) for name, raw in section.items())
        return len(self.resources) + sum(parts) + sum(len(name) + len(url) for name, url in self.documents)


class Catalogue:
    """A dict of Kinds that knows the order of groups and versions."""

    def __init__(self, kinds: Iterable[Kind] = ()) -> None:
        self.generation = 0
        """Goes up with every change."""
        self.kept: dict[Any, Any] = {}
        """Results that others computed of the whole catalogue; cleared with every change."""
        self._kinds: dict[tuple[str, str, str], Kind] = {}
        self._by_kind: dict[tuple[str, str], Kind] = {}
        self.remotes: Mapping[GroupVersion, Remote] = {}
        """What other servers serve."""
        self._priorities: Mapping[GroupVersion, Priority] = {}
        self._fixed: list[GroupVersion] = []
        for kind in kinds:
            self.add(kind)
            if (pair := (kind.resource.group, kind.resource.version)) not in self._fixed:
                self._fixed.append(pair)

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._kinds.values())

    def get(self, group: str, version: str, plural: str) -> Kind | None:
        return self._kinds.get((group, version, plural))

    def by_kind(self, api_version: str, kind: str) -> Kind | None:
        """The Kind of an object: by_kind("apps/v1", "Deployment")."""
        return self._by_kind.get((api_version, kind))

    def add(self, kind: Kind) -> None:
        """Serve a kind, in place of one of the same group, version and plural."""
        resource = kind.resource
        self._kinds[resource.group, resource.version, resource.plural] = kind
        self._by_kind[resource.api_version, resource.kind] = kind
        self._changed()

    def remove(self, group: str, version: str, plural: str) -> None:
        """Serve it no longer; nothing happens when it was not."""
        if kind := self._kinds.pop((group, version, plural), None):
            self._by_kind.pop((kind.resource.api_version, kind.resource.kind), None)
            self._changed()

    def register(self, priorities: Mapping[GroupVersion, Priority], remotes: Mapping[GroupVersion, Remote]) -> None:
        """Take what the APIServices say: the order of all group versions, and what others serve."""
        if (priorities, remotes) != (self._priorities, self.remotes):
            self._priorities, self.remotes = dict(priorities), dict(remotes)
            self._changed()

    def _changed(self) -> None:
        self.generation += 1
        self.kept.clear()

    def copy(self) -> "Catalogue":
        """A snapshot, for readers in worker threads."""
        out = Catalogue()
        out.generation, out._kinds, out._by_kind, out._fixed = self.generation, dict(self._kinds), dict(self._by_kind), self._fixed
        out._priorities, out.remotes = self._priorities, self.remotes
        return out

    def groups(self) -> dict[str, list[str]]:
        """Groups with their versions, the preferred first, also those that others serve: by the priorities of their APIServices.

        Without these the built-in ones are in stock's order, then the others by name.
        """
        if "groups" not in self.kept:
            self.kept["groups"] = self._groups()
        out: dict[str, list[str]] = self.kept["groups"]
        return out

    def _groups(self) -> dict[str, list[str]]:
        served = {(group, version) for group, version, _ in self._kinds}
        known = [pair for pair in self._fixed if pair in served]
        known += sorted((served | self.remotes.keys()) - set(known), key=lambda pair: (pair[0], version_rank(pair[1])))
        if self._priorities:
            known = self._by_priority(known)
        out: dict[str, list[str]] = {}
        for group, version in known:
            out.setdefault(group, []).append(version)
        return out

    def _by_priority(self, known: list[GroupVersion]) -> list[GroupVersion]:
        """Sorted as stock does it: groups by the highest priority one of their versions gives, then by name; versions likewise."""
        highest: dict[str, int] = {}
        for pair in known:
            highest[pair[0]] = max(highest.get(pair[0], 0), self._priorities.get(pair, CUSTOM).group)

        def place(pair: GroupVersion) -> tuple[Any, ...]:
            group, version = pair
            return group != FIRST_GROUP, -highest[group], group, -self._priorities.get(pair, CUSTOM).version, version_rank(version)

        return sorted(known, key=place)

    def kinds(self, group: str, version: str) -> list[Kind]:
        """What a group version serves, by plural name."""
        if (sorted_ := self.kept.get("kinds")) is None:
            sorted_ = self.kept["kinds"] = {}
            for kind in sorted(self, key=lambda kind: kind.resource.plural):
                sorted_.setdefault((kind.resource.group, kind.resource.version), []).append(kind)
        found: list[Kind] = sorted_.get((group, version), [])
        return found

    def versions(self, group: str, plural: str) -> list[Kind]:
        """All served versions of a resource, in the order of its group's versions."""
        found = (self.get(group, version, plural) for version in self.groups().get(group, ()))
        return [kind for kind in found if kind is not None]


def version_rank(version: str) -> tuple[int, int, int, str]:
    """Sorts v2, v1, v1beta2, v1beta1, v1alpha1, then anything else by name (the order of CRD versions)."""
    found = re.fullmatch(r"v(\d+)(?:(alpha|beta)(\d+))?", version)
    if not found:
        return (3, 0, 0, version)
    stage = {None: 0, "beta": 1, "alpha": 2}[found[2]]
    return (stage, -int(found[1]), -int(found[3] or 0), "")


def subresource_kind(kind: Kind, subresource: str) -> GroupVersionKind:
    """(group, version, kind) of a subresource's objects; group and version "" mean the parent's own."""
    if subresource == "proxy":
        return ("", "", kind.resource.kind + "ProxyOptions")
    return SUBRESOURCE_KINDS.get(subresource, ("", "", kind.resource.kind))


def _kind(row: Mapping[str, Any], strategies: Mapping[tuple[str, str], type[Strategy]]) -> Kind:
    group, version, plural, kind = (str(row[key]) for key in ("group", "version", "plural", "kind"))
    subs: dict[str, str] = row["subresources"]
    stored = str(row.get("stored", ""))
    plain = Strategy if "status" in subs else PlainStrategy
    return Kind(
        resource=Resource(group, version, plural, kind, bool(row["namespaced"])),
        schema_of=partial(builtin.schema, builtin.named(group, version, kind)),
        strategy=strategies.get((group, plural), plain)(),
        singular=kind.lower(),
        verbs=tuple(str(row["verbs"]).split()),
        short_names=tuple(row["short"]),
        categories=tuple(row["categories"]),
        subresources={name: tuple(verbs.split()) for name, verbs in subs.items()},
        storage=(split_api_version(stored)[0], plural),
        stored=stored,
    )


def standard(config: Mapping[str, bool] | None = None, strategies: Mapping[tuple[str, str], type[Strategy]] = STRATEGIES) -> Catalogue:
    """The catalogue of v1.36; `config` is --runtime-config, e.g. {"api/alpha": False, "batch/v1": True}."""
    rows = (row for row in tables.resources() if runtime_config.served(row["group"], row["version"], row["plural"], config or {}))
    return Catalogue(_kind(row, strategies) for row in rows)
