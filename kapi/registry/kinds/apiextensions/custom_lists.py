"""Lists that are sets or maps, and maps, in the schemas of CustomResourceDefinitions: what their items and keys must be.

Source: apiextensions-apiserver's validation of definitions (v1.36).
"""

from kapi.objects.errors import Cause
from kapi.objects.meta import Object
from kapi.registry.validation.rules import Errors
from kapi.schema.structural import LIST_KEYS, LIST_TYPE, MAP_TYPE

LIST_TYPES, MAP_TYPES = ("atomic", "set", "map"), ("atomic", "granular")


def validate(e: Errors, at: str, schema: Object, *, sets: bool = True, keys: bool = True) -> None:
    """What is wrong with a node; `sets` and `keys`: whether items_of_sets and map_keys count."""
    listed, mapped, kind = schema.get(LIST_TYPE), schema.get(MAP_TYPE), schema.get("type") or ""
    if mapped is not None:
        _of_type(e, at, kind, "object", MAP_TYPE)
        if mapped not in MAP_TYPES:
            e.unsupported(f"{at}.{MAP_TYPE}", mapped, MAP_TYPES, sort=False)
    if listed is not None:
        _of_type(e, at, kind, "array", LIST_TYPE)
        if sets:
            e += items_of_sets(at, schema)
        if listed not in LIST_TYPES:
            e.unsupported(f"{at}.{LIST_TYPE}", listed, LIST_TYPES, sort=False)
    if schema.get(LIST_KEYS) and listed != "map":
        text = "must be map if x-kubernetes-list-map-keys is non-empty"
        if listed is None:
            e.required(f"{at}.{LIST_TYPE}", text)
        else:
            e.invalid(f"{at}.{LIST_TYPE}", listed, text)
    if listed == "map":
        _map(e, at, schema)
    if keys:
        e += map_keys(at, schema)


def _of_type(e: Errors, at: str, kind: str, expected: str, field: str) -> None:
    text = f"must be {expected} if {field} is specified"
    if not kind:
        e.required(f"{at}.type", text)
    elif kind != expected:
        e.invalid(f"{at}.type", kind, text)


def items_of_sets(at: str, schema: Object) -> list[Cause]:
    """The items of sets must be atomic; causes show the list type of the items in every case."""
    e = Errors()
    items = schema.get("items")
    if schema.get("type") == "array" and schema.get(LIST_TYPE) == "set" and isinstance(items, dict):
        text = "must be atomic as item of a list with x-kubernetes-list-type=set"
        if items.get("type") == "array" and items.get(LIST_TYPE) not in (None, "atomic"):
            e.invalid(f"{at}.items.{LIST_TYPE}", items[LIST_TYPE], text)
        elif items.get("type") == "object" and items.get(MAP_TYPE) != "atomic":
            e.invalid(f"{at}.items.{MAP_TYPE}", items.get(LIST_TYPE), text)
    return e


def _map(e: Errors, at: str, schema: Object) -> None:
    """The keys of a list that is a map name scalars of its items."""
    keys, items = schema.get(LIST_KEYS) or [], schema.get("items")
    e.need(f"{at}.{LIST_KEYS}", keys, "must not be empty if x-kubernetes-list-type is map")
    if items is None:
        e.required(f"{at}.items", "must have a schema if x-kubernetes-list-type is map")
    if not isinstance(items, dict):
        return
    if items.get("type") != "object":
        e.invalid(f"{at}.items.type", items.get("type") or "", "must be object if parent array's x-kubernetes-list-type is map")
        return
    seen: set[str] = set()
    for key in keys:
        part = (items.get("properties") or {}).get(key)
        if part is None:
            e.invalid(f"{at}.{LIST_KEYS}", keys, "entries must all be names of item properties")
        elif part.get("type") in ("array", "object"):
            text = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            e.invalid(f"{at}.items.properties[{key}].type", items["type"], text)
        if key in seen:
            e.invalid(f"{at}.{LIST_KEYS}", keys, "must not contain duplicate entries")
        seen.add(key)


def map_keys(at: str, schema: Object) -> list[Cause]:
    """Items of sets and maps are never null, and neither are the keys of maps, which are always there."""
    e = Errors()
    listed, items = schema.get(LIST_TYPE), schema.get("items")
    if listed not in ("set", "map") or not isinstance(items, dict):
        return e
    if items.get("nullable"):
        e.forbidden(f"{at}.items.nullable", f"cannot be nullable when x-kubernetes-list-type is {listed}")
    for key in schema.get(LIST_KEYS) or () if listed == "map" else ():
        part = (items.get("properties") or {}).get(key)
        if part is None:
            continue
        where, named = f"{at}.items.properties[{key}]", "this property is in x-kubernetes-list-map-keys"
        if key not in (items.get("required") or ()) and part.get("default") is None:
            e.required(f"{where}.default", f"{named}, so it must have a default or be a required property")
        if part.get("nullable"):
            e.forbidden(f"{where}.nullable", f"{named}, so it cannot be nullable")
    return e
