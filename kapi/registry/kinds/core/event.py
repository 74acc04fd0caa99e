"""Events, served by core/v1 and events.k8s.io/v1 and kept in the shape of core/v1.

events.k8s.io requires more fields and allows only changes of the series; core requires only matching namespaces.
"""

from collections.abc import Callable, Mapping
from typing import Any

from kapi.objects import duration, names
from kapi.objects.meta import Object
from kapi.registry.validation import internal, rules
from kapi.registry.validation.part import Part, PlainStrategy

NEW = "events.k8s.io/v1"
RENAMED = {
    "regarding": "involvedObject",
    "note": "message",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
    "reportingController": "reportingComponent",
}
BACK = {old: new for new, old in RENAMED.items()}
LONGEST = {"reportingInstance": 128, "action": 128, "reason": 128, "message": 1024}
STRUCTURES = {"involvedObject": "ObjectReference", "related": "ObjectReference", "source": "EventSource"}
REFERENCE = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
UNCHANGING = ("involvedObject", "reason", "message", "source", "firstTimestamp", "lastTimestamp", "count", "reason", "type", "eventTime",
              "action", "related", "reportingController", "reportingInstance")  # fmt: skip


def _source(event: Object) -> str:
    return (event.get("source") or {}).get("component") or event.get("reportingComponent") or ""


def _reference(field: str) -> Callable[[Object], str]:
    return lambda event: (event.get("involvedObject") or {}).get(field, "")


FIELDS: dict[str, Callable[[Object], str]] = {
    **{f"involvedObject.{field}": _reference(field) for field in REFERENCE},
    "reason": lambda event: event.get("reason", ""),
    "reportingComponent": lambda event: event.get("reportingComponent", ""),
    "source": _source,
    "type": lambda event: event.get("type", ""),
}
"""Field selectors, under the names of core/v1."""


class EventStrategy(PlainStrategy):
    """core/v1 Event."""

    loose_finalizers = True
    name_check = staticmethod(names.path_segment)
    error_group = ""
    create_on_update = True
    fields = FIELDS
    columns = rules.columns(
        "Last Seen=core.v1.Event.lastTimestamp", "Type=core.v1.Event.type", "Reason=core.v1.Event.reason",
        "Object=core.v1.Event.involvedObject", "Subobject+=core.v1.ObjectReference.fieldPath", "Source+=core.v1.Event.source",
        "Message=core.v1.Event.message", "First Seen+=core.v1.Event.firstTimestamp", "Count+=core.v1.Event.count",
        "Name+=ObjectMeta.name",
    )  # fmt: skip
    defaults: Mapping[str, Any] = {
        "involvedObject": {}, "source": {}, "firstTimestamp": None, "lastTimestamp": None, "eventTime": None,
        "reportingComponent": "", "reportingInstance": "",
    }  # fmt: skip

    def check(self, new: Part, old: Object | None) -> None:
        _validate_old(new, "reportingComponent")

    def row(self, obj: Object, now: float) -> list[Any]:
        return _row(obj, now)


class NewEventStrategy(EventStrategy):
    """events.k8s.io/v1 Event."""

    name_check = staticmethod(names.dns_subdomain)
    loose_finalizers = False
    selected_as: Mapping[str, str] = {
        field.replace("involvedObject", "regarding").replace("Component", "Controller"): field for field in FIELDS
    }
    defaults = {
        "regarding": {}, "deprecatedSource": {}, "deprecatedFirstTimestamp": None, "deprecatedLastTimestamp": None, "eventTime": None,
    }  # fmt: skip

    def check(self, new: Part, old: Object | None) -> None:
        event = Part(new.e, "", _renamed(new.obj, RENAMED))
        _validate_old(event, "reportingController")
        if old is None:
            _validate_new(event)
        else:
            _validate_change(event, _renamed(old, RENAMED))

    def to_storage(self, obj: Object, version: str) -> Object:
        stored = _renamed(obj, RENAMED)
        stored.setdefault("reportingComponent", "")
        stored.setdefault("reportingInstance", "")
        return stored

    def from_storage(self, obj: Object, version: str) -> Object:
        served = _renamed(obj, BACK)
        for field in ("reportingController", "reportingInstance"):
            if not served.get(field):
                served.pop(field, None)
        return served

    def row(self, obj: Object, now: float) -> list[Any]:
        return _row(_renamed(obj, RENAMED), now)


