from typing import Any

import pytest

from kapi.objects import jsonpath

OBJECT = {
    "spec": {"size": 1, "a.b": "dotted", "list": [{"n": "x", "v": 1}, {"n": "y", "v": 2, "w": None}, {"n": "z", "v": "3"}]},
    "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}]},
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".spec.size", [1]), (".spec.none.size", []), (".spec.a\\.b", ["dotted"]), (".spec['a.b']", ["dotted"]),
        (".spec.list[0].n", ["x"]), (".spec.list[-1].n", ["z"]), (".spec.list[9].n", []), (".spec.list[*].n", ["x", "y", "z"]),
        (".spec.list[0:2].n", ["x", "y"]), (".spec.list[1:].n", ["y", "z"]), ("..v", [1, 2, "3"]), (".status.*[0].type", ["Ready"]),
        ('.status.conditions[?(@.type=="Ready")].status', ["True"]), (".status.conditions[?(@.type=='None')].status", []),
        (".spec.list[?(@.v>1)].n", ["y"]), (".spec.list[?(@.v!=1)].n", ["y", "z"]), (".spec.list[?(@.w)].n", ["y"]), ("[", []),
    ],
)  # fmt: skip
def test_where_paths_lead(path: str, found: list[Any]) -> None:
    assert jsonpath.find(path, OBJECT) == found
