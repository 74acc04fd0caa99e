"""The pipeline by itself: what admission sees and when, attempts that are repeated, allocations that are given back."""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest

from kapi.api.app import App
from kapi.objects import errors
from kapi.objects.meta import Object
from kapi.objects.user import User
from kapi.registry.admission import AdmissionAttributes
from kapi.registry.call import Call
from kapi.registry.kind import Kind
from kapi.registry.rest import Rest

JANE = User("jane")


class Admission:
    """Writes down what it is asked; `meanwhile` happens between the reading of an object and its writing."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.meanwhile: Callable[[AdmissionAttributes], Awaitable[None]] | None = None
        self.refusal: errors.StatusError | None = None

    async def mutate(self, attrs: AdmissionAttributes) -> None:
        self.asked.append(("mutate", attrs.operation))
        if attrs.new is not None:
            attrs.new["metadata"].setdefault("labels", {})["admitted"] = "yes"
        if self.meanwhile:
            await self.meanwhile(attrs)

    async def validate(self, attrs: AdmissionAttributes) -> None:
        self.asked.append(("validate", attrs.operation))
        if self.refusal:
            raise self.refusal

    def waits(self, attrs: AdmissionAttributes) -> bool:
        return False


@pytest.fixture
def admission() -> Admission:
    return Admission()


@pytest.fixture
def rest(app: App, admission: Admission) -> Rest:
    """A pipeline over the server's store, with an admission of our own."""
    return Rest(app.rest.store, admission, app.rest.allocators)


def kind(app: App, plural: str) -> Kind:
    found = app.catalogue.get("", "v1", plural)
    assert found is not None
    return found


def call(of: Kind, name: str = "", **more: Any) -> Call:
    return Call(kind=of, user=JANE, namespace="default", name=name, **more)


def config_map(name: str, n: int = 0) -> Object:
    return {"metadata": {"name": name, "namespace": "default"}, "data": {"n": str(n)}}


def add(current: Object) -> Object:
    return {**current, "data": {"n": str(int(current["data"]["n"]) + 1)}}


async def test_admission_comes_before_and_after_validation(app: App, rest: Rest, admission: Admission) -> None:
    maps = kind(app, "configmaps")
    written = await rest.create(call(maps), config_map("a"))
    assert orjson.loads(written.body)["metadata"]["labels"] == {"admitted": "yes"}
    with pytest.raises(errors.Invalid):
        await rest.create(call(maps), {"metadata": {"name": "BAD", "namespace": "default"}})
    assert admission.asked == [("mutate", "CREATE"), ("validate", "CREATE"), ("mutate", "CREATE")], "what is invalid is not validated twice"


async def test_whatever_is_written_is_defaulted(app: App, rest: Rest) -> None:
    services = kind(app, "services")
    made = await rest.create(call(services), {"metadata": {"name": "s", "namespace": "default"}, "spec": {"ports": [{"port": 80}]}})
    assert orjson.loads(made.body)["spec"]["sessionAffinity"] == "None"

    def change(old: Object) -> Object:
        del old["spec"]["sessionAffinity"]
        return old

    changed = await rest.update(call(services, "s"), change)
    assert orjson.loads(changed.body)["spec"]["sessionAffinity"] == "None"


async def test_a_refusal_leaves_nothing(app: App, rest: Rest, admission: Admission) -> None:
    services = kind(app, "services")
    admission.refusal = errors.Forbidden("no")
    wanted: Object = {"metadata": {"name": "s", "namespace": "default"}, "spec": {"ports": [{"port": 80}], "clusterIP": "10.96.9.9"}}
    with pytest.raises(errors.Forbidden):
        await rest.create(call(services), wanted)
    with pytest.raises(errors.NotFound):
        rest.get(services, "default", "s")
    admission.refusal = None
    written = await rest.create(call(services), wanted)
    assert orjson.loads(written.body)["spec"]["clusterIP"] == "10.96.9.9", "the address was free again"


async def test_a_change_is_made_anew_on_what_came_between(app: App, rest: Rest, admission: Admission) -> None:
    maps = kind(app, "configmaps")
    await rest.create(call(maps), config_map("a"))

    async def once(attrs: AdmissionAttributes) -> None:
        admission.meanwhile = None
        await rest.update(call(maps, "a"), add)

    admission.meanwhile = once
    written = await rest.update(call(maps, "a"), add)
    assert orjson.loads(written.body)["data"] == {"n": "2"}


async def test_whoever_always_comes_too_late_is_told(app: App, rest: Rest, admission: Admission) -> None:
    maps = kind(app, "configmaps")
    await rest.create(call(maps), config_map("a"))
    faster = Rest(rest.store, Admission())

    async def always(attrs: AdmissionAttributes) -> None:
        await faster.update(call(maps, "a"), add)

    admission.meanwhile = always
    with pytest.raises(errors.Conflict, match="the object has been modified"):
        await rest.update(call(maps, "a"), lambda current: {**current, "data": {"n": "-1"}})
    assert rest.get(maps, "default", "a").obj["data"]["n"] == "5", "five times"


async def test_a_generated_name_that_is_taken_is_drawn_again(app: App, rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    maps = kind(app, "configmaps")
    drawn = iter(["x-bbbbb", "x-bbbbb", "x-ccccc"])
    monkeypatch.setattr("kapi.registry.metadata.generate_name", lambda base: next(drawn))
    for expected in ("x-bbbbb", "x-ccccc"):
        written = await rest.create(call(maps), {"metadata": {"generateName": "x-", "namespace": "default"}})
        assert orjson.loads(written.body)["metadata"]["name"] == expected


async def test_a_rehearsal_goes_all_the_way_but_the_last(app: App, rest: Rest, admission: Admission) -> None:
    maps = kind(app, "configmaps")
    revision = rest.store.revision
    written = await rest.create(call(maps, dry_run=True), config_map("a"))
    assert orjson.loads(written.body)["metadata"]["uid"]
    assert admission.asked == [("mutate", "CREATE"), ("validate", "CREATE")]
    assert rest.store.revision == revision
