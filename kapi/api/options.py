"""Query parameters into options: ListOptions, CreateOptions, UpdateOptions, PatchOptions, DeleteOptions, with stock's refusals.

Source of texts: apimachinery's metav1 validation and meta/internalversion validation (v1.36).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from kapi.api import continuing
from kapi.objects import causes, errors, fields, integers, labels, urls
from kapi.objects.caching import kept
from kapi.objects.errors import Cause
from kapi.objects.meta import Object
from kapi.objects.quoting import go_quote
from kapi.registry.kind import Kind
from kapi.storage.store import Entry

_GROUP = "meta.k8s.io"
_VALIDATIONS = ("", "Ignore", "Strict", "Warn")
_MANAGER_LIMIT = 128


class Query(dict[str, str]):
    """The first value of each parameter. Its selectors are read once: ValueError when that cannot be."""

    @cached_property
    def labels(self) -> labels.Selector | None:
        return labels.parse(self["labelSelector"]) if self.get("labelSelector") else None

    @cached_property
    def fields(self) -> fields.Selector | None:
        return fields.parse(self["fieldSelector"]) if self.get("fieldSelector") else None

    def read(self) -> None:
        """Read the selectors now. Raises BadRequest."""
        try:
            self.labels, self.fields  # noqa: B018
        except ValueError as why:
            raise errors.BadRequest(str(why)) from None


@kept(512)
def parse_query(raw: bytes) -> Query:
    """dryRun and the like are never given twice by real clients, which repeat themselves."""
    out = Query()
    for key, value in urls.parameters(raw):
        out.setdefault(key, value)
    return out


_INTEGER, _UNSIGNED = re.compile("[+-]?[0-9]+"), re.compile("[0-9]+")


def _integer(query: Query, name: str) -> int | None:
    text = query.get(name)
    if not text:
        return None
    why = "invalid syntax" if not _INTEGER.fullmatch(text) else "value out of range" if not -(2**63) <= integers.parse(text) < 2**63 else ""
    if why:
        raise errors.BadRequest(f"strconv.ParseInt: parsing {go_quote(text)}: {why}")
    return integers.parse(text)


def truth(query: Query, name: str) -> bool:
    """A boolean parameter; present and neither 'false' nor '0' means true, as in stock."""
    return name in query and query[name].lower() not in ("false", "0")


# writes -----------------------------------------------------------------------------------------------------------------------------


def write_options(query: Query, options: str, *, apply: bool = False, patch: bool = False) -> Object:
    """The checked options of a create, update or patch, e.g. {"dryRun": ["All"], "fieldManager": "kubectl"}."""
    out: Object = {}
    found: list[Cause] = []
    if "force" in query:
        out["force"] = truth(query, "force")
        if patch and not apply:
            found.append(causes.forbidden("force", "may not be specified for non-apply patch"))
    manager = query.get("fieldManager", "")
    if apply and not manager:
        found.append(causes.required("fieldManager", "is required for apply patch"))
    found += _manager_causes(manager)
    if manager:
        out["fieldManager"] = manager
    found += _dry_run(query, out)
    validation = query.get("fieldValidation", "")
    if validation not in _VALIDATIONS:
        found.append(causes.not_supported("fieldValidation", validation, _VALIDATIONS))
    elif validation:
        out["fieldValidation"] = validation
    if found:
        raise errors.invalid(options, _GROUP, "", found)
    return out


def _manager_causes(manager: str) -> list[Cause]:
    if len(manager.encode("utf-8", "replace")) > _MANAGER_LIMIT:
        return [causes.too_long("fieldManager", _MANAGER_LIMIT)]
    return [
        causes.invalid("fieldManager", manager, f"invalid char {go_quote(c)} (at position {i})")
        for i, c in enumerate(manager)
        if not c.isprintable()
    ][:1]


def _dry_run(query: Query, out: Object) -> list[Cause]:
    value = query.get("dryRun")
    if not value:
        return []
    if value != "All":
        return [Cause("FieldValueNotSupported", f'Unsupported value: [{go_quote(value)}]: supported values: "All"', "dryRun")]
    out["dryRun"] = ["All"]
    return []


def delete_options(query: Query, body: Object) -> Object:
    """The checked DeleteOptions: the body's if it has one, else the query's."""
    out = {k: v for k, v in body.items() if k not in ("kind", "apiVersion") and v is not None}
    found: list[Cause] = []
    if not body:
        seconds = _integer(query, "gracePeriodSeconds")
        if seconds is not None:
            out["gracePeriodSeconds"] = seconds
        if "orphanDependents" in query:
            out["orphanDependents"] = truth(query, "orphanDependents")
        if query.get("propagationPolicy"):
            out["propagationPolicy"] = query["propagationPolicy"]
    elif (dry := out.get("dryRun")) and dry != ["All"]:
        found.append(Cause("FieldValueNotSupported", f'Unsupported value: {causes.shown(dry)}: supported values: "All"', "dryRun"))
    if "dryRun" not in out:
        found += _dry_run(query, out)
    policy = out.get("propagationPolicy")
    if out.get("orphanDependents") is not None and policy is not None:
        found.append(causes.invalid("propagationPolicy", policy, "orphanDependents and deletionPropagation cannot be both set"))
    if policy is not None and policy not in ("Foreground", "Background", "Orphan"):
        text = f'Unsupported value: {causes.shown(policy)}: supported values: "Foreground", "Background", "Orphan", "nil"'
        found.append(Cause("FieldValueNotSupported", text, "propagationPolicy"))
    if found:
        raise errors.invalid("DeleteOptions", _GROUP, "", found)
    return out


# lists and watches ------------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class ListOptions:
    """How to list or watch, checked."""

    by_label: labels.Selector | None = None
    by_field: fields.Selector | None = None
    limit: int = 0
    after: str = ""
    """The last key of the page before (from the continue token), without the collection's prefix."""
    at: int = 0
    """List the state at this revision; 0: the newest."""
    version: str = ""
    """resourceVersion as given."""
    watch: bool = False
    bookmarks: bool = False
    initial_events: bool | None = None
    """Whether a watch begins with the existing objects: sendInitialEvents, or (None) as resourceVersion decides."""
    timeout: int | None = None
    where: Callable[[Entry], bool] | None = field(default=None)
    """The selectors as a test of an entry; None where everything matches."""

    @property
    def equals(self) -> Mapping[str, str] | None:
        """Label equalities the store's index can use."""
        return self.by_label.equals if self.by_label is not None else None

    @property
    def name(self) -> str:
        """The one name that a field selector asks for, or ''."""
        return self.by_field.equals.get("metadata.name", "") if self.by_field is not None else ""


