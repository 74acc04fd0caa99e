"""The variables of expressions about requests (matchConditions, admission policies), and the types their results may have.

`frame(params=True)` gives the variables with their types; `messages` the types mutations make: Object, Object.spec…, JSONPatch.
"""

from collections.abc import Iterator, Mapping

from kapi.cel.types import BOOL, DYN, INT, STRING, TIMESTAMP, Type, list_of, map_of

_STRINGS, _MAP = list_of(STRING), map_of(STRING, STRING)


def _object(name: str, /, **fields: Type) -> Type:
    return Type(f"kubernetes.{name}", fields=fields)


_KIND = _object("GroupVersionKind", group=STRING, version=STRING, kind=STRING)
_RESOURCE = _object("GroupVersionResource", group=STRING, version=STRING, resource=STRING)
_USER = _object("UserInfo", username=STRING, uid=STRING, groups=_STRINGS, extra=map_of(STRING, _STRINGS))
REQUEST = _object(
    "AdmissionRequest", kind=_KIND, resource=_RESOURCE, subResource=STRING, requestKind=_KIND, requestResource=_RESOURCE,
    requestSubResource=STRING, name=STRING, namespace=STRING, operation=STRING, userInfo=_USER, dryRun=BOOL, options=DYN,
)  # fmt: skip
_META = _object(
    "NamespaceMetadata", name=STRING, generateName=STRING, namespace=STRING, labels=_MAP, annotations=_MAP, UID=STRING,
    creationTimestamp=TIMESTAMP, deletionGracePeriodSeconds=INT, deletionTimestamp=TIMESTAMP, generation=INT, resourceVersion=STRING,
    finalizers=_STRINGS,
)  # fmt: skip
_CONDITION = _object("NamespaceCondition", status=STRING, type=STRING, lastTransitionTime=TIMESTAMP, message=STRING, reason=STRING)
_STATUS = _object("NamespaceStatus", conditions=list_of(_CONDITION), phase=STRING)
NAMESPACE = _object("Namespace", metadata=_META, spec=_object("NamespaceSpec", finalizers=_STRINGS), status=_STATUS)
_DECLARED = frozenset(("bool", "bytes", "double", "int", "null", "string", "timestamp", "duration", "uint", "list", "map"))
_AUTHORIZER = {
    "authorizer": Type("kubernetes.authorization.Authorizer"),
    "authorizer.requestResource": Type("kubernetes.authorization.ResourceCheck"),
}


def frame(*, params: bool = False, authorizer: bool = True, variables: Mapping[str, Type] | None = None) -> dict[str, Type]:
    """The variables of an expression; `variables` are those a policy has declared, with the types of their expressions."""
    out = {"object": DYN, "oldObject": DYN, "request": REQUEST, "namespaceObject": NAMESPACE}
    if params:
        out["params"] = DYN
    if authorizer:
        out |= _AUTHORIZER
    if variables is not None:
        out["variables"] = Type("kubernetes.variables", fields=variables)
    return out


def declared(kind: Type) -> Type:
    """The type of a declared variable by that of its expression: dyn for everything but plain values."""
    return kind if kind.name in _DECLARED else DYN


class _Anything(Mapping[str, Type]):
    """An object with fields of any name: which ones exist is checked when the patch is applied."""

    def __getitem__(self, name: str) -> Type:
        return DYN

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


JSON_PATCH = Type("JSONPatch", fields={"op": STRING, "path": STRING, "from": STRING, "value": DYN})


def messages(name: str) -> Type | None:
    """The types expressions of mutating policies may make."""
    if name == "JSONPatch":
        return JSON_PATCH
    return Type(name, fields=_Anything()) if name == "Object" or name.startswith("Object.") else None
