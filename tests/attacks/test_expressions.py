"""Custom resources and CEL: definitions of all sizes, rules that spend their budget, columns and lists of custom objects."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from kapi import limits
from kapi.objects.meta import Object
from tests.attacks.requests import (
    ANYTHING,
    DEFINITIONS,
    MAPS,
    NAMESPACE,
    TABLE,
    config_map,
    create,
    custom,
    define,
    definition,
    properties,
)
from tests.attacks.victim import Victim

pytestmark = pytest.mark.slow
RULES = "x-kubernetes-validations"
POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
INTEGERS: Object = {"type": "array", "items": {"type": "integer"}}


def ruled(*rules: str, **schema: Any) -> Object:
    return {**schema, RULES: [{"rule": rule} for rule in rules]}


DEFINED: dict[str, Any] = {
    "a rule of 20,000 terms": lambda: properties(spec=ruled(" && ".join(f"self > {i}" for i in range(20_000)), type="integer")),
    "a rule of 7,000 terms": lambda: properties(spec=ruled(" && ".join(f"self > {i}" for i in range(7000)), type="integer")),
    "a rule of 200,000 brackets": lambda: properties(spec=ruled("(" * 100_000 + "1" + ")" * 100_000, type="integer")),
    "a rule with a list of 200,000": lambda: properties(spec=ruled(f"self in [{','.join(map(str, range(200_000)))}]", type="integer")),
    "2,000 rules": lambda: properties(**{f"p{i}": ruled(f"self > {i} && self < 100", type="integer") for i in range(2000)}),
    "10,000 fields": lambda: properties(
        **{f"p{i}": properties(**{f"q{j}": {"type": "string", "pattern": "^a$", "maxLength": 9} for j in range(100)}) for i in range(100)}
    ),
    "20,000 wrong fields": lambda: properties(**{f"p{i}": {"type": "nonsense", "x-kubernetes-list-type": "z"} for i in range(20_000)}),
    "a default of 88,000 items": lambda: properties(
        spec={"type": "array", "items": {"type": "string"}, "default": ["a"] * 88_000}
    ),
    "a pattern of a million states": lambda: properties(spec={"type": "string", "pattern": "(a{1000}){1000}" * 1000}),
}  # fmt: skip


@pytest.mark.parametrize("what", DEFINED)
def test_definitions(victim: Victim, what: str) -> None:
    wanted = definition("Large", DEFINED[what]())
    with victim.watched(f"a definition with {what}") as cost:
        status, answer = victim.ask("POST", DEFINITIONS, wanted)
        if status == 201:
            assert victim.ask("GET", "/openapi/v3/apis/attack.example.com/v1", headers={"Accept": "application/json"})[0] in (200, 404)
    assert status in (201, 400, 413, 422), answer
    cost.check()
    if status == 201:
        assert victim.ask("DELETE", f"{DEFINITIONS}/{wanted['metadata']['name']}")[0] == 200


FIELDS = properties(**{f"f{i}": {"type": "string"} for i in range(20_000)})


@pytest.mark.parametrize(("what", "wanted"), [
    ("a storage version", [definition("Shown", FIELDS, storage=False), definition("Shown", ANYTHING, storage=False, name="v2")]),
    ("a root that a status may have", [definition("Shown", {**FIELDS, "minProperties": 1}, subresources={"status": {}})]),
])  # fmt: skip
def test_definitions_that_causes_show(victim: Victim, what: str, wanted: list[Object]) -> None:
    """Stock prints the whole schema, which is twenty times as long that way."""
    obj = wanted[0]
    obj["spec"]["versions"] = [one["spec"]["versions"][0] for one in wanted]
    with victim.watched(f"a definition of 20,000 fields without {what}") as cost:
        status, answer = victim.ask("POST", DEFINITIONS, obj)
    assert status == 422
    assert "Invalid value: " in answer["message"]
    assert len(answer["message"]) < 2 * limits.QUOTED_VALUE
    cost.check()


SPENT: dict[str, tuple[str, Object, Any]] = {
    "pairs of 1,000 numbers": (
        "Pair",
        ruled("self.all(x, self.exists(y, y < 0) || true)", maxItems=1000, **INTEGERS),
        list(range(1000)),
    ),
    "a text of 190,000 characters matched": (
        "Match",
        ruled("!self.matches('(x+x+)+y$')", type="string", maxLength=200_000),
        "x" * 190_000,
    ),
    "a text that grows": (
        "Growth",
        ruled("self.replace('x', self).size() > 0", type="string", maxLength=3000),
        "x" * 2900,
    ),
}


@pytest.mark.parametrize("what", SPENT)
def test_rules(victim: Victim, what: str) -> None:
    kind, schema, value = SPENT[what]
    path = define(victim, kind, properties(spec=schema))
    for turn in ("first", "second"):
        with victim.watched(f"rule: {what} ({turn})") as cost:
            status, answer = victim.ask("POST", f"{path}?dryRun=All", custom(kind, "spent", spec=value))
        assert status in (201, 422), answer
        cost.check()


@pytest.mark.parametrize(("what", "rule", "expected"), [
    ("Letter", "self.findAll('a').size() == 2000000", 201),
    ("Class", "self.findAll('[a-z]').size() > 0", 422),
])  # fmt: skip
def test_many_matches_at_once(victim: Victim, what: str, rule: str, expected: int) -> None:
    """Two requests whose rule finds 2,000,000 matches hold neither the worker threads nor larger writes of others."""
    path = define(victim, what, properties(s=ruled(rule, type="string", maxLength=2_000_000)))
    with ThreadPoolExecutor(2) as threads, victim.watched(f"rule: {rule}") as cost:
        asked = [threads.submit(victim.ask, "POST", path, custom(what, f"m{i}", s="a" * 2_000_000)) for i in range(2)]
        began = time.monotonic()
        create(victim, MAPS, {**config_map(f"beside-{what.lower()}"), "data": {"a": "x" * 100_000}})
        cost.note = f"another's write: {1e3 * (time.monotonic() - began):.0f} ms"
        assert time.monotonic() - began < 3
        assert [one.result()[0] for one in asked] == [expected] * 2
    cost.check()


def test_large_objects_that_wait_for_rules(victim: Victim) -> None:
    """Objects of the size of all that may be worked on at once hold no large writes of others, however long their rules take."""
    rule = ruled("self.all(x, self.all(y, y != x + 5000))", maxItems=340, **INTEGERS)
    path = define(victim, "Wait", properties(text={"type": "string"}, **{f"s{i}": rule for i in range(20)}))
    spent = custom("Wait", "spent", text="x" * 2_500_000, **{f"s{i}": list(range(300)) for i in range(20)})
    with ThreadPoolExecutor(6) as threads, victim.watched("rules: six objects of 2.5 MB that wait for them") as cost:
        asked = [threads.submit(victim.ask, "POST", path, spent) for _ in range(6)]
        time.sleep(0.5)  # until the first is at its rules
        began = time.monotonic()
        create(victim, MAPS, {**config_map("beside-rules"), "data": {"a": "x" * 1_000_000}})
        took = time.monotonic() - began
        waiting = sum(not one.done() for one in asked)
        cost.note = f"another's write: {1e3 * took:.0f} ms"
        assert waiting >= 5
        assert took < 3
        assert {one.result()[0] for one in asked} <= {422, 429}
    cost.check()


def test_rules_that_spend_the_budget_of_an_object(victim: Victim) -> None:
    rule = "self.all(x, self.all(y, y != x + 5000))"
    path = define(victim, "Budget", properties(**{f"s{i}": ruled(rule, maxItems=340, **INTEGERS) for i in range(20)}))
    wanted = custom("Budget", "spent", **{f"s{i}": list(range(300)) for i in range(20)})
    for turn in ("first", "second"):
        with victim.watched(f"rules: all the budget of an object ({turn})") as cost:
            status, answer = victim.ask("POST", path, wanted)
        assert status == 422
        assert "out of cost budget" in answer["message"]
        cost.check()


DEEP = {
    "9,000 levels around 200,000 numbers": b"[" * 9000 + b"1," * 200_000 + b"1" + b"]" * 9000,
    "9,000 levels with a text in each": b'["' + b'aaaaaaaaaa",["' * 8999 + b'a"' + b"]" * 9000,
    "500 parts of 250 levels": b"[" + b",".join([b"[" * 250 + b"]" * 250] * 500) + b"]",
    "a million brackets": b"[" * 500_000 + b"]" * 500_000,
}


@pytest.mark.parametrize("what", DEEP)
def test_deep_objects(victim: Victim, what: str) -> None:
    path = define(victim, f"Deep{list(DEEP).index(what)}", properties(spec=ANYTHING))
    head = b'{"apiVersion":"attack.example.com/v1","kind":"Deep%d","metadata":{"name":"deep"},"spec":{"a":' % list(DEEP).index(what)
    partial = {"Accept": "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"}
    with victim.watched(f"an object of {what}") as cost:
        status, answer = victim.ask("POST", path, head + DEEP[what] + b"}}", headers=partial)
    assert status in (201, 400, 413), answer  # 413: written as JSON in "Wire bytes" they are more than a body may have.
    cost.check()
    if status == 201:
        patch = {**partial, "Content-Type": "application/merge-patch+json"}
        with victim.watched(f"a patch of {what}") as cost:
            status, answer = victim.ask("PATCH", f"{path}/deep", b'{"spec":{"b":%s}}' % DEEP[what], headers=patch)
        assert status in (200, 413), answer
        cost.check()


def _policy(name: str, **spec: Any) -> Object:
    rules = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["endpoints"]}]
    return {"metadata": {"name": name}, "spec": {"failurePolicy": "Fail", "matchConstraints": {"resourceRules": rules}, **spec}}


PAIRS = "object.metadata.finalizers.all(x, object.metadata.finalizers.all(y, x != y + 'z'))"


@pytest.mark.parametrize(("what", "spec"), [
    ("validations", {"validations": [{"expression": PAIRS}] * 8}),
    ("conditions", {
        "matchConditions": [{"name": f"m{i}", "expression": PAIRS} for i in range(20)],
        "validations": [{"expression": "true"}],
    }),
])  # fmt: skip
def test_policies(victim: Victim, what: str, spec: Object) -> None:
    name = f"pairs-of-{what}"
    create(victim, POLICIES, _policy(name, **spec))
    binding = {"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}}
    create(victim, POLICIES.replace("policies", "policybindings"), binding)
    many = {"metadata": {"name": "many", "finalizers": [f"example.com/f{i}" for i in range(300)]}}
    for turn in ("first", "second"):
        with victim.watched(f"policy: {what} that spend their budget ({turn})") as cost:
            status, answer = victim.ask("POST", f"{NAMESPACE}/endpoints?dryRun=All", many)
        assert status in (201, 422), answer
        cost.check()
    assert victim.ask("DELETE", f"{POLICIES}/{name}")[0] == 200


@pytest.mark.parametrize(("what", "spec"), [
    ("a validation of 20,000 terms", {"validations": [{"expression": " && ".join(["object.metadata.name != 'a'"] * 20_000)}]}),
    ("5,000 validations", {"validations": [{"expression": f"object.metadata.name != 'a{i}'"} for i in range(5000)]}),
])  # fmt: skip
def test_large_policies(victim: Victim, what: str, spec: Object) -> None:
    with victim.watched(f"a policy with {what}") as cost:
        status, answer = victim.ask("POST", POLICIES, _policy("large", **spec))
    assert status in (201, 400, 422), answer
    cost.check()


# custom objects ---------------------------------------------------------------------------------------------------------------------


def test_sets_of_many_items(victim: Victim) -> None:
    unique = {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}
    path = define(victim, "Set", properties(spec=properties(l=unique)))
    for what, items, wanted in (
        ("88,000 items", [f"v{i}" for i in range(88_000)], 201),
        ("44,000 doubles", [f"v{i // 2}" for i in range(88_000)], 422),
    ):
        with victim.watched(f"a set of {what}") as cost:
            status, _ = victim.ask("POST", f"{path}?dryRun=All", custom("Set", "set", spec={"l": items}))
        assert status == wanted
        cost.check()


WRONG: dict[str, tuple[Object, list[str]]] = {
    "88,000 items of a wrong pattern": ({"pattern": "^a$"}, ["v"] * 88_000),
    "50,000 items of an enum of 5,000": ({"enum": [f"e{i}" for i in range(5000)]}, ["e4999"] * 50_000),
    "5,000 items of no enum of 5,000": ({"enum": [f"e{i}" for i in range(5000)]}, ["x"] * 5000),
    "20,000 items with 100 alternatives": ({"anyOf": [{"pattern": f"^z{i}$"} for i in range(100)]}, ["x"] * 20_000),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_schemas_say(victim: Victim, what: str) -> None:
    kind = f"Wrong{list(WRONG).index(what)}"
    checks, items = WRONG[what]
    path = define(victim, kind, properties(spec={"type": "array", "items": {"type": "string", **checks}}))
    with victim.watched(f"custom object: {what}") as cost:
        status, answer = victim.ask("POST", f"{path}?dryRun=All", custom(kind, "wrong", spec=items))
    assert status in (201, 422), answer
    cost.check()


def test_columns_that_lead_everywhere(victim: Victim) -> None:
    columns = [{"name": f"c{i}", "type": "string", "jsonPath": "..x"} for i in range(8)]
    columns.append({"name": "deep", "type": "string", "jsonPath": "..a" * 9 + ".z"})
    path = define(victim, "Column", ANYTHING, columns)
    deep: Object = {"z": 1}
    for _ in range(60):
        deep = {"a": deep}
    for number in range(5):
        create(victim, path, custom("Column", f"c{number}", spec=[[{"y": j} for j in range(100)] for _ in range(100)], deep=deep))
    for what, at in (("one object", f"{path}/c1"), ("a list", path)):
        with victim.watched(f"columns of a recursive JSONPath: {what}") as cost:
            assert victim.ask("GET", at, headers=TABLE)[0] == 200
        cost.check()


def test_openapi_of_many_definitions(victim: Victim) -> None:
    fields = {f"q{j}": {"type": "string", "description": "d" * 50} for j in range(30)}
    for number in range(40):
        create(victim, DEFINITIONS, definition(f"Doc{number}", properties(**{f"p{i}": properties(**fields) for i in range(10)})))
    for what, accept in (("JSON", "application/json"), ("protobuf", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")):
        with victim.watched(f"/openapi/v2 of 40 definitions with 300 fields: {what}") as cost:
            assert victim.ask("GET", "/openapi/v2", headers={"Accept": accept})[0] == 200
        cost.check()
    create(victim, MAPS, config_map("after"))
