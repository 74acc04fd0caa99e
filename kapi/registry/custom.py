"""Kinds made of a CustomResourceDefinition: their strategy, printer columns, selectable fields and conversion of old objects.

A version costs little until it is used: its schema is read from the definition's entry when first needed. Whether a definition is
served at all is decided by kapi.apiserver.crd_controller. Source: apiextensions-apiserver's customresource strategy and handler (v1.36).
"""

import hashlib
import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any

import orjson

from kapi import limits
from kapi.objects import causes, duration, jsonpath, names
from kapi.objects.errors import Cause, StatusError
from kapi.objects.meta import Object
from kapi.objects.quoting import go_quote
from kapi.objects.resource import Resource
from kapi.registry import embedded, scale
from kapi.registry.catalogue import version_rank
from kapi.registry.kind import Kind, stored_version
from kapi.registry.metadata import STANDARD_FINALIZERS
from kapi.registry.strategy import AGE_COLUMN, NAME_COLUMN, Column, Strategy
from kapi.schema import rules, uniqueness
from kapi.schema.structural import EMBEDDED, Structural, parts
from kapi.schema.values import ABSENT, NOWHERE, Validator
from kapi.storage.entry import HEAD, Entry

VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
ENDING_VERBS = ("delete", "deletecollection", "get", "list", "watch")
"""The verbs in discovery of a kind whose definition is being deleted."""
SUB_VERBS = ("get", "patch", "update")
BLOCKING = frozenset({"FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"})
"""Errors after which expressions are not evaluated."""
UNCHECKED = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"
MOST_REPLICAS = 2**31 - 1
_VERSIONED = HEAD + b'"resourceVersion":"'


class Life:
    """Of one definition, whatever becomes of its spec."""

    ending = False
    """Whether it is being deleted."""


class Source:
    """Where the schemas of a definition's versions are read from: the newest entry with this spec."""

    def __init__(self, entry: Entry, life: Life) -> None:
        self.entry, self.life = entry, life
        self.kinds: dict[str, Kind] = {}
        """All versions of the definition, served or not."""
        self.stored = ""
        """The version that is written to the store."""
        self.converter: object | None = None
        """The webhook that converts between the versions, where there is one (kapi.registry.conversion)."""
        self._schemas: dict[str, Structural] = {}

    def openapi(self, version: str) -> Object:
        found = next(v for v in self.entry.obj["spec"]["versions"] if v["name"] == version)
        schema: Object = found["schema"]["openAPIV3Schema"]
        return schema

    def schema(self, version: str) -> Structural:
        """The schema of a version; of versions with equal ones the same object."""
        if version not in self._schemas:
            openapi = self.openapi(version)
            same = (known for known in self._schemas.values() if known.openapi == openapi)
            self._schemas[version] = next(same, None) or Structural(openapi, root=True)
        return self._schemas[version]


class _Ratcheted(threading.local):
    """Ratcheted errors (of unchanged values) of a thread's last validation; `warnings`, which is called next, returns them."""

    def __init__(self) -> None:
        self.texts: list[str] = []