def _renamed(event: Object, table: dict[str, str]) -> Object:
    return {table.get(key, key): value for key, value in event.items()}


# rules ----------------------------------------------------------------------------------------------------------------------------


def _validate_old(event: Part, controller: str) -> None:
    """What both APIs ask. Fields are named as core/v1 names them, but for the reporting controller."""
    namespace, named = event.part("metadata").text("namespace"), event.part("involvedObject").text("namespace")
    timed = bool(event.get("eventTime"))
    free = ("", "default", "kube-system") if timed else ("", "default")
    if (named and named != namespace and not timed) or (not named and namespace not in free):
        event.e.invalid("involvedObject.namespace", named, "does not match event.namespace")
    if timed:
        _validate_reporter(event, controller)
    if namespace:
        event.e.text("namespace", namespace, names.dns_subdomain)


def _validate_reporter(event: Part, controller: str) -> None:
    reporter = event.text("reportingComponent")
    event.e.need(controller, reporter)
    event.e.qualified(controller, reporter)
    for field, most in LONGEST.items():
        if field != "message":
            event.need(field)
        if len(event.text(field).encode()) > most:
            event.e.invalid(field, "", f"can have at most {most} characters")


def _validate_series(event: Part) -> None:
    series = event.part("series")
    if "series" in event:
        if series.number("count") < 2:
            event.e.invalid("series.count", "", "should be at least 2")
        series.need("lastObservedTime")


def _validate_new(event: Part) -> None:
    _validate_series(event)
    event.need("eventTime")
    if event.get("type") not in ("Normal", "Warning"):
        event.e.invalid("type", "", f"has invalid value: {event.text('type')}")
    unset = {field: event.get(field) for field in ("firstTimestamp", "lastTimestamp", "count")}
    unset["source"] = event.part("source").get("component") or event.part("source").get("host")
    for field, value in unset.items():
        if value:
            event.e.invalid(field, "", "needs to be unset")


def _validate_change(new: Part, old: Object) -> None:
    if new.get("series") != old.get("series"):
        _validate_series(new)
    for field in UNCHANGING:
        stored = "reportingComponent" if field == "reportingController" else field
        one, other = _internal(stored, new.get(stored)), _internal(stored, old.get(stored))
        if one != other:
            new.e.invalid(field, one, rules.IMMUTABLE)


def _internal(field: str, value: Any) -> Any:
    """A value as stock's own types show it."""
    if field in STRUCTURES:
        return internal.pointer(STRUCTURES[field], value if field == "related" else value or {})
    if field in ("firstTimestamp", "lastTimestamp", "eventTime"):
        return value or None
    return value or (0 if field == "count" else "")


# columns --------------------------------------------------------------------------------------------------------------------------


def _row(event: Object, now: float) -> list[Any]:
    first = duration.since(event.get("firstTimestamp") or event.get("eventTime"), now)
    last = duration.since(event["lastTimestamp"], now) if event.get("lastTimestamp") else first
    count = event.get("count") or 1
    if series := event.get("series"):
        last, count = duration.since(series.get("lastObservedTime"), now), series.get("count", 0)
    about = event.get("involvedObject") or {}
    kind, name = about.get("kind", "").lower(), about.get("name", "")
    source = event.get("source") or {}
    parts = [source.get("component") or event.get("reportingComponent"), source.get("host") or event.get("reportingInstance")]
    return [
        last, event.get("type", ""), event.get("reason", ""), f"{kind}/{name}" if name else kind, about.get("fieldPath", ""),
        ", ".join(part for part in parts if part), event.get("message", "").strip(), first, count, event["metadata"]["name"],
    ]  # fmt: skip
