"""Whatever is sent, the answer is an object or a Status that says why not; what was accepted comes back unchanged."""

import json
from pathlib import Path

import pytest
import yaml

from kapi.client.client import Client
from kapi.objects.meta import Object
from kapi.registry import catalogue
from kapi.registry.kind import Kind
from tests import registry
from tests.api.asking import TABLE, Answer, ask
from tests.api.chance import Chance

RULES = Path(registry.__file__).parent / "kinds" / "rules"
MEDIA = ("application/merge-patch+json", "application/strategic-merge-patch+json", "application/apply-patch+yaml")
ROUNDS = 6


def goods() -> dict[str, Object]:
    """A good object by the name of its strategy."""
    return {name: pairs["good"] for file in RULES.glob("*.yaml") for name, pairs in yaml.load(file.read_text(), yaml.CSafeLoader).items()}


GOODS = goods()
CREATED = [kind for kind in catalogue.standard() if "create" in kind.verbs]


def collection(kind: Kind) -> str:
    resource = kind.resource
    return f"{resource.root}/namespaces/default/{resource.plural}" if resource.namespaced else f"{resource.root}/{resource.plural}"


def random_object(kind: Kind, chance: Chance, name: str) -> Object:
    """A good object with something changed, or one made from nothing but its schema."""
    good = GOODS.get(type(kind.strategy).__name__)
    if good is not None and chance.random.random() < 0.7:
        obj = chance.mutated(good, kind.schema)
    else:
        made = chance.value(kind.schema)
        obj = made if isinstance(made, dict) else {}
    meta = obj.get("metadata")
    meta = meta if isinstance(meta, dict) else {}
    odd = {key: value for key, value in meta.items() if key not in ("namespace", "finalizers", "deletionTimestamp")}
    return {**obj, **kind_of(kind), "metadata": {**odd, "name": name}}


def kind_of(kind: Kind) -> Object:
    return {"kind": kind.resource.kind, "apiVersion": kind.resource.api_version}


def raw(obj: object) -> bytes:
    """JSON, with numbers of any size."""
    return json.dumps(obj).encode()


def check(answer: Answer, sent: object) -> None:
    """An answer that says what is wrong, if anything is; never that the server is.

    Stock answers a few refusals of an apply or a binding with 500, but without a reason; InternalError is the reason of a bug.
    """
    assert answer.code < 500 or not answer.json.get("reason"), sent
    if answer.code >= 400:
        assert answer.json["kind"] == "Status", sent


@pytest.mark.parametrize("kind", CREATED, ids=lambda kind: f"{kind.resource.plural}.{kind.resource.group}/{kind.resource.version}")
async def test_anything_is_answered(client: Client, kind: Kind) -> None:
    path = collection(kind)
    for attempt in range(ROUNDS):
        chance = Chance((kind.resource, attempt))
        sent = random_object(kind, chance, f"n{attempt}")
        made = await ask(client, "POST", path, raw(sent))
        check(made, sent)
        if made.code == 201 and "get" in kind.verbs:
            await unchanged(client, f"{path}/n{attempt}")
            await changed(client, f"{path}/n{attempt}", kind, chance)


async def unchanged(client: Client, path: str) -> None:
    """What is there can be written back, and that changes nothing."""
    there = await ask(client, "GET", path)
    again = await ask(client, "PUT", path, there.body)
    assert (again.code, again.json) == (200, there.json)
    for accept in (TABLE, "application/yaml"):
        assert (await ask(client, "GET", path, accept=accept)).code == 200


async def changed(client: Client, path: str, kind: Kind, chance: Chance) -> None:
    """Whatever it is changed to."""
    there = (await ask(client, "GET", path)).json
    check(await ask(client, "PUT", path, raw(sent := chance.mutated(there, kind.schema))), sent)
    bare = {**there, "metadata": {"name": there["metadata"]["name"]}}
    for media in MEDIA:
        sent = chance.mutated(bare, kind.schema)
        target = f"{path}?fieldManager=m&force=true" if "apply" in media else path
        check(await ask(client, "PATCH", target, raw(sent), content_type=media), sent)
