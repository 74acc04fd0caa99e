"""ConfigMap, Secret and ServiceAccount."""

import base64
from typing import Any

import orjson

from kapi.objects import names
from kapi.objects.meta import Object
from kapi.registry.validation import rules
from kapi.registry.validation.part import Part, PlainStrategy
from kapi.registry.validation.rules import Errors
from kapi.schema import syntax

LARGEST = 1 << 20
"""Bytes of data a ConfigMap or Secret may hold."""
SERVICE_ACCOUNT_NAME = "kubernetes.io/service-account.name"
MOUNTABLE = "kubernetes.io/enforce-mountable-secrets"
FROZEN = "field is immutable when `immutable` is set"
NEEDED_KEYS: dict[str, tuple[str, ...]] = {"kubernetes.io/ssh-auth": ("ssh-privatekey",), "kubernetes.io/tls": ("tls.crt", "tls.key")}
DOCKER_KEYS = {"kubernetes.io/dockercfg": ".dockercfg", "kubernetes.io/dockerconfigjson": ".dockerconfigjson"}
GO_TYPES = {list: "array", str: "string", bool: "bool", int: "number", float: "number"}


def _size(encoded: str | None) -> int:
    """Bytes a base64 text stands for; null stands for none."""
    encoded = encoded or ""
    return len(encoded) * 3 // 4 - encoded.count("=", -2)


def _keys(new: Part, field: str) -> None:
    for at, key, _ in new.entries(field):
        new.e.text(at, key, names.config_key)


def _frozen(new: Part, old: Object | None, *fields: str) -> None:
    """What `immutable: true` forbids to change, itself included."""
    if not old or not old.get("immutable"):
        return
    if not new.get("immutable"):
        new.forbidden("immutable", FROZEN)
    for field in fields:
        if (new.get(field) or {}) != (old.get(field) or {}):
            new.forbidden(field, FROZEN)


class ConfigMapStrategy(PlainStrategy):
    """core/v1 ConfigMap."""

    columns = rules.columns("Name", "Data#=core.v1.ConfigMap.data", "Age")

    def check(self, new: Part, old: Object | None) -> None:
        _frozen(new, old, "data", "binaryData")
        data, binary = new.get("data") or {}, new.get("binaryData") or {}
        for at, key, _ in new.entries("data"):
            new.e.text(at, key, names.config_key)
            if key in binary:
                new.e.invalid(at, key, "duplicate of key present in binaryData")
        _keys(new, "binaryData")
        if sum(len(v.encode()) for v in data.values()) + sum(map(_size, binary.values())) > LARGEST:
            new.e.too_long("", LARGEST)

    def cells(self, obj: Object) -> list[Any]:
        return [len(obj.get("data") or ()) + len(obj.get("binaryData") or ())]


class SecretStrategy(PlainStrategy):
    """core/v1 Secret."""

    fields = rules.selectable("type")
    columns = rules.columns("Name", "Type@type", "Data#@data", "Age", of="core.v1.Secret")
    defaults_of_empty = {"type": "Opaque"}

    def default(self, obj: Object) -> None:
        super().default(obj)
        if texts := obj.pop("stringData", None):
            encoded = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
            obj["data"] = {**(obj.get("data") or {}), **encoded}

    def check(self, new: Part, old: Object | None) -> None:
        if old is not None:
            new.immutable(old, "type")
            _frozen(new, old, "data")
        _keys(new, "data")
        if sum(map(_size, (new.get("data") or {}).values())) > LARGEST:
            new.e.too_long("data", LARGEST)
        _typed(new, new.get("data") or {})


def _typed(secret: Part, data: dict[str, str]) -> None:
    """What a secret of a known type must hold."""
    kind, e = secret.text("type"), secret.e
    if kind == "kubernetes.io/service-account-token":
        annotations = secret.obj["metadata"].get("annotations") or {}
        e.need(f"metadata.annotations[{SERVICE_ACCOUNT_NAME}]", annotations.get(SERVICE_ACCOUNT_NAME))
    elif kind == "kubernetes.io/basic-auth" and "username" not in data and "password" not in data:
        e.required("data[username]")
        e.required("data[password]")
    elif kind in DOCKER_KEYS:
        _docker(e, f"data[{DOCKER_KEYS[kind]}]", data.get(DOCKER_KEYS[kind]))
    for key in NEEDED_KEYS.get(kind, ()):
        if key not in data or (kind == "kubernetes.io/ssh-auth" and not data[key]):
            e.required(f"data[{key}]")


def _docker(e: Errors, field: str, encoded: str | None) -> None:
    if encoded is None:
        e.required(field)
        return
    raw, fault = base64.b64decode(encoded), ""
    try:
        value = orjson.loads(raw)
    except ValueError:
        fault = syntax.error(raw)
    else:
        if type(value) in GO_TYPES:
            fault = f"json: cannot unmarshal {GO_TYPES[type(value)]} into Go value of type map[string]interface {{}}"
    if fault:
        e.invalid(field, "<secret contents redacted>", fault)


class ServiceAccountStrategy(PlainStrategy):
    """core/v1 ServiceAccount."""

    returns_deleted = True
    columns = rules.columns("Name", "Age")

    def prepare(self, new: Object, old: Object | None) -> None:
        if new.get("secrets"):  # of a reference only the name counts
            new["secrets"] = [{"name": ref["name"]} if ref.get("name") else {} for ref in new["secrets"]]

    def warnings(self, new: Object, old: Object | None) -> list[str]:
        has = MOUNTABLE in (new["metadata"].get("annotations") or {})
        had = old is not None and MOUNTABLE in (old["metadata"].get("annotations") or {})
        text = f"metadata.annotations[{MOUNTABLE}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
        return [text] if has and not had else []
