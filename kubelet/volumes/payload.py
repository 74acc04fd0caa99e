"""The files of configMap, secret, downwardAPI and projected volumes. Raises environment.MissingReference."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from kapi.objects.meta import Object
from kapi.objects.resource import CONFIG_MAPS, SECRETS, Resource
from kubelet import environment
from kubelet.environment import EnvironmentContext, Lookup, MissingReference
from kubelet.volumes.atomic import File

Tokens = Callable[[Object, Object], Awaitable[str]]
"""(pod, serviceAccountToken source) -> the token."""

DEFAULT_MODE = 0o644
_OBJECTS = {"configMap": CONFIG_MAPS, "secret": SECRETS}
_NO_KEY = {CONFIG_MAPS: "configmap references non-existent config key", SECRETS: "references non-existent secret key"}


@dataclass(frozen=True)
class Context:
    """What the files are made from."""

    pod: Object
    lookup: Lookup
    tokens: Tokens
    environment_context: EnvironmentContext


def _items(data: Mapping[str, bytes], items: Sequence[Object] | None, mode: int, missing: str) -> dict[str, File]:
    """The files of all keys, or of those that `items` lists. `missing` is the message for a missing key; "": missing keys are skipped."""
    if not items:
        return {key: File(value, mode) for key, value in data.items()}
    out: dict[str, File] = {}
    for item in items:
        if item["key"] not in data:
            if not missing:
                continue
            raise MissingReference(f"{missing}: {item['key']}")
        out[item["path"]] = File(data[item["key"]], item.get("mode", mode))
    return out


async def _object(context: Context, resource: Resource, source: Object, mode: int) -> dict[str, File]:
    name, optional = source.get("secretName") or source.get("name", ""), bool(source.get("optional"))
    found = await environment.referenced_object(context.pod, resource, name, context.lookup, optional=optional)
    if found is None:
        return {}
    return _items(environment.data(found), source.get("items"), mode, "" if optional else _NO_KEY[resource])


def _downward(context: Context, source: Object, mode: int) -> dict[str, File]:
    out: dict[str, File] = {}
    for item in source.get("items") or ():
        if ref := item.get("fieldRef"):
            text = environment.field_value(context.pod, ref["fieldPath"], context.environment_context)
        else:
            text = environment.resource_value(context.pod, item["resourceFieldRef"], None, context.environment_context)
        out[item["path"]] = File(text.encode(), item.get("mode", mode))
    return out


async def files(context: Context, volume: Object) -> dict[str, File]:
    """The files of a volume."""
    source: Object = next((volume[kind] for kind in ("configMap", "secret", "downwardAPI", "projected") if volume.get(kind)), {})
    mode, out = source.get("defaultMode", DEFAULT_MODE), dict[str, File]()
    for part in source.get("sources") or () if "projected" in volume else [volume]:
        out |= await _part(context, part, mode)
    return out


async def _part(context: Context, source: Object, mode: int) -> dict[str, File]:
    """The files of one source: of a plain volume, or one of a projected volume."""
    for kind, resource in _OBJECTS.items():
        if part := source.get(kind):
            return await _object(context, resource, part, mode)
    if part := source.get("downwardAPI"):
        return _downward(context, part, mode)
    if part := source.get("serviceAccountToken"):
        token = await context.tokens(context.pod, part)
        return {part["path"]: File(token.encode(), *_token_access(context.pod, mode))}
    return {}


def _token_access(pod: Object, mode: int) -> tuple[int, int | None]:
    """(mode, owner) of a token's file: readable only by the one user that all containers run as; else, or with fsGroup, as the volume's."""
    context = pod["spec"].get("securityContext") or {}
    if context.get("fsGroup") is not None:
        return 0o600, None
    users = {(c.get("securityContext") or {}).get("runAsUser", context.get("runAsUser")) for c in pod["spec"]["containers"]}
    user = users.pop() if len(users) == 1 else None
    return (0o600, user) if user is not None else (mode, None)
