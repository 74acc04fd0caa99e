"""Kubernetes' protobuf read by Google's library, for tests: descriptors are made of openapi's tables, without kapi.schema."""

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Any

import orjson
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from kapi.objects.meta import Object
from openapi import tables

FIELD = descriptor_pb2.FieldDescriptorProto
META = "io.k8s.apimachinery.pkg.apis.meta.v1."
SCALARS = {
    "string": FIELD.TYPE_STRING, "bool": FIELD.TYPE_BOOL, "int32": FIELD.TYPE_INT32, "int64": FIELD.TYPE_INT64,
    "float64": FIELD.TYPE_DOUBLE, "bytes": FIELD.TYPE_BYTES,
}  # fmt: skip
SPECIAL = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"string": ("string", 1)},
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"type": ("int64", 1), "intVal": ("int32", 2), "strVal": ("string", 3)},
    "io.k8s.apimachinery.pkg.runtime.RawExtension": {"raw": ("bytes", 1)},
    META + "FieldsV1": {"raw": ("bytes", 1)},
    META + "Time": {"seconds": ("int64", 1), "nanos": ("int32", 2)},
    META + "MicroTime": {"seconds": ("int64", 1), "nanos": ("int32", 2)},
    "runtime.TypeMeta": {"apiVersion": ("string", 1), "kind": ("string", 2)},
    "runtime.Unknown": {
        "typeMeta": ("runtime.TypeMeta", 1), "raw": ("bytes", 2), "contentEncoding": ("string", 3), "contentType": ("string", 4),
    },
    META + "PartialObjectMetadata": {"metadata": (META + "ObjectMeta", 1)},
    "Strings": {"items": ("[]string", 1)},
}  # fmt: skip
"""Messages by hand: field -> (type, number)."""


def _fields(name: str) -> dict[str, tuple[str, str]]:
    """Field -> (notation of its type, its number or numbers)."""
    if name in SPECIAL:
        return {field: (kind, str(number)) for field, (kind, number) in SPECIAL[name].items()}
    if name.endswith("[]"):  # the list of a kind
        return {"metadata": (META + "ListMeta", "1"), "items": (f"[]{name[:-2]}", "2")}
    numbers = dict(word.split("=") for word in tables.wire().get(name, "").split())
    kinds = tables.types()[name]
    return {field: (kinds[field].split()[0], number) for field, number in numbers.items() if field in kinds}


class _Maker:
    """Messages of one definition and of all it may hold, in a file descriptor."""

    def __init__(self) -> None:
        self.file = descriptor_pb2.FileDescriptorProto(name="kapi.proto", syntax="proto2")
        self.made: dict[str, str] = {}

    def message(self, name: str) -> str:
        if name not in self.made:
            self.made[name] = f"M{len(self.made)}"
            self.file.message_type.add(name=self.made[name])
            index = len(self.file.message_type) - 1
            for field, (kind, numbers) in _fields(name).items():
                self._add(index, field, kind, [int(number) for number in numbers.split(".")])
        return self.made[name]

    def _add(self, index: int, field: str, kind: str, numbers: list[int]) -> None:
        if len(numbers) > 1:
            embedded = f"embedded_{numbers[0]}"
            inner = f"{self.file.message_type[index].name}_{numbers[0]}"
            if inner not in [m.name for m in self.file.message_type]:
                self.file.message_type.add(name=inner)
                self.file.message_type[index].field.add(
                    name=embedded, number=numbers[0], type=FIELD.TYPE_MESSAGE, type_name=inner, label=FIELD.LABEL_OPTIONAL
                )
            at = [m.name for m in self.file.message_type].index(inner)
            self._add(at, field, kind, numbers[1:])
            return
        label, kind = FIELD.LABEL_OPTIONAL, kind.lstrip("*")
        if "map[" in kind:
            label, kind = FIELD.LABEL_REPEATED, self._entry(kind[kind.index("]") + 1 :])
        elif "=[]" in kind:
            kind = "Strings"
        elif kind.startswith("[]"):
            label, kind = FIELD.LABEL_REPEATED, kind[2:]
        self._typed(index, field, numbers[0], label, kind)

    def _entry(self, value: str) -> str:
        kind = "Strings" if "=[]" in value else value.rpartition("=")[2]
        name = f"map of {kind}"
        SPECIAL[name] = {"key": ("string", 1), "value": (kind, 2)}
        return name

    def _typed(self, index: int, field: str, number: int, label: Any, kind: str) -> None:
        kind = kind.lstrip("*").rpartition("=")[2]
        known = {"name": "f_" + field.replace("$", "S").replace("-", "_"), "number": number, "label": label}
        if kind in SCALARS:
            self.file.message_type[index].field.add(**known, type=SCALARS[kind])
        else:
            type_name = self.message(kind)
            self.file.message_type[index].field.add(**known, type=FIELD.TYPE_MESSAGE, type_name=type_name)