class CustomStrategy(Strategy):
    """One version of a custom resource."""

    loose_finalizers = True
    unconditional_update = False

    def __init__(self, resource: Resource, version: Object, source: Source) -> None:
        self.resource, self.source = resource, source
        subresources = version.get("subresources") or {}
        self.status = subresources.get("status") is not None
        self.scale = _paths(subresources.get("scale"))
        self.columns = _columns(version.get("additionalPrinterColumns"))
        self.paths = [column["jsonPath"] for column in version.get("additionalPrinterColumns") or ()]
        self.selects_namespace = resource.namespaced
        self.fields = {path["jsonPath"].removeprefix("."): _getter(path["jsonPath"]) for path in version.get("selectableFields") or ()}
        self.since = 0
        """Objects of this revision and older were written under another schema, and are read again by this one.

        Where a webhook converts, kapi.registry.conversion does that too.
        """
        self._ratcheted = _Ratcheted()

    @property
    def long(self) -> bool:  # type: ignore[override]
        """Rules may need the more the longer an object is, and have to be compiled first."""
        if "_features" not in self.__dict__:
            return True
        expressions = self._features[2]
        return expressions is not None and expressions.max_cost > limits.OFFLOAD_COST

    def openapi(self) -> Object:
        return self.source.openapi(self.resource.version)

    @cached_property
    def schema(self) -> Structural:
        return self.source.schema(self.resource.version)

    @cached_property
    def _validator(self) -> Validator:
        return Validator(self.schema.openapi)

    @cached_property
    def _status_validator(self) -> Validator:
        return Validator((self.schema.openapi.get("properties") or {}).get("status") or {})

    @cached_property
    def _features(self) -> tuple[bool, bool, rules.Rules | None]:
        """What the schema needs: (unique items, embedded objects, CEL rules)."""
        openapi = self.schema.openapi
        return uniqueness.needed(openapi), any(part.get(EMBEDDED) for part in parts(openapi)), rules.of(openapi)

    # writing ------------------------------------------------------------------------------------------------------------------------

    def prepare(self, new: Object, old: Object | None) -> None:
        """Set the defaults of a status that the pipeline has reset."""
        self.schema.fill(new)

    def prepare_status(self, new: Object, old: Object) -> None:
        """Only status and its managedFields change there."""
        self.schema.fill(new)
        owned = new["metadata"].get("managedFields")
        new["metadata"] = {key: value for key, value in old["metadata"].items() if key != "managedFields"}
        if owned:
            new["metadata"]["managedFields"] = owned

    def changed(self, new: Object, old: Object) -> bool:
        left_out = ("metadata", "status") if self.status else ("metadata",)
        return any(new.get(key) != old.get(key) for key in {*new, *old} if key not in left_out)

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        if wrong := self._header(new):
            return wrong
        out = self._validator.validate(new, ABSENT if old is None else old)
        out += self._scale_causes(new, ("replicas", "status"))
        return self._validated(out, new, old)

    def validate_status(self, new: Object, old: Object) -> list[Cause]:
        if wrong := self._header(new):
            return wrong
        out: list[Cause] = []
        if "status" in new:
            found = self._status_validator.validate(new["status"], old.get("status", ABSENT))
            out = [cause._replace(field=f"status.{cause.field}" if cause.field != NOWHERE else "status") for cause in found]
        return self._validated(out + self._scale_causes(new, ("status",)), new, old)

    def _validated(self, out: list[Cause], new: Object, old: Object | None) -> list[Cause]:
        """The causes so far, and those of embedded objects, of lists with unique items, and of expressions."""
        openapi = self.schema.openapi
        unique, embeds, expressions = self._features
        if embeds:
            out += embedded.validate(openapi, new)
        if unique and (found := uniqueness.validate(openapi, new)) and (old is None or not uniqueness.validate(openapi, old)):
            out += found
        if expressions is not None:
            blocked = any(cause.reason in BLOCKING for cause in out)
            warnings = self._ratcheted.texts = []
            out += [causes.invalid(NOWHERE, None, UNCHECKED)] if blocked else expressions.validate(new, old, warnings)
        return out

    def _header(self, new: Object) -> list[Cause]:
        wanted = (("kind", self.resource.kind), ("apiVersion", self.resource.api_version))
        return [causes.invalid(key, new.get(key) or "", f"must be {text}") for key, text in wanted if new.get(key) != text]

    def _scale_causes(self, obj: Object, which: tuple[str, ...]) -> list[Cause]:
        """Replicas must be counts, the selector a text."""
        if self.scale is scale.WORKLOAD:
            return []
        out: list[Cause] = []
        for path in (getattr(self.scale, name) for name in which):
            value, why = scale.integer(obj, path)
            if not why and not 0 <= value <= MOST_REPLICAS:
                why = "should be a non-negative integer" if value < 0 else f"should be less than or equal to {MOST_REPLICAS}"
            if why:
                out.append(causes.invalid("." + ".".join(path), value, why))
        if self.scale.selector and (why := scale.text(obj, self.scale.selector)[1]):
            out.append(causes.invalid("." + ".".join(self.scale.selector), "", why))
        return out

    def warnings(self, new: Object, old: Object | None) -> list[str]:
        warnings, self._ratcheted.texts = self._ratcheted.texts, []
        known = set((old or {"metadata": {}})["metadata"].get("finalizers") or ())
        added = sorted(set(new["metadata"].get("finalizers") or ()) - known)
        return warnings + [text for name in added for text in _finalizer_warnings(name)]

    # reading ------------------------------------------------------------------------------------------------------------------------

    def is_served_form(self, stored: bytes) -> bool:
        """Whether a stored body is what this version serves, but for the version's name."""
        was = stored_version(stored)
        if was != self.resource.api_version and not self._looks_like(was):
            return False
        if self.converter or not self.since or not stored.startswith(_VERSIONED):
            return True
        start = len(_VERSIONED)
        return int(stored[start : stored.index(b'"', start)]) > self.since

    @property
    def converter(self) -> object | None:  # type: ignore[override]
        return self.source.converter

    @property
    def ending(self) -> bool:  # type: ignore[override]
        return self.source.life.ending

    def sibling(self, version: str) -> Kind:
        """Another version of the definition. Raises StatusError where it has none of that name."""
        found = self.source.kinds.get(version)
        if found is None:
            raise StatusError(f"request to convert CR from an invalid group/version: {self.resource.group}/{version}", reason="")
        return found

    def _looks_like(self, api_version: str) -> bool:
        """Whether objects of another version differ from this one's in nothing but its name."""
        other = api_version.rpartition("/")[2]
        return not self.converter and other in self.source.kinds and self.source.schema(other) is self.schema

    def to_storage(self, obj: Object, version: str) -> Object:
        stored = self.source.stored
        if stored == self.resource.version:
            return obj
        schema = self.source.schema(stored)
        named = {**obj, "apiVersion": f"{self.resource.group}/{stored}"}
        out: Object = named if schema is self.schema else schema.read(named, [])
        return out

    def from_storage(self, obj: Object, version: str) -> Object:
        was = obj["apiVersion"].rpartition("/")[2]
        self.sibling(was)
        schema, revision = self.source.schema(was), obj["metadata"].get("resourceVersion")
        if self.converter:
            assert was == self.resource.version, "kapi.registry.conversion comes first"
            return obj
        if self.since and revision and int(revision) <= self.since:
            obj = schema.read(obj, [])
        if was == self.resource.version:
            return obj
        named = {**obj, "apiVersion": self.resource.api_version}
        out: Object = named if schema is self.schema else self.schema.prune(named)
        return out

    def pruned(self, obj: Object) -> Object:
        out: Object = self.schema.prune(obj)
        return out

    # tables -------------------------------------------------------------------------------------------------------------------------

    def row(self, obj: Object, now: float) -> list[Any]:
        cells: list[Any] = [obj["metadata"].get("name", "")]
        if not self.paths:
            return [*cells, duration.since(obj["metadata"].get("creationTimestamp"), now)]
        for path, column in zip(self.paths, self.columns[1:], strict=True):
            found = jsonpath.find(path, obj)
            cells.append(_cell(column.type, found[0], now) if found else None)
        return cells


