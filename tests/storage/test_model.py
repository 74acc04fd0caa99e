"""The store against a model made of plain dicts: whatever is done, both say the same."""

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kapi import storage
from kapi.objects.errors import Expired

PREFIX = "/core/pods/"
NAMES = st.sampled_from(["a/1", "a/2", "a/3", "b/1", "b/2"])
APPS = st.sampled_from(["x", "y"])


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.store = storage.open("memory:")
        self.loop.run_until_complete(self.store.start())
        self.states: list[dict[str, tuple[int, str]]] = [{}]
        """The state at each revision: key -> (revision, app)."""
        self.floor = 0
        self.watch = self.store.watch(PREFIX, 0)
        self.seen: dict[str, tuple[int, str]] = {}

    def teardown(self) -> None:
        self.loop.close()

    def commit(self, name: str, body: bytes | None, **more: Any) -> None:
        self.loop.run_until_complete(self.store.commit(PREFIX + name, body, **more))

    @rule(name=NAMES, app=APPS)
    def write(self, name: str, app: str) -> None:
        before = self.states[-1].get(PREFIX + name)
        self.commit(name, b'{"metadata":{}}', expect=before[0] if before else 0, labels={"app": app})
        self.states.append({**self.states[-1], PREFIX + name: (len(self.states), app)})

    @precondition(lambda self: self.states[-1])
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.states[-1])))
        self.commit(key[len(PREFIX) :], None, expect=None)
        self.states.append({k: v for k, v in self.states[-1].items() if k != key})

    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        self.floor = data.draw(st.integers(self.floor, len(self.states) - 1))
        self.store.compact(self.floor)

    @rule()
    def look(self) -> None:
        try:
            events = self.loop.run_until_complete(self.watch.next(0))
        except Expired:
            self.seen, self.watch = dict(self.states[-1]), self.store.watch(PREFIX, self.store.revision)
            return
        for event in events:
            assert event.type == ("DELETED" if event.entry.key not in self.states[event.revision] else event.type)
            if event.type == "DELETED":
                del self.seen[event.entry.key]
            else:
                assert (event.type == "ADDED") == (event.entry.key not in self.seen)
                self.seen[event.entry.key] = (event.revision, event.entry.labels["app"])
        assert self.seen == self.states[-1]

    @precondition(lambda self: len(self.states) > 1)
    @rule(data=st.data(), prefix=st.sampled_from([PREFIX, PREFIX + "a/", PREFIX + "b/"]), app=st.none() | APPS, limit=st.integers(0, 3))
    def list_in_pages(self, data: st.DataObject, prefix: str, app: str | None, limit: int) -> None:
        at = data.draw(st.integers(max(1, self.floor), len(self.states) - 1))
        wanted = sorted((k, v[0]) for k, v in self.states[at].items() if k.startswith(prefix) and app in (None, v[1]))
        found: list[tuple[str, int]] = []
        after, more = "", True
        while more:
            page = self.store.list(prefix, at=at, after=after, limit=limit, equals={"app": app} if app else None)
            found += [(e.key, e.revision) for e in page.entries]
            more, after = page.more, page.entries[-1].key if page.entries else ""
        assert found == wanted

    @invariant()
    def the_state_is_the_same(self) -> None:
        assert {e.key: (e.revision, e.labels["app"]) for e in self.store.list(PREFIX).entries} == self.states[-1]
        assert self.store.count(PREFIX + "a/") == sum(k.startswith(PREFIX + "a/") for k in self.states[-1])


StoreMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
TestStore = pytest.mark.slow(StoreMachine.TestCase)
