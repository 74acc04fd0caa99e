"""The route of a request that `python -m tests.route` shows is the one it takes, short enough to read."""

import pytest

from kapi.objects import meta
from tests import route
from tests.house import ROOT

ROUTES = {
    "GET /api/v1/namespaces/default/pods": ("kapi/http/protocol.py", "kapi/api/app.py", "kapi/api/reading.py", "kapi/storage/store.py"),
    "POST /api/v1/namespaces/default/configmaps": (
        "kapi/api/app.py", "kapi/access/authorization.py", "kapi/schema/decode.py", "kapi/registry/rest.py", "kapi/admission/chain.py",
        "kapi/storage/backend.py",
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("request_", ROUTES)
async def test_the_route_names_the_files_in_order(request_: str) -> None:
    answer, passed = await route.route(request_, '{"metadata": {"name": "a"}}' if request_.startswith("POST") else "")
    assert answer.startswith(b"HTTP/1.1 20")
    shown = [*route.lines(passed)]
    assert len(shown) <= 40
    assert max(map(len, shown)) <= route.WIDTH
    files = [line.partition(":")[0] for line in shown]
    places = [files.index(file) for file in ROUTES[request_]]
    assert places == sorted(places)
    assert len(files) == len(set(files))
    assert len([*route.lines(passed, everything=True)]) > len(shown)


def test_what_runs_in_a_block_is_recorded_once_where_it_is_defined() -> None:
    with route.recorded() as passed:
        for _ in range(2):
            meta.name({"metadata": {"name": "a"}})
    assert [(one.file, one.name) for one in passed] == [("kapi/objects/meta.py", "name"), ("kapi/objects/meta.py", "metadata")]
    lines = (ROOT / passed[0].file).read_text().splitlines()
    assert lines[passed[0].line - 1].startswith("def name(")
