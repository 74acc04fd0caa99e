"""Laws of conversion by a webhook, over random objects: nothing of an object is lost on its way through the other version."""

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kapi.apiserver import assembly
from kapi.apiserver.settings import Settings
from kapi.client.client import Client
from kapi.client.local import LocalTransport
from kapi.objects.meta import Object
from tests.api.asking import Answer, ask
from tests.api.converted import ONE, TWO, V1, V2, answering, converting
from tests.api.customs import controlled, define, version
from tests.api.webhook import Webhook, http
from tests.conftest import ADMIN

pytestmark = pytest.mark.slow
ANYTHING: Object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)
SPECS = st.dictionaries(st.text(min_size=1, max_size=10), VALUES, max_size=6)
WORDS = st.text("abcxyz", min_size=1, max_size=8)
LABELS = st.dictionaries(WORDS, WORDS, max_size=3)
NAMES = itertools.count()
MERGE = "application/merge-patch+json"


def backwards(obj: Object, wanted: str) -> Object:
    """The names of the fields of the spec are read from their ends in the other version."""
    return {**obj, "apiVersion": wanted, "spec": {key[::-1]: value for key, value in (obj.get("spec") or {}).items()}}


class Served:
    """A server with a kind whose versions a webhook converts, asked from tests that are not asynchronous."""

    def __init__(self, pki: Path, directory: Path) -> None:
        self._runner = asyncio.Runner()
        self._ready, self._over = asyncio.Event(), asyncio.Event()
        self._task = self._runner.get_loop().create_task(self._serve(pki, directory))
        self._runner.run(self._ready.wait())

    async def _serve(self, pki: Path, directory: Path) -> None:
        server = await assembly.assemble(Settings(data_dir=pki.parent, storage="memory:"), pki)
        hook = self._hook = Webhook(directory)
        await hook.start()
        self._client = Client(LocalTransport(server.app, ADMIN), agent="test")
        async with controlled(server):
            hook.answers["/convert"] = answering(backwards)
            versions = (version("v1", ANYTHING), version("v2", ANYTHING, storage=False))
            await define(self._client, converting(hook, *versions))
            self._ready.set()
            await self._over.wait()
        await server.caller.close()
        await hook.stop()
        await server.app.rest.store.close()

    def ask(self, method: str, path: str, body: Any = b"", media: str = "application/json") -> Answer:
        return self._runner.run(ask(self._client, method, path, body, content_type=media))

    def spoil(self, where: str, value: Any) -> None:
        """Have the webhook answer with this value at a place; at no place: as it should."""
        if not where:
            self._hook.raw.clear()
            self._hook.answers["/convert"] = answering(backwards)
            return
        if where == "all":
            self._hook.raw["/convert"] = http(200, orjson.dumps(value))
            return

        def answer(request: Object) -> Object:
            out = answering(backwards)(request)
            assert isinstance(out, dict)
            (obj,) = out["convertedObjects"]
            match where:
                case "response":
                    out = {"uid": value}
                case "result":
                    out["result"] = value
                case "objects":
                    out["convertedObjects"] = value
                case "object":
                    out["convertedObjects"] = [value]
                case "metadata":
                    obj["metadata"] = value
                case _:
                    obj["metadata"] = {**obj["metadata"], "labels": value}
            return out

        self._hook.answers["/convert"] = answer

    def close(self) -> None:
        self._over.set()
        self._runner.run(asyncio.wait([self._task]))
        self._runner.close()


@pytest.fixture(scope="module")
def served(pki: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = Served(pki, tmp_path_factory.mktemp("hook"))
    yield made
    made.close()


def kept(obj: Object) -> Object:
    """What of an object a conversion there and back must leave as it was."""
    meta = {key: value for key, value in obj["metadata"].items() if key not in ("managedFields", "resourceVersion", "generation")}
    return {**obj, "metadata": meta}


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(spec=SPECS, labels=LABELS, annotations=LABELS, first=st.booleans())
def test_nothing_is_lost(served: Served, spec: Object, labels: Object, annotations: Object, first: bool) -> None:
    """Created in one version, written back as it was read in the other, patched and applied there, read in the first again."""
    name = f"t{next(NAMES)}"
    mine, other, own_version, version_ = (ONE, TWO, V1, V2) if first else (TWO, ONE, V2, V1)
    meta = {"name": name, "labels": labels, "annotations": annotations, "finalizers": ["example.com/f"]}
    made = served.ask("POST", mine, {"apiVersion": own_version, "kind": "Thing", "metadata": meta, "spec": spec})
    assert made.code == 201, made.json
    seen = served.ask("GET", f"{other}/{name}").json
    assert kept(seen) == kept(backwards(made.json, version_))
    listed = served.ask("GET", f"{other}?fieldSelector=metadata.name={name}").json["items"]
    assert listed == [seen]
    put = served.ask("PUT", f"{other}/{name}", seen)
    assert (put.code, kept(put.json)) == (200, kept(seen))
    patched = served.ask("PATCH", f"{other}/{name}", {"metadata": {"labels": {"new": "1"}}}, MERGE).json
    applied = {"apiVersion": version_, "kind": "Thing", "metadata": {"name": name, "annotations": {"mine": "1"}}}
    assert served.ask("PATCH", f"{other}/{name}?fieldManager=m", applied, "application/apply-patch+yaml").code == 200
    served.ask("PATCH", f"{other}/{name}?fieldManager=m", {**applied, "metadata": {"name": name}}, "application/apply-patch+yaml")
    assert kept(patched)["spec"] == seen.get("spec")
    back = served.ask("GET", f"{mine}/{name}").json
    wanted = kept(made.json)
    wanted["metadata"]["labels"] = {**labels, "new": "1"}
    assert kept(back) == wanted
    owners = {entry["manager"] for entry in back["metadata"].get("managedFields", ())}
    assert owners <= {"test", "unknown", "m"}


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(answer=VALUES, where=st.sampled_from(("all", "response", "result", "objects", "object", "metadata", "labels")))
def test_any_answer_is_an_error_or_an_object(served: Served, answer: Any, where: str) -> None:
    """Whatever a webhook says, a client gets the object or stock's error, never a failure of the server's own."""
    served.ask("POST", ONE, {"apiVersion": V1, "kind": "Thing", "metadata": {"name": "any"}, "spec": {"a": 1}})
    served.spoil(where, answer)
    try:
        for path in (f"{TWO}/any", f"{TWO}?fieldSelector=metadata.name=any"):
            got = served.ask("GET", path)
            told = got.code == 500 and got.json["message"].startswith("conversion webhook for example.com/v1, Kind=Thing")
            assert got.code == 200 or told
    finally:
        served.spoil("", None)