@cache
def _class(name: str) -> Any:
    maker = _Maker()
    made = maker.message(name)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(maker.file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(made))


def message(name: str, raw: bytes) -> Any:
    """A message of a definition."""
    out = _class(name)()
    out.ParseFromString(raw)
    return out


def _value(kind: str, value: Any) -> Any:
    """A field's value as JSON has it."""
    kind = kind.lstrip("*")
    if "map[" in kind:
        item = kind[kind.index("]") + 1 :]
        return {entry.f_key: _value(item, entry.f_value) for entry in value}
    if "=[]" in kind:
        return list(value.f_items)
    if kind.startswith("[]"):
        return [_value(kind[2:], item) for item in value]
    kind = kind.rpartition("=")[2]
    if kind == "bytes":
        return base64.b64encode(value).decode()
    if kind in SCALARS:
        return value
    if kind in SPECIAL and kind not in (META + "PartialObjectMetadata",):
        return _special(kind, value)
    return _object(kind, value)


def _special(kind: str, value: Any) -> Any:
    if kind.endswith("Quantity"):
        return value.f_string
    if kind.endswith("IntOrString"):
        return value.f_strVal if value.f_type else value.f_intVal
    if kind.endswith("Time"):
        if not value.HasField("f_seconds"):
            return None
        at = datetime.fromtimestamp(value.f_seconds, UTC).replace(microsecond=value.f_nanos // 1000)
        return at.isoformat(timespec="microseconds" if kind.endswith("MicroTime") else "seconds").replace("+00:00", "Z")
    return orjson.loads(value.f_raw) if value.f_raw else None


def _present(name: str, message: Any) -> Iterator[tuple[str, Any]]:
    for field, (kind, numbers) in _fields(name).items():
        inner = message
        for number in numbers.split(".")[:-1]:
            inner = getattr(inner, f"embedded_{number}")
        own = "f_" + field.replace("$", "S").replace("-", "_")
        value = getattr(inner, own)
        repeated = not hasattr(value, "DESCRIPTOR") and not isinstance(value, str | bytes | int | float)
        if value if repeated else inner.HasField(own):
            yield field, _value(kind, value)


def _object(name: str, message: Any) -> Object:
    return dict(_present(name, message))


def unwrapped(body: bytes) -> tuple[str, str, bytes]:
    """(apiVersion, kind, message) of a body."""
    assert body[:4] == b"k8s\0"
    unknown = message("runtime.Unknown", body[4:])
    assert unknown.HasField("f_contentType")
    return unknown.f_typeMeta.f_apiVersion, unknown.f_typeMeta.f_kind, unknown.f_raw


def read(body: bytes, name: str) -> Object:
    """The object of a body, of a definition; "[]" behind the name is a list of it. With its zero values."""
    api_version, kind, raw = unwrapped(body)
    return {"apiVersion": api_version, "kind": kind, **_object(name, message(name, raw))}


def without_zeros(value: Any) -> Any:
    """What is left without empty and zero values at any depth: JSON and protobuf write different ones of these."""
    if isinstance(value, dict):
        return {key: kept for key, item in value.items() if (kept := without_zeros(item))} or None
    if isinstance(value, list):
        return [without_zeros(item) for item in value] or None
    return value or None