def list_options(query: Query, kind: Kind, name: str = "") -> ListOptions:
    """ListOptions of a request on `kind`; `name` is that of a watch on one object."""
    out = ListOptions(watch=truth(query, "watch"))
    if not query and not name:
        return out
    out.limit = max(_integer(query, "limit") or 0, 0)
    out.timeout = _integer(query, "timeoutSeconds")
    out.bookmarks = truth(query, "allowWatchBookmarks")
    out.initial_events = truth(query, "sendInitialEvents") if "sendInitialEvents" in query else None
    out.version = query.get("resourceVersion", "")
    query.read()
    _default(out, query)
    _check_match(out, query)
    _selectors(out, query, kind, name)
    token = query.get("continue")
    if token and not out.watch:
        if out.version not in ("", "0"):
            raise errors.BadRequest("specifying resource version is not allowed when using continue")
        out.at, out.after = continuing.decode(token)
    elif out.version:
        _at_version(out, query.get("resourceVersionMatch"), kind)
    return out


_UNCACHED = "/core/events/"
"""What stock keeps no watch cache of."""


def _at_version(out: ListOptions, match: str | None, kind: Kind) -> None:
    """Which state a version means: a page of an older one without resourceVersionMatch is of just that one, and any will do comes whole."""
    revision = _revision(out.version)
    if match == "Exact" or (not match and out.limit and not out.name):
        out.at = revision
    if out.version == "0" and kind.collection != _UNCACHED:
        out.limit = 0


def _default(out: ListOptions, query: Query) -> None:
    """A watch from nowhere or anywhere begins with what is there, and says where that ends."""
    if out.watch and out.version in ("", "0") and not query.get("resourceVersionMatch") and out.initial_events is None:
        out.initial_events = True


def _selectors(out: ListOptions, query: Query, kind: Kind, name: str) -> None:
    out.by_label, out.by_field = query.labels, query.fields
    names = kind.strategy.selected_as
    known = names or kind.strategy.fields
    if out.by_field is not None:
        for key in (test.field for test in out.by_field.tests):
            if key not in known and key != "metadata.name" and (key != "metadata.namespace" or not kind.strategy.selects_namespace):
                raise errors.BadRequest(unknown_field(kind, key))
        out.by_field = out.by_field.renamed(names) if names else out.by_field
    out.where = _where(out, kind, name)


