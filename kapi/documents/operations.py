"""Paths as OpenAPI describes them: every operation of every kind, with its parameters, body and answers (version 3).

`version2` turns a path item into the older form. kubectl looks here for what it may ask (fieldValidation, dryRun); the types
are the work of kapi.documents.definitions.
"""

from collections.abc import Iterator

from kapi.documents.crd_schemas import type_name
from kapi.documents.definitions import V2, V3
from kapi.objects.meta import Object
from kapi.registry.catalogue import subresource_kind
from kapi.registry.kind import Kind
from kapi.schema import builtin

META = builtin.META
INFO = "io.k8s.apimachinery.pkg.version.Info"
MEDIA = ("application/json", "application/yaml")
PATCHES = (
    *("application/apply-patch+yaml", "application/json-patch+json"),
    *("application/merge-patch+json", "application/strategic-merge-patch+json"),
)
TEXTS = (
    *("continue", "dryRun", "fieldManager", "fieldSelector", "fieldValidation", "labelSelector", "pretty", "propagationPolicy"),
    *("resourceVersion", "resourceVersionMatch"),
)
NUMBERS = ("gracePeriodSeconds", "limit", "timeoutSeconds")
FLAGS = (
    *("allowWatchBookmarks", "force", "orphanDependents", "sendInitialEvents", "watch"),
    "ignoreStoreReadErrorWithClusterBreakingPotential",
)
PARAMETERS = dict.fromkeys(TEXTS, "string") | dict.fromkeys(NUMBERS, "integer") | dict.fromkeys(FLAGS, "boolean")
LIST = (
    "allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion", "resourceVersionMatch",
    "sendInitialEvents", "timeoutSeconds", "watch",
)  # fmt: skip
DELETE = ("dryRun", "gracePeriodSeconds", "ignoreStoreReadErrorWithClusterBreakingPotential", "orphanDependents", "propagationPolicy")
SELECT = (
    "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion", "resourceVersionMatch", "sendInitialEvents", "timeoutSeconds",
)  # fmt: skip
WRITE = ("dryRun", "fieldManager", "fieldValidation")
CONNECT = frozenset({"attach", "exec", "portforward", "proxy"})
METHODS = {"get": "get", "update": "put", "patch": "patch", "delete": "delete", "create": "post"}
NAMES = {"get": "read", "update": "replace", "patch": "patch", "delete": "delete", "create": "create"}
QUERIES: dict[str, tuple[str, ...]] = {"update": WRITE, "patch": (*WRITE, "force"), "create": WRITE, "delete": DELETE}


def paths(kind: Kind) -> Iterator[tuple[str, Object]]:
    """(path, path item) of a kind: its collection, its objects, their subresources."""
    resource = kind.resource
    scope = f"{resource.root}/namespaces/{{namespace}}" if resource.namespaced else resource.root
    collection, item = f"{scope}/{resource.plural}", f"{scope}/{resource.plural}/{{name}}"
    yield from _filled(collection, _collection(kind))
    yield from _filled(item, {METHODS[verb]: _one(kind, verb) for verb in METHODS if verb in kind.verbs and verb != "create"})
    if resource.namespaced and "list" in kind.verbs:
        everywhere = _operation(kind, "list", f"list{_group(kind)}{resource.kind}ForAllNamespaces", LIST, _list_type(kind))
        yield f"{resource.root}/{resource.plural}", {"get": everywhere, "parameters": [_query("pretty")]}
    for name, verbs in kind.subresources.items():
        if name not in CONNECT:
            yield from _filled(f"{item}/{name}", {METHODS[verb]: _one(kind, verb, name) for verb in verbs if verb in METHODS})
            continue
        methods = [METHODS[verb] for verb in verbs if verb in METHODS] + (["head", "options"] if name == "proxy" else [])
        yield from _filled(f"{item}/{name}", {method: _connect(kind, method, name) for method in methods})
        if name == "proxy":
            yield from _filled(f"{item}/{name}/{{path}}", {method: _connect(kind, method, name, "WithPath") for method in methods})


