"""OpenAPI 2 documents of other API servers, merged into ours: one that means another thing by a name gets that name with _v2, _v3 … behind.

Source: kube-openapi's MergeSpecsIgnorePathConflictRenamingDefinitionsAndParameters.
"""

from collections.abc import Callable, Iterable, Iterator

import orjson

from kapi.documents import remote
from kapi.documents.building import Entry
from kapi.objects.meta import Object
from kapi.registry.catalogue import Catalogue, Remote

_KINDS = "x-kubernetes-group-version-kind"
Own = Callable[[str], Object | None]


class Merger:
    """What others add to the document; `own` finds a definition of ours by its name."""

    def __init__(self, catalogue: Catalogue, own: Own) -> None:
        listed = ((group, version) for group, versions in catalogue.groups().items() for version in versions)
        self._parts = [catalogue.remotes[pair] for pair in listed if pair in catalogue.remotes and catalogue.remotes[pair].paths]
        self._own = own
        self._added: dict[str, bytes] = {}
        """Definitions of others by the names they have here."""
        self._kinds: dict[str, list[Object]] = {}
        """What others say of definitions of ours: which further kinds they are."""
        self._names = [self._take(part) for part in self._parts]

    def _take(self, part: Remote) -> dict[str, str]:
        """Add the definitions of a part; those that get other names."""
        names = {}
        for name, raw in part.definitions.items():
            free = self._free(name, orjson.loads(raw), part)
            if free != name:
                names[name] = free
        for name, raw in part.definitions.items():
            new = names.get(name, name)
            if self._own(new) is not None:
                self._kinds.setdefault(new, []).extend(_kinds(orjson.loads(raw)))
            elif new not in self._added:
                self._added[new] = remote.encoded(remote.renamed(orjson.loads(raw), names)) if names else raw
        return names

    def _free(self, name: str, meant: Object, part: Remote) -> str:
        """The name a definition gets: that of an equal one, or one that nobody else has."""
        new, number = name, 1
        while (other := self._known(new)) is not None and not _alike(other, meant):
            number += 1
            new = f"{name}_v{number}"
            while new in part.definitions:
                number += 1
                new = f"{name}_v{number}"
        return new

    def _known(self, name: str) -> Object | None:
        own = self._own(name)
        if own is None and name in self._added:
            own = orjson.loads(self._added[name])
        return own

    def paths(self, there: set[str]) -> Iterator[Entry]:
        """Path items of others, but those whose paths are `there`."""
        for part, names in zip(self._parts, self._names, strict=True):
            for path, raw in part.paths.items():
                if path not in there:
                    there.add(path)
                    yield Entry(("paths",), path, remote.renamed(orjson.loads(raw), names))

    def definitions(self, ours: Iterable[tuple[str, Object]]) -> Iterator[tuple[str, Object]]:
        """Ours, then those of others that are not among them."""
        written = set()
        for name, own in ours:
            written.add(name)
            yield name, _with_kinds(own, self._kinds.get(name, []))
        for name in self._kinds.keys() - written:  # one that nothing of ours refers to
            yield name, _with_kinds(self._own(name) or {}, self._kinds[name])
        for name, raw in self._added.items():
            yield name, orjson.loads(raw)


def _kinds(definition: Object) -> list[Object]:
    found = definition.get(_KINDS)
    return found if isinstance(found, list) else []


def _with_kinds(own: Object, more: list[Object]) -> Object:
    there = _kinds(own)
    missing = [kind for at, kind in enumerate(more) if kind not in there and kind not in more[:at]]
    return {**own, _KINDS: [*there, *missing]} if missing else own


def _alike(one: Object, other: Object) -> bool:
    """Whether two definitions are equal but for the kinds they are."""
    return {key: value for key, value in one.items() if key != _KINDS} == {key: value for key, value in other.items() if key != _KINDS}
