"""What clients make up (resources, groups, verbs, names, selectors, headers) leaves nothing behind: no label, no entry of a cache."""

import http.client
import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from tests.attacks.victim import Victim

pytestmark = pytest.mark.slow
REQUESTS = 3000
GROWTH = 6.0
"""MB of memory that thousands of requests may leave behind: what is remembered of short texts, up to its bound."""


class Line:
    """One kept connection of a client."""

    def __init__(self, victim: Victim, token: str = "") -> None:
        self._line = http.client.HTTPSConnection("127.0.0.1", victim.port, context=victim.tls(), timeout=60)
        self._fixed = {"Authorization": f"Bearer {token}"} if token else {}

    def close(self) -> None:
        self._line.close()

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None) -> int:
        self._line.request(method, path, body, {**self._fixed, **(headers or {})})
        answer = self._line.getresponse()
        answer.read()
        return answer.status


@pytest.fixture
def lines(victim: Victim) -> Iterator[Callable[[str], Line]]:
    """Opens connections with a token, or without one."""
    with ExitStack() as open_ones:
        yield lambda token: open_ones.enter_context(closing(Line(victim, token)))


def series(victim: Victim) -> set[str]:
    """All lines of /metrics without their numbers."""
    code, text = victim.ask("GET", "/metrics")
    assert code == 200
    return {line.rpartition(b" ")[0].decode() for line in text.splitlines()}


def made_up() -> Iterator[tuple[str, str]]:
    """Requests for what nobody serves."""
    methods = itertools.cycle(("GET", "POST", "DELETE", "PATCH", "PROPFIND", "REPORT", "OPTIONS"))
    for i in range(REQUESTS // 5):
        yield next(methods), f"/apis/made-up-{i}.example/v1/things"
        yield next(methods), f"/apis/apps/v{i}/namespaces/n-{i}/deployments/d/made-up-{i}"
        yield next(methods), f"/api/v1/namespaces/default/things-{i}/t"
        yield next(methods), f"/api/v1/namespaces/default/endpoints/e/sub-{i}"
        yield next(methods), f"/made/up/{i}"


@pytest.mark.parametrize("who", ["anonymous", "administrator"])
def test_requests_for_what_is_not_served(victim: Victim, lines: Callable[[str], Line], who: str) -> None:
    line = lines(victim.token if who == "administrator" else "")
    for method, path in itertools.islice(made_up(), 100):
        line.ask(method, path)
    before = series(victim)
    with victim.watched(f"{REQUESTS} requests for made-up resources, {who}") as cost:
        for method, path in made_up():
            assert line.ask(method, path) in ((401, 403, 404, 405) if who == "administrator" else (401, 403))
    new = {text for text in series(victim) - before if 'resource="namespaces"' not in text}  # which the other user gets meanwhile
    assert {text for text in new if 'verb="OTHER"' not in text} == set()
    assert len(new) < 100
    cost.check()
    assert cost.megabytes <= GROWTH


def test_a_scrape_holds_nobody_up(victim: Victim, lines: Callable[[str], Line]) -> None:
    line = lines(victim.token)
    for group, version, plural in (("/apis/apps", "v1", "deployments"), ("/api", "v1", "pods"), ("/api", "v1", "secrets")):
        for code, method in itertools.product(range(20), ("GET", "POST", "PUT", "PATCH", "DELETE")):
            line.ask(method, f"{group}/{version}/namespaces/default/{plural}/x{code}")
    with victim.watched("50 scrapes") as cost:
        for _ in range(50):
            assert line.ask("GET", "/metrics") == 200
    cost.check()


LONG = "x" * 8000


def long_texts(i: int) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Requests that say something long where the server remembers what was said."""
    maps = "/api/v1/namespaces/default/configmaps"
    yield "GET", f"{maps}/{i}{LONG}", {}
    yield "GET", f"/made/up/{i}{LONG}", {}
    yield "GET", f"{maps}?labelSelector=a%3D{i},b+in+({','.join(f'v{n}' for n in range(1500))})", {}
    yield "GET", f"{maps}?fieldSelector=metadata.name%3D{i}{LONG}", {}
    yield "GET", f"{maps}?nonsense={i}{LONG}", {}
    yield "GET", maps, {"Accept": f"application/json;{i}={LONG}"}
    yield "GET", maps, {"User-Agent": f"{i}{LONG}"}


def test_long_texts_are_not_remembered(victim: Victim, lines: Callable[[str], Line]) -> None:
    line = lines(victim.token)
    for i, _ in enumerate(range(20)):
        for method, path, headers in long_texts(i):
            line.ask(method, path, headers)
    with victim.watched("2,800 requests with 8 kB of made-up text each") as cost:
        for i in range(100, 500):
            for method, path, headers in long_texts(i):
                line.ask(method, path, headers)
    cost.check()
    assert cost.megabytes <= GROWTH


def test_long_values_of_objects_are_not_remembered(victim: Victim, lines: Callable[[str], Line]) -> None:
    """Labels, quantities, times, addresses: what is wrong in a body is remembered by its text as well."""
    line = lines(victim.token)
    json = {"Content-Type": "application/json"}

    def send(i: int) -> None:
        big = (str(i) + "x" * 1_000_000).encode()
        for body in (b'{"metadata":{"name":"m","labels":{"k":"%s"}}}', b'{"metadata":{"name":"m","annotations":{"%s":""}}}'):
            assert line.ask("POST", "/api/v1/namespaces/default/configmaps?dryRun=All", json, body % big) in (400, 413, 422)

    for i in range(3):
        send(i)
    with victim.watched("60 objects with a label or key of 1 MB") as cost:
        for i in range(10, 40):
            send(i)
    cost.check()
    assert cost.megabytes <= 24