def _filled(path: str, item: Object) -> Iterator[tuple[str, Object]]:
    if item:
        inside = [_path(name) for name in ("name", "namespace", "path") if f"{{{name}}}" in path]
        yield path, {**item, "parameters": [*inside, _query("pretty")]}


def _collection(kind: Kind) -> Object:
    out: Object = {}
    name = _scoped(kind)
    if "list" in kind.verbs:
        out["get"] = _operation(kind, "list", f"list{name}", LIST, _list_type(kind))
    if "create" in kind.verbs:
        out["post"] = _operation(kind, "post", f"create{name}", WRITE, type_name(kind), type_name(kind))
    if "deletecollection" in kind.verbs:
        named = f"delete{_group(kind)}Collection{name.removeprefix(_group(kind))}"
        out["delete"] = _operation(kind, "deletecollection", named, DELETE + SELECT, META + "Status", META + "DeleteOptions")
    return out


def _one(kind: Kind, verb: str, sub: str = "") -> Object:
    """An operation on one object or its subresource."""
    spoken = _spoken(kind, sub)
    type_ = builtin.named(*spoken) or type_name(kind)
    body = {"get": "", "delete": META + "DeleteOptions", "patch": META + "Patch"}.get(verb, type_)
    answer = META + "Status" if verb == "delete" and not kind.strategy.returns_deleted else "" if sub == "log" else type_
    named = f"{NAMES[verb]}{_scoped(kind)}{sub[:1].upper()}{sub[1:]}"
    action = {"get": "get", "update": "put", "create": "post"}.get(verb, verb)
    return _operation(kind, action, named, QUERIES.get(verb, ()), answer, body, spoken)


def _connect(kind: Kind, method: str, sub: str, more: str = "") -> Object:
    """An operation whose answer is a stream."""
    named = f"connect{_group(kind)}{method.capitalize()}{_scoped(kind).removeprefix(_group(kind))}{sub.capitalize()}{more}"
    return _operation(kind, "connect", named, (), "", "", _spoken(kind, sub))


def _operation(
    kind: Kind, action: str, name: str, queries: tuple[str, ...], answer: str, body: str = "", spoken: tuple[str, str, str] | None = None
) -> Object:
    resource = kind.resource
    group, version, own = spoken or (resource.group, resource.version, resource.kind)
    out: Object = {"tags": [_tag(kind)], "operationId": name}
    if queries:
        out["parameters"] = [_query(query) for query in sorted(queries)]
    if body:
        out["requestBody"] = {"content": _content(body, _patches(kind) if body == META + "Patch" else ("*/*",))}
    codes = {"post": ("200", "201", "202"), "put": ("200", "201"), "patch": ("200", "201"), "delete": ("200", "202")}
    ok: Object = {"description": "OK", "content": _content(answer, MEDIA) if answer else {"*/*": {"schema": {"type": "string"}}}}
    out["responses"] = dict.fromkeys(codes.get(action, ("200",)), ok) | {"401": {"description": "Unauthorized"}}
    out["x-kubernetes-action"] = action
    out["x-kubernetes-group-version-kind"] = {"group": group, "version": version, "kind": own}
    return out


def _patches(kind: Kind) -> tuple[str, ...]:
    return PATCHES[:-1] if kind.custom else PATCHES


def _content(name: str, media: tuple[str, ...]) -> Object:
    return {kind: {"schema": {"$ref": V3 + name}} for kind in media}


def _query(name: str) -> Object:
    return {"name": name, "in": "query", "schema": {"type": PARAMETERS[name], "uniqueItems": True}}


def _path(name: str) -> Object:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "uniqueItems": True}}


def _spoken(kind: Kind, sub: str) -> tuple[str, str, str]:
    group, version, own = subresource_kind(kind, sub)
    return (group, version, own) if version else (kind.resource.group, kind.resource.version, own)