def _finalizer_warnings(name: str) -> list[str]:
    out = [f"metadata.finalizers: {go_quote(name)}: {message}" for message in names.qualified_name(name)]
    if "/" not in name and name not in STANDARD_FINALIZERS:
        text = "prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts with other finalizer writers"
        out.append(f"metadata.finalizers: {go_quote(name)}: {text}")
    return out


# columns and fields -----------------------------------------------------------------------------------------------------------------


def _columns(given: list[Object] | None) -> tuple[Column, ...]:
    if not given:
        return (NAME_COLUMN, AGE_COLUMN._replace(type="date"))
    return (NAME_COLUMN, *map(_column, given))


def _column(given: Object) -> Column:
    description = given.get("description") or f"Custom resource definition column (in JSONPath format): {given['jsonPath']}"
    return Column(given["name"], given["type"], description, given.get("priority", 0), given.get("format", ""))


def _cell(kind: str, value: Any, now: float) -> Any:
    """A value as a cell of a column of this type; None for what is of another type."""
    if kind == "string":
        return _printed(value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "integer":
        return int(value) if number else None
    if kind == "number":
        return value if number else None
    if kind == "boolean":
        return value if isinstance(value, bool) else None
    if kind == "date" and isinstance(value, str):
        try:
            return duration.since(value, now)
        except ValueError:
            return "<invalid>"
    return None


def _printed(value: Any) -> str:
    """A value as Go prints it in a template."""
    if isinstance(value, str):
        return value
    if value is None:
        return "<no value>"
    return orjson.dumps(value).decode()


def _getter(path: str) -> Callable[[Object], str]:
    def get(obj: Object) -> str:
        found = jsonpath.find(path, obj)
        value = found[0] if found else ""
        return value if isinstance(value, str) else orjson.dumps(value).decode()

    return get


def _paths(given: Object | None) -> scale.Paths:
    if given is None:
        return scale.WORKLOAD
    replicas, status, selector = (tuple((given.get(name) or "").removeprefix(".").split("."))
                                  for name in ("specReplicasPath", "statusReplicasPath", "labelSelectorPath"))  # fmt: skip
    return scale.Paths(replicas, status, selector if given.get("labelSelectorPath") else ())


# kinds ------------------------------------------------------------------------------------------------------------------------------


def kinds_of(definition: Object, source: Source) -> dict[str, Kind]:
    """The Kinds of all versions, served or not, by the names that were accepted."""
    spec, named = definition["spec"], definition["status"]["acceptedNames"]
    source.stored = next(version["name"] for version in spec["versions"] if version.get("storage"))
    unmarked = (definition["status"].get("storedVersions") or [source.stored])[0]
    source.kinds = {version["name"]: _kind(spec, named, version, source, unmarked) for version in spec["versions"]}
    every = {name: get for kind in source.kinds.values() for name, get in kind.strategy.fields.items()}
    if source.converter:  # a field of another version is in no stored object
        every = dict(source.kinds[source.stored].strategy.fields)
    for kind in source.kinds.values():
        kind.strategy.indexed = every
    return source.kinds


def _kind(spec: Object, named: Object, version: Object, source: Source, unmarked: str) -> Kind:
    group, plural = spec["group"], named["plural"]
    resource = Resource(group, version["name"], plural, named["kind"], spec["scope"] == "Namespaced")
    strategy = CustomStrategy(resource, version, source)
    if version.get("deprecated"):
        strategy.deprecated = version.get("deprecationWarning") or _deprecation(spec, version["name"], named["kind"])
    subresources = version.get("subresources") or {}
    return Kind(
        resource=resource, schema_of=lambda: strategy.schema, strategy=strategy, singular=named.get("singular") or named["kind"].lower(),
        verbs=VERBS, discovered=VERBS, short_names=tuple(named.get("shortNames") or ()),
        categories=tuple(named.get("categories") or ()), list_kind=named.get("listKind") or named["kind"] + "List",
        subresources={name: SUB_VERBS for name in ("status", "scale") if subresources.get(name) is not None},
        storage=(group, plural), stored=f"{group}/{source.stored}", custom=True, unmarked=f"{group}/{unmarked}",
        sign=hashlib.sha256(orjson.dumps(version)).hexdigest(),
    )  # fmt: skip


def _deprecation(spec: Object, name: str, kind: str) -> str:
    """The warning of a deprecated version: the newest one that is better, if any."""
    better = [
        version["name"] for version in spec["versions"]
        if version.get("served") and not version.get("deprecated") and version_rank(version["name"]) < version_rank(name)
    ]  # fmt: skip
    text = f"{spec['group']}/{name} {kind} is deprecated"
    return f"{text}; use {spec['group']}/{min(better, key=version_rank)} {kind}" if better else text

