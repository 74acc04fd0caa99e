"""A kind of two versions, and the webhook that converts between them: `color` and `size` of v1 are `shade` and `count` of v2."""

from collections.abc import Callable
from typing import Any

from kapi.apiserver.assembly import Server
from kapi.client.client import Client
from kapi.objects.meta import Object
from kapi.objects.resource import Resource
from tests.api.customs import THINGS, define, definition, version
from tests.api.webhook import Answer, Webhook

V1, V2 = "example.com/v1", "example.com/v2"
SECOND = Resource("example.com", "v2", "things", "Thing", True)
ONE, TWO = (f"/apis/{name}/namespaces/default/things" for name in (V1, V2))
RENAMED = {"color": "shade", "size": "count"}
BACK = {new: old for old, new in RENAMED.items()}
OLD_SPEC: Object = {"type": "object", "properties": {
    "color": {"type": "string"}, "size": {"type": "integer", "minimum": 0, "default": 1}, "note": {"type": "string"},
}}  # fmt: skip
NEW_SPEC: Object = {"type": "object", "properties": {
    "shade": {"type": "string"}, "count": {"type": "integer", "minimum": 0}, "note": {"type": "string"},
}}  # fmt: skip
FIRST_SCALE = {"status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}}
SECOND_SCALE = {"status": {}, "scale": {"specReplicasPath": ".spec.count", "statusReplicasPath": ".status.size"}}


def old_version(**more: Any) -> Object:
    return version("v1", OLD_SPEC, subresources=FIRST_SCALE, **more)


def new_version(**more: Any) -> Object:
    return version("v2", NEW_SPEC, **{"storage": False, "subresources": SECOND_SCALE, **more})


def converting(hook: Webhook, *versions: Object, reviews: tuple[str, ...] = ("v1",), path: str = "/convert") -> Object:
    """A definition whose versions `hook` converts."""
    out = definition(*(versions or (old_version(), new_version())))
    webhook = {"clientConfig": hook.client(path), "conversionReviewVersions": list(reviews)}
    out["spec"]["conversion"] = {"strategy": "Webhook", "webhook": webhook}
    return out


def convert(obj: Object, wanted: str) -> Object:
    """What the webhook makes of one object."""
    names = RENAMED if wanted == V2 else BACK
    spec = {names.get(key, key): value for key, value in (obj.get("spec") or {}).items()}
    return {**obj, "apiVersion": wanted, "spec": spec}


def answering(change: Callable[[Object, str], Object] = convert) -> Answer:
    """A webhook's answer: `change` of each object."""

    def answer(request: Object) -> Object:
        made = [change(obj, request["desiredAPIVersion"]) for obj in request["objects"]]
        return {"result": {"status": "Success"}, "convertedObjects": made}

    return answer


async def served(api: Client, hook: Webhook, *versions: Object, **how: Any) -> None:
    """Define things with a webhook that converts."""
    hook.answers.setdefault("/convert", answering())
    await define(api, converting(hook, *versions, **how))


def second(name: str = "t", **spec: Any) -> Object:
    return {"apiVersion": V2, "kind": "Thing", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def reviews(hook: Webhook) -> list[tuple[str, list[str]]]:
    """(desired version, names of the objects) of each review so far."""
    requests = [review["request"] for _, review in hook.asked if review["kind"] == "ConversionReview"]
    return [(request["desiredAPIVersion"], [obj["metadata"].get("name") for obj in request["objects"]]) for request in requests]


__all__ = ["ONE", "SECOND", "THINGS", "TWO", "V1", "V2", "answering", "convert", "converting", "reviews", "second", "served"]


def stored(server: Server, name: str = "t") -> Object:
    """A thing as the store has it."""
    entry = server.app.rest.store.get(f"/example.com/things/default/{name}")
    assert entry is not None
    return entry.obj