def spoken_types(kind: Kind) -> list[str]:
    """Definition names of what the subresources speak."""
    names = (builtin.named(*_spoken(kind, sub)) for sub in kind.subresources if sub not in CONNECT)
    return [name for name in names if name]


def _list_type(kind: Kind) -> str:
    return type_name(kind, True)


def _words(group: str) -> list[str]:
    """['rbac', 'authorization'] of 'rbac.authorization.k8s.io', ['core'] of ''."""
    return (group.removesuffix(".k8s.io") or "core").split(".")


def _camel(*words: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in words)


def _lower(words: list[str]) -> str:
    """'rbacAuthorization'."""
    return words[0] + _camel(*words[1:])


def _group(kind: Kind) -> str:
    """'RbacAuthorizationV1', as operation names spell a group version."""
    return _camel(*_words(kind.resource.group), kind.resource.version)


def _scoped(kind: Kind) -> str:
    return f"{_group(kind)}{'Namespaced' if kind.resource.namespaced else ''}{kind.resource.kind}"


def _tag(kind: Kind) -> str:
    return f"{_lower(_words(kind.resource.group))}_{kind.resource.version}"


def root(path: str) -> tuple[str, Object]:
    """(path, path item) of what is no resource: "/api/", "/apis/", "/apis/apps/", "/apis/apps/v1/", "/version/"."""
    parts = path.strip("/").split("/")
    type_ = {1: {"api": "APIVersions", "apis": "APIGroupList"}.get(parts[0], ""), 2: "APIGroup"}.get(len(parts), "APIResourceList")
    if parts[0] == "api" and len(parts) == 2:
        parts, type_ = ["apis", "", parts[1]], "APIResourceList"
    words = _words(parts[1] if len(parts) > 1 else "")
    head, version = _camel(*words), _camel(*parts[2:])
    name, tag = {
        "": ("getCodeVersion", "version"),
        "APIGroupList": ("getAPIVersions", "apis"),
        "APIVersions": ("getCoreAPIVersions", "core"),
        "APIGroup": (f"get{head}APIGroup", _lower(words)),
    }.get(type_, (f"get{head}{version}APIResources", f"{_lower(words)}_{'_'.join(parts[2:])}"))
    ok: Object = {"description": "OK", "content": _content(META + type_ if type_ else INFO, MEDIA if type_ else MEDIA[:1])}
    return path, {"get": {"tags": [tag], "operationId": name, "responses": {"200": ok, "401": {"description": "Unauthorized"}}}}


def version2(item: Object) -> Object:
    """A path item as OpenAPI 2 writes it."""
    out: Object = {"parameters": [_flat(p) for p in item["parameters"]]} if "parameters" in item else {}
    for method, operation in item.items():
        if method == "parameters":
            continue
        made = {key: value for key, value in operation.items() if key not in ("requestBody", "parameters", "responses")}
        made["parameters"] = [_flat(p) for p in operation.get("parameters", ())]
        if body := operation.get("requestBody"):
            made["consumes"] = list(body["content"])
            made["parameters"].insert(0, {"name": "body", "in": "body", "required": method != "delete", "schema": _schema2(body)})
        ok = next(iter(operation["responses"].values()))
        made |= {"produces": list(ok["content"]), "schemes": ["https"]}
        made["responses"] = {code: _answer2(answer) for code, answer in operation["responses"].items()}
        out[method] = made
    return out


def _flat(parameter: Object) -> Object:
    return {**parameter["schema"], **{key: value for key, value in parameter.items() if key != "schema"}}


def _schema2(content: Object) -> Object:
    schema: Object = dict(next(iter(content["content"].values()))["schema"])
    return {"$ref": schema["$ref"].replace(V3, V2)} if "$ref" in schema else schema


def _answer2(answer: Object) -> Object:
    out: Object = {"description": answer["description"]}
    if "content" in answer:
        out["schema"] = _schema2(answer)
    return out