_UNKNOWN_FIELDS = {
    "jobs": 'field label "{key}" not supported for Job',
    "resourceslices": "field label not supported for {api}, Kind={kind}: {key}",
    "replicasets": '"{key}" is not a known field selector: only "metadata.name", "metadata.namespace"',
}
"""How kinds with fields of their own refuse others, where it is not as most do."""


def unknown_field(kind: Kind, key: str) -> str:
    """Stock's error for an unsupported field selector."""
    resource = kind.resource
    usual = "field label not supported: {key}" if kind.strategy.fields or kind.custom else _UNKNOWN_FIELDS["replicasets"]
    return _UNKNOWN_FIELDS.get(resource.plural, usual).format(key=key, api=resource.api_version, kind=resource.kind)


_IN_KEY = frozenset({"metadata.name", "metadata.namespace"})
"""Fields that an entry's key tells."""


def _where(out: ListOptions, kind: Kind, name: str) -> Callable[[Entry], bool] | None:
    by_label, by_field = out.by_label, out.by_field
    matches_labels = by_label.matches if by_label is not None else None
    if by_field is None and not name:
        return (lambda e: matches_labels(e.labels)) if matches_labels else None
    tests = by_field.tests if by_field is not None else []
    stored = [test for test in tests if test.field not in _IN_KEY]
    in_key = [test for test in tests if test.field in _IN_KEY]
    if name:
        in_key.append(fields.Test("metadata.name", frozenset((name,))))
    if len(stored) == 1 and not in_key and matches_labels is None:  # a node's pods
        only, holds = stored[0].field, stored[0].holds
        return lambda entry: holds(entry.fields.get(only, ""))
    namespaced = kind.resource.namespaced

    def test(entry: Entry) -> bool:
        have = entry.fields
        for one in stored:
            if not one.holds(have.get(one.field, "")):
                return False
        if in_key:
            _, _, rest = entry.key[1:].split("/", 2)
            namespace, _, own = rest.rpartition("/") if namespaced else ("", "", rest)
            for one in in_key:
                if not one.holds(own if one.field == "metadata.name" else namespace):
                    return False
        return matches_labels is None or matches_labels(entry.labels)

    return test


def _revision(text: str) -> int:
    why = "invalid syntax" if not _UNSIGNED.fullmatch(text) else "value out of range" if integers.parse(text) >= 2**64 else ""
    if why:
        shown = go_quote(text)
        what = f"invalid resource version: resourceVersion: Invalid value: {shown}: strconv.ParseUint: parsing {shown}: {why}"
        raise errors.BadRequest(what)
    return integers.parse(text)


def _check_match(out: ListOptions, query: Query) -> None:
    match, given = query.get("resourceVersionMatch", ""), "sendInitialEvents" in query
    found = _check_watch(match, given, query) if out.watch else _check_list(match, out.version, query)
    if given and not out.watch:
        found.append(causes.forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    if found:
        raise errors.invalid("ListOptions", _GROUP, "", found)


_MATCH = "resourceVersionMatch"


def _check_list(match: str, version: str, query: Query) -> list[Cause]:
    if not match:
        return []
    found: list[Cause] = []
    if not version:
        found.append(causes.forbidden(_MATCH, "resourceVersionMatch is forbidden unless resourceVersion is provided"))
    if query.get("continue"):
        found.append(causes.forbidden(_MATCH, "resourceVersionMatch is forbidden when continue is provided"))
    if match not in ("Exact", "NotOlderThan"):
        found.append(_unknown_match(match, '"Exact", "NotOlderThan", ""'))
    if match == "Exact" and version == "0":
        found.append(causes.forbidden(_MATCH, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'))
    return found


def _check_watch(match: str, initial_events: bool, query: Query) -> list[Cause]:
    """`initial_events`: whether sendInitialEvents is said."""
    found: list[Cause] = []
    if initial_events and match != "NotOlderThan":
        found.append(causes.forbidden(_MATCH, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"))
    if match and not initial_events:
        found.append(causes.forbidden(_MATCH, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"))
    if match and match != "NotOlderThan":
        found.append(_unknown_match(match, '"NotOlderThan"'))
    if match and query.get("continue"):
        found.append(causes.forbidden(_MATCH, "resourceVersionMatch is forbidden when continue is provided"))
    return found


def _unknown_match(match: str, known: str) -> Cause:
    return Cause("FieldValueNotSupported", f"Unsupported value: {go_quote(match)}: supported values: {known}", _MATCH)


def get_version(query: Query) -> int:
    """The revision a get must be as new as; 0: any. Raises BadRequest."""
    text = query.get("resourceVersion")
    return _revision(text) if text else 0
