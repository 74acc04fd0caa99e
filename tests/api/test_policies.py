"""Admission policies: an API server that follows them, and what its clients are told."""

from typing import Any

import pytest

from kapi.apiserver.assembly import Server
from kapi.client.client import Client
from kapi.objects import errors
from kapi.objects.meta import Object
from kapi.objects.resource import CONFIG_MAPS, DEPLOYMENTS, NAMESPACES, Resource
from tests.api.asking import MAPS, as_user, ask, config_map, deployment

GROUP = "admissionregistration.k8s.io"
POLICIES = Resource(GROUP, "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", False)
BINDINGS = Resource(GROUP, "v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", False)
MUTATING = Resource(GROUP, "v1", "mutatingadmissionpolicies", "MutatingAdmissionPolicy", False)
MUTATING_BINDINGS = Resource(GROUP, "v1", "mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding", False)
ON_MAPS: Object = {"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}
DENIED = "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: "


async def policy(client: Client, *checks: Object | str, name: str = "p", rules: Object = ON_MAPS, **more: Any) -> None:
    """A validating policy on config maps."""
    listed = [check if isinstance(check, dict) else {"expression": check} for check in checks]
    spec = {"matchConstraints": {"resourceRules": [rules]}, "validations": listed, **more}
    await client.create(POLICIES, {"metadata": {"name": name}, "spec": spec})


async def bind(client: Client, *actions: str, name: str = "b", to: str = "p", **more: Any) -> None:
    spec = {"policyName": to, "validationActions": list(actions) or ["Deny"], **more}
    await client.create(BINDINGS, {"metadata": {"name": name}, "spec": spec})


async def mutation(client: Client, *mutations: str, name: str = "m", again: str = "Never", rules: Object = ON_MAPS, **more: Any) -> None:
    """A mutating policy with its binding; what begins with '[' is a JSON patch."""
    listed = [
        {"patchType": "JSONPatch", "jsonPatch": {"expression": text}}
        if text.startswith("[")
        else {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": text}}
        for text in mutations
    ]
    spec = {"matchConstraints": {"resourceRules": [rules]}, "mutations": listed, "reinvocationPolicy": again, **more}
    await client.create(MUTATING, {"metadata": {"name": name}, "spec": spec})
    await client.create(MUTATING_BINDINGS, {"metadata": {"name": f"{name}-b"}, "spec": {"policyName": name}})


async def made(client: Client, name: str = "a", data: dict[str, str] | None = None, **meta: Any) -> Object:
    return await client.create(CONFIG_MAPS, config_map(name, data, **meta))


async def refused(client: Client, name: str = "a", data: dict[str, str] | None = None) -> errors.StatusError:
    with pytest.raises(errors.StatusError) as caught:
        await made(client, name, data)
    return caught.value


async def test_a_check_that_does_not_hold(client: Client) -> None:
    await policy(client, "object.metadata.name != 'bad'")
    assert (await made(client, "bad"))["metadata"]["name"] == "bad"
    await client.delete(CONFIG_MAPS, "bad", namespace="default")
    await bind(client)
    await made(client, "good")
    no = await refused(client, "bad")
    told = DENIED + "failed expression: object.metadata.name != 'bad'"
    assert (no.code, no.reason, no.message) == (422, "Invalid", f'configmaps "bad" is forbidden: {told}')
    assert no.details == {"name": "bad", "kind": "configmaps", "causes": [{"message": told}]}


async def test_messages_and_reasons(client: Client) -> None:
    await policy(
        client,
        {"expression": "object.data.a != '1'", "message": " is one "},
        {"expression": "object.data.a != '2'", "messageExpression": "'is ' + object.data.a", "reason": "Forbidden"},
        {"expression": "object.data.a != '3'", "messageExpression": "string(object.data.none)", "message": "three"},
        {"expression": "object.data.a != '4'", "messageExpression": "'  '"},
    )
    await bind(client)
    assert [((no := await refused(client, "a", {"a": a})).code, no.message.partition(DENIED)[2]) for a in "1234"] == [
        (422, "is one"), (403, "is 2"), (422, "three"), (422, "failed expression: object.data.a != '4'"),
    ]  # fmt: skip


async def test_warnings_and_audit(client: Client) -> None:
    await policy(client, "false", auditAnnotations=[{"key": "k", "valueExpression": "'of ' + object.metadata.name"}])
    await bind(client, "Warn", "Audit")
    answer = await ask(client, "POST", MAPS, config_map("a"))
    assert answer.code == 201
    assert answer.headers["warning"] == (
        "299 - \"Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': failed expression: false\""
    )


async def test_errors_follow_failure_policy(client: Client) -> None:
    await policy(client, "object.data.none == ''")
    await bind(client)
    told = "expression 'object.data.none == ''' resulted in error: no such key: none"
    assert (await refused(client, "a", {"k": "v"})).message.endswith(DENIED + told)
    await client.patch(POLICIES, "p", {"spec": {"failurePolicy": "Ignore"}})
    await made(client)


async def test_parameters(client: Client) -> None:
    await client.create(CONFIG_MAPS, config_map("limits", {"most": "2"}, labels={"is": "limit"}))
    await policy(
        client, "object.data.size() <= int(params.data.most)", paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
        matchConditions=[{"name": "c", "expression": "object == null || object.metadata.name != 'free'"}],
    )  # fmt: skip
    await bind(client, paramRef={"name": "limits", "parameterNotFoundAction": "Deny"})
    await made(client, "small", {"a": "", "b": ""})
    await made(client, "free", dict.fromkeys("abc", ""))
    assert DENIED in (await refused(client, "big", dict.fromkeys("abc", ""))).message
    await bind(client, name="c", paramRef={"selector": {"matchLabels": {"is": "gone"}}, "parameterNotFoundAction": "Allow"})
    await made(client, "small-too", {"a": ""})
    await bind(client, name="a", paramRef={"name": "none", "namespace": "default", "parameterNotFoundAction": "Deny"})
    assert (await refused(client, "last")).message.endswith(
        "ValidatingAdmissionPolicy 'p' with binding 'a' denied request: failed to configure binding: no params found for policy binding "
        "with `Deny` parameterNotFoundAction"
    )


async def test_a_kind_of_parameters_that_is_not_served(client: Client) -> None:
    await policy(client, "true", paramKind={"apiVersion": "example.com/v1", "kind": "Limit"})
    await bind(client)
    assert (await refused(client)).message.endswith(
        "ValidatingAdmissionPolicy 'p' denied request: failed to configure policy: failed to find resource referenced by paramKind: "
        "'example.com/v1, Kind=Limit'"
    )


async def test_variables(client: Client) -> None:
    variables = [{"name": "n", "expression": "object.data.size()"}, {"name": "double", "expression": "variables.n * 2"}]
    await policy(
        client, {"expression": "variables.double < 4", "messageExpression": "'%d is too much'.format([variables.double])"},
        variables=variables,
    )  # fmt: skip
    await bind(client)
    await made(client, "a", {"a": ""})
    assert (await refused(client, "b", {"a": "", "b": ""})).message.endswith("4 is too much")


async def test_what_expressions_see(client: Client) -> None:
    await policy(
        client,
        "request.operation in ['CREATE', 'UPDATE', 'DELETE'] && request.resource.resource == 'configmaps'",
        "request.kind.kind == 'ConfigMap' && request.requestKind == request.kind && request.options.kind.endsWith('Options')",
        "request.operation == 'DELETE' ? object == null : object.kind == 'ConfigMap' && object.apiVersion == 'v1'",
        "request.operation == 'CREATE' ? oldObject == null : has(oldObject.metadata.uid)",
        "request.name == 'a' && request.namespace == 'default' && !request.dryRun",
        "namespaceObject.metadata.name == 'default' && namespaceObject.metadata.creationTimestamp < timestamp('2100-01-01T00:00:00Z')",
        "request.userInfo.username == 'admin' || 'some' in request.userInfo.groups",
    )
    await bind(client)
    await made(as_user(client, "other", "some", "system:masters"))
    await client.patch(CONFIG_MAPS, "a", {"data": {"a": "b"}}, namespace="default")
    await client.delete(CONFIG_MAPS, "a", namespace="default")


async def test_the_authorizer(client: Client) -> None:
    await policy(
        client,
        "authorizer.requestResource.check('create').allowed()",
        "authorizer.group('').resource('pods').namespace('default').check('delete').allowed()",
        "!authorizer.serviceAccount('default', 'some').group('').resource('secrets').check('get').allowed()",
        "authorizer.path('/version').check('get').allowed()",
    )
    await bind(client)
    await made(client)


async def test_selectors_and_names(client: Client) -> None:
    await policy(client, "false")
    await bind(client, matchResources={"objectSelector": {"matchLabels": {"strict": "yes"}}})
    await made(client, "a")
    with pytest.raises(errors.StatusError):
        await made(client, "b", labels={"strict": "yes"})
    await bind(client, name="named", matchResources={"resourceRules": [ON_MAPS | {"resourceNames": ["c"]}]})
    await made(client, "d")
    assert "with binding 'named'" in (await refused(client, "c")).message


async def test_what_is_excluded(client: Client) -> None:
    match = {"resourceRules": [ON_MAPS], "excludeResourceRules": [ON_MAPS | {"operations": ["CREATE"]}]}
    await policy(client, "false", matchConstraints=match)
    await bind(client)
    await made(client)
    with pytest.raises(errors.StatusError, match="denied request"):
        await client.patch(CONFIG_MAPS, "a", {"data": {"a": "b"}}, namespace="default")


@pytest.mark.slow
async def test_the_budget(client: Client) -> None:
    slow = "object.data.all(a, object.data.all(b, object.data.all(c, a + b + c != '')))"
    await policy(client, slow)
    await bind(client)
    told = (await refused(client, "a", {f"k{i}": "" for i in range(120)})).message
    assert told.endswith(f"expression '{slow}' resulted in error: operation cancelled: actual cost limit exceeded")


async def test_policies_do_not_judge_themselves(client: Client) -> None:
    rules = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}
    await policy(client, "false", rules=rules)
    await bind(client)
    await client.delete(BINDINGS, "b")
    await client.create(NAMESPACES, {"metadata": {"name": "free"}})


async def test_an_apply_configuration(client: Client) -> None:
    await mutation(
        client,
        "Object{metadata: Object.metadata{labels: Object.metadata.labels{by: 'policy'}}, data: Object.data{added: object.metadata.name}}",
        "object.data.added == 'a' ? Object{data: Object.data{more: 'yes'}} : Object{}",
    )
    found = await made(client, "a", {"kept": "1"}, labels={"own": "l"})
    assert found["metadata"]["labels"] == {"own": "l", "by": "policy"}
    assert found["data"] == {"kept": "1", "added": "a", "more": "yes"}


async def test_a_configuration_merges_by_keys(client: Client) -> None:
    rules = {"operations": ["CREATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"]}
    await mutation(
        client,
        """Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{
             containers: object.spec.template.spec.containers.map(c, Object.spec.template.spec.containers.item{
               name: c.name, imagePullPolicy: "Never"})}}}}""",
        rules=rules,
    )
    found = await client.create(DEPLOYMENTS, deployment("d"))
    (container,) = found["spec"]["template"]["spec"]["containers"]
    assert container["imagePullPolicy"] == "Never"
    assert container["image"]


async def test_what_cannot_be_applied(client: Client) -> None:
    await mutation(client, "Object{spec: Object.spec{a: 1}}")
    no = await refused(client)
    assert (no.code, no.reason) == (403, "Invalid")
    assert no.message == (
        "policy 'm' with binding 'm-b' denied request: error applying patch: failed to convert patch object to typed object: "
        ".spec: field not declared in schema"
    )


async def test_a_json_patch(client: Client) -> None:
    await mutation(
        client,
        """[JSONPatch{op: "test", path: "/data/mode", value: "auto"},
            JSONPatch{op: "add", path: "/metadata/labels", value: {"a": "b"}},
            JSONPatch{op: "replace", path: "/data/" + jsonpatch.escapeKey("x.y"), value: string(object.data.size())},
            JSONPatch{op: "remove", path: "/data/mode"}]""",
    )
    assert (await made(client, "a", {"mode": "none"}))["data"] == {"mode": "none"}
    found = await made(client, "b", {"mode": "auto", "x.y": "z"})
    assert found["metadata"]["labels"] == {"a": "b"}
    assert found["data"] == {"x.y": "2"}


async def test_those_that_wish_see_later_changes(client: Client) -> None:
    seen = "Object{data: Object.data{seen: string(object.data.size())}}"
    await mutation(client, seen, name="a", again="IfNeeded")
    await mutation(client, "Object{data: Object.data{late: 'x'}}", name="b")
    assert (await made(client, "m", {"k": "v"}))["data"] == {"k": "v", "late": "x", "seen": "3"}


async def test_mutation_comes_before_validation(client: Client) -> None:
    await mutation(client, "Object{data: Object.data{a: 'b'}}", matchConditions=[{"name": "c", "expression": "request.name != 'raw'"}])
    await policy(client, "object.data.a == 'b'")
    await bind(client)
    await made(client, "cooked")
    assert "no such key: a" in (await refused(client, "raw", {"k": "v"})).message


async def test_conditions_of_webhooks(client: Client, server: Server) -> None:
    hook = {
        "name": "v.example.com", "clientConfig": {"url": "https://127.0.0.1:1/"}, "sideEffects": "None", "rules": [ON_MAPS],
        "admissionReviewVersions": ["v1"], "matchConditions": [{"name": "c", "expression": "object.data.call == 'yes'"}],
    }  # fmt: skip
    kind = Resource(GROUP, "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", False)
    await client.create(kind, {"metadata": {"name": "w"}, "webhooks": [hook]})
    await made(client, "a", {"call": "no"})
    assert "failed calling webhook" in (await refused(client, "b", {"call": "yes"})).message
    assert (await refused(client, "c", {"k": "v"})).message == (
        "configmaps \"c\" is forbidden: expression 'object.data.call == 'yes'' resulted in error: no such key: call"
    )
    await server.caller.close()


