"""Paths as OpenAPI describes them: every operation of every kind, with its parameters, body and answers.

`paths` gives plain path items, whose operations have all their parameters; `version3` and `version2` write an item as either version does:
what all operations of an item share stands there once. kubectl looks here for what it may ask (fieldValidation, dryRun); the types are the
work of kapi.documents.definitions. Source: apiserver's installer and kube-openapi's builder (v1.36).
"""

from collections.abc import Iterable, Iterator
from functools import cache

from kapi.documents.crd_schemas import type_name
from kapi.documents.definitions import V2, V3
from kapi.objects.meta import Object
from kapi.registry.catalogue import subresource_kind
from kapi.registry.kind import Kind
from kapi.schema import builtin
from openapi import tables

META = builtin.META
INFO = "io.k8s.apimachinery.pkg.version.Info"
JSON, YAML, PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
MEDIA, CUSTOM_MEDIA = (JSON, YAML, PROTOBUF), (JSON, YAML)
STREAM = ";stream=watch"
PATCHES = (
    *("application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json"),
    "application/apply-patch+yaml",
)
TEXTS = (
    *("command", "container", "continue", "dryRun", "fieldManager", "fieldSelector", "fieldValidation", "labelSelector", "path", "pretty"),
    *("propagationPolicy", "resourceVersion", "resourceVersionMatch", "shardSelector", "stream"),
)
NUMBERS = ("gracePeriodSeconds", "limit", "limitBytes", "ports", "sinceSeconds", "tailLines", "timeoutSeconds")
FLAGS = (
    *("allowWatchBookmarks", "follow", "force", "insecureSkipTLSVerifyBackend", "orphanDependents", "previous", "sendInitialEvents"),
    *("stderr", "stdin", "stdout", "timestamps", "tty", "watch", "ignoreStoreReadErrorWithClusterBreakingPotential"),
)
PARAMETERS = dict.fromkeys(TEXTS, "string") | dict.fromkeys(NUMBERS, "integer") | dict.fromkeys(FLAGS, "boolean")
SELECT = (
    *("continue", "fieldSelector", "labelSelector", "limit", "pretty", "resourceVersion", "resourceVersionMatch", "sendInitialEvents"),
    *("shardSelector", "timeoutSeconds"),
)
LIST = ("allowWatchBookmarks", *SELECT, "watch")
DELETE = (
    *("dryRun", "gracePeriodSeconds", "ignoreStoreReadErrorWithClusterBreakingPotential", "orphanDependents", "pretty"),
    "propagationPolicy",
)
WRITE = ("dryRun", "fieldManager", "fieldValidation", "pretty")
OPENED = ("container", "stderr", "stdin", "stdout", "tty")
CONNECT = {"attach": OPENED, "exec": ("command", *OPENED), "portforward": ("ports",), "proxy": ("path",)}
"""Subresources whose answer is a stream, and what may be asked of them."""
LOG = (
    *("container", "follow", "insecureSkipTLSVerifyBackend", "limitBytes", "pretty", "previous", "sinceSeconds", "stream", "tailLines"),
    "timestamps",
)
METHODS = {"get": "get", "update": "put", "patch": "patch", "delete": "delete", "create": "post"}
NAMES = {"get": "read", "update": "replace", "patch": "patch", "delete": "delete", "create": "create"}
QUERIES = {"get": ("pretty",), "update": WRITE, "patch": (*WRITE, "force"), "create": WRITE, "delete": DELETE}
CODES = {"post": ("200", "201", "202"), "put": ("200", "201"), "patch": ("200", "201"), "delete": ("200", "202")}
STATUS_TEXT = {"200": "OK", "201": "Created", "202": "Accepted", "401": "Unauthorized"}
ACTIONS = {
    "get": "read the specified {}", "put": "replace the specified {}", "patch": "partially update the specified {}",
    "delete": "delete a {}", "post": "create a {}", "list": "list or watch objects of kind {}",
    "deletecollection": "delete collection of {}",
    "watchlist": "watch changes to objects of kind {}; a list with the parameter watch does the same",
    "watch": "watch changes to one object of kind {}; a list with the parameters watch and fieldSelector does the same",
    "connect": "connect requests to {}",
}  # fmt: skip
Paths = Iterator[tuple[str, Object]]


def paths(kind: Kind) -> Paths:
    """(path, plain path item) of a kind: its collection, its objects, their subresources, and the old paths of watches."""
    resource = kind.resource
    scope = f"{resource.root}/namespaces/{{namespace}}" if resource.namespaced else resource.root
    collection, item = f"{scope}/{resource.plural}", f"{scope}/{resource.plural}/{{name}}"
    yield from _filled(collection, _collection(kind))
    yield from _filled(item, {METHODS[verb]: _one(kind, verb) for verb in METHODS if verb in kind.verbs and verb != "create"})
    if resource.namespaced and "list" in kind.verbs:
        everywhere = _operation(kind, "list", f"list{_group(kind)}{resource.kind}ForAllNamespaces", LIST, type_name(kind, True))
        yield from _filled(f"{resource.root}/{resource.plural}", {"get": everywhere})
    for name, verbs in kind.subresources.items():
        if name not in CONNECT:
            yield from _filled(f"{item}/{name}", {METHODS[verb]: _one(kind, verb, name) for verb in verbs if verb in METHODS})
            continue
        methods = [METHODS[verb] for verb in verbs if verb in METHODS] + (["head", "options"] if name == "proxy" else [])
        yield from _filled(f"{item}/{name}", {method: _connect(kind, method, name) for method in methods})
        if name == "proxy":
            yield from _filled(f"{item}/{name}/{{path}}", {method: _connect(kind, method, name, "WithPath") for method in methods})
    if "watch" in kind.verbs and not kind.custom:
        yield from _watches(kind, scope)


def _watches(kind: Kind, scope: str) -> Paths:
    resource = kind.resource
    old = scope.replace(resource.root, f"{resource.root}/watch", 1)
    named = f"watch{_scoped(kind)}"
    yield from _filled(f"{old}/{resource.plural}", {"get": _operation(kind, "watchlist", named + "List", LIST, META + "WatchEvent")})
    yield from _filled(f"{old}/{resource.plural}/{{name}}", {"get": _operation(kind, "watch", named, LIST, META + "WatchEvent")})
    if resource.namespaced:
        named = f"watch{_group(kind)}{resource.kind}ListForAllNamespaces"
        everywhere = _operation(kind, "watchlist", named, LIST, META + "WatchEvent")
        yield from _filled(f"{resource.root}/watch/{resource.plural}", {"get": everywhere})


def _filled(path: str, item: Object) -> Paths:
    """The item with the parameters its path has, if there is anything in it."""
    inside = [_path(name) for name in ("name", "namespace", "path") if f"{{{name}}}" in path]
    for operation in item.values():
        operation["parameters"] = sorted([*inside, *operation["parameters"]], key=_place)
    if item:
        yield path, item


def _place(parameter: Object) -> tuple[str, str]:
    return parameter.get("name", "body"), parameter.get("in", "")


def _collection(kind: Kind) -> Object:
    out: Object = {}
    name = _scoped(kind)
    if "list" in kind.verbs:
        out["get"] = _operation(kind, "list", f"list{name}", LIST, type_name(kind, True))
    if "create" in kind.verbs:
        out["post"] = _operation(kind, "post", f"create{name}", WRITE, type_name(kind), type_name(kind))
    if "deletecollection" in kind.verbs:
        named = f"delete{_group(kind)}Collection{name.removeprefix(_group(kind))}"
        queries, body = (LIST, "") if kind.custom else (tuple(dict.fromkeys(DELETE + SELECT)), META + "DeleteOptions")
        out["delete"] = _operation(kind, "deletecollection", named, queries, META + "Status", body)
    return out


def _one(kind: Kind, verb: str, sub: str = "") -> Object:
    """An operation on one object or its subresource."""
    spoken = _spoken(kind, sub)
    type_ = builtin.named(*spoken) or type_name(kind)
    body = {"get": "", "delete": META + "DeleteOptions", "patch": META + "Patch"}.get(verb, type_)
    answer = META + "Status" if verb == "delete" and not kind.strategy.returns_deleted else "" if sub == "log" else type_
    named = f"{NAMES[verb]}{_scoped(kind)}{sub[:1].upper()}{sub[1:]}"
    action = {"get": "get", "update": "put", "create": "post"}.get(verb, verb)
    queries = LOG if sub == "log" else QUERIES.get(verb, ())
    if kind.custom and verb == "get":
        queries = (*queries, "resourceVersion")
    return _operation(kind, action, named, queries, answer, body, spoken, about=sub)


def _connect(kind: Kind, method: str, sub: str, more: str = "") -> Object:
    """An operation whose answer is a stream."""
    named = f"connect{_group(kind)}{method.capitalize()}{_scoped(kind).removeprefix(_group(kind))}{sub.capitalize()}{more}"
    return _operation(kind, "connect", named, CONNECT[sub], "", "", _spoken(kind, sub), about=sub)


def _operation(
    kind: Kind, action: str, name: str, queries: Iterable[str], answer: str, body: str = "",
    spoken: tuple[str, str, str] | None = None, *, about: str = "",
) -> Object:  # fmt: skip
    resource = kind.resource
    group, version, own = spoken or (resource.group, resource.version, resource.kind)
    what = f"{about} of {resource.kind}" if about else resource.kind
    out: Object = {"tags": [_tag(kind)], "description": ACTIONS[action].format(what), "operationId": name}
    out["parameters"] = [_query(query) for query in queries]
    if body:
        out["requestBody"] = {"content": _content(body, _consumed(kind, body))}
        if body != META + "DeleteOptions":
            out["requestBody"]["required"] = True
    media = CUSTOM_MEDIA if kind.custom else MEDIA
    if action in ("watch", "watchlist") or (action == "list" and not kind.custom):
        media = (*media, JSON + STREAM, PROTOBUF + STREAM)
    shown = ("*/*",) if action == "connect" else ("text/plain", *media) if not answer else media
    codes = ("200",) if kind.custom and action == "patch" else CODES.get(action, ("200",))
    out["responses"] = {code: {"description": STATUS_TEXT[code], "content": _content(answer, shown)} for code in codes}
    out["responses"]["401"] = {"description": STATUS_TEXT["401"]}
    out["x-kubernetes-action"] = action
    out["x-kubernetes-group-version-kind"] = {"group": group, "version": version, "kind": own}
    return out


def _consumed(kind: Kind, body: str) -> tuple[str, ...]:
    """The media types a body may have."""
    if body == META + "Patch":
        return tuple(patch for patch in PATCHES if not (kind.custom and "strategic" in patch))
    return CUSTOM_MEDIA if kind.custom else ("*/*",)


def _content(name: str, media: Iterable[str]) -> Object:
    return {kind: {"schema": {"$ref": V3 + name} if name else {"type": "string"}} for kind in media}


def _query(name: str) -> Object:
    return {"name": name, "in": "query", "schema": {"type": PARAMETERS[name], "uniqueItems": True}}


def _path(name: str) -> Object:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "uniqueItems": True}}


def _spoken(kind: Kind, sub: str) -> tuple[str, str, str]:
    group, version, own = subresource_kind(kind, sub)
    return (group, version, own) if version else (kind.resource.group, kind.resource.version, own)


def types(item: Object) -> set[str]:
    """Definition names of what the operations of a plain path item take and give."""
    bodies = [body for operation in item.values() for body in (operation.get("requestBody"), *operation["responses"].values()) if body]
    references = (content["schema"].get("$ref", "") for body in bodies for content in body.get("content", {}).values())
    return {reference.removeprefix(V3) for reference in references if reference}


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
    """(path, path item) of paths that are not resources: "/api/", "/apis/", "/apis/apps/", "/apis/apps/v1/", "/version/"."""
    if item := OPENID.get(path.strip("/")):
        return path, item
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
    what = {"APIVersions": "available API versions", "APIGroupList": "available API versions", "APIGroup": "information of a group"}
    description = what.get(type_, "available resources") if type_ else "the version information for this server"
    return path, _root(tag, name, f"get {description}", META + type_ if type_ else INFO, MEDIA if type_ else (JSON,))


def _root(tag: str, name: str, description: str, type_: str, media: Iterable[str]) -> Object:
    responses = {"200": {"description": STATUS_TEXT["200"], "content": _content(type_, media)}, "401": {"description": STATUS_TEXT["401"]}}
    return {"get": {"tags": [tag], "description": description, "operationId": name, "parameters": [], "responses": responses}}


OPENID = {
    ".well-known/openid-configuration": _root(
        "WellKnown", "getServiceAccountIssuerOpenIDConfiguration", "get the OpenID configuration of service accounts' issuer", "", (JSON,)
    ),
    "openid/v1/jwks": _root(
        "openid", "getServiceAccountIssuerOpenIDKeyset", "get the keys of service accounts' issuer", "", ("application/jwk-set+json",)
    ),
}
"""Names of the documents about OpenID -> their path items."""


def _gathered(item: Object) -> Object:
    """The item with the parameters that all its operations have at its own level."""
    first, *others = item.values()
    shared = (one for one in first["parameters"] if all(one in other["parameters"] for other in others))
    common = [one for one in shared if one.get("in") != "body"]
    out: Object = {"parameters": common} if common else {}
    for method, operation in item.items():
        own = [one for one in operation["parameters"] if one not in common]
        out[method] = {key: value for key, value in operation.items() if key != "parameters"} | ({"parameters": own} if own else {})
    return out


def version3(item: Object) -> Object:
    """A plain path item as OpenAPI 3 writes it."""
    return _gathered(item)


def version2(item: Object) -> Object:
    """A plain path item as OpenAPI 2 writes it."""
    return _gathered({method: _operation2(operation) for method, operation in item.items()})


def _operation2(operation: Object) -> Object:
    out = {key: value for key, value in operation.items() if key not in ("requestBody", "parameters", "responses")}
    parameters = [(_place(one), _parameter2(one)) for one in operation["parameters"]]
    body, ok = operation.get("requestBody"), next(iter(operation["responses"].values()))
    produced, plain = list(ok["content"]), "$ref" not in _schema2(ok)
    root, custom = "x-kubernetes-action" not in operation, tuple(produced) == CUSTOM_MEDIA
    if not (root and plain):
        out["consumes"] = list(body["content"]) if body else produced if root or custom else ["*/*"]
    if body:
        parameters.append((("body", ""), {"name": "body", "in": "body", "schema": _schema2(body)} | _required(body)))
    kind, action = operation.get("x-kubernetes-group-version-kind", {}).get("kind", ""), operation.get("x-kubernetes-action", "")
    context = {"connect": kind, "patch": "patch"}.get(action, "")
    out["parameters"] = [_shared(context, one) for _, one in sorted(parameters, key=lambda pair: pair[0])]
    out |= {"produces": produced, "schemes": ["https"]}
    out["responses"] = {code: _answer2(answer) for code, answer in operation["responses"].items()}
    return out


def _required(body: Object) -> Object:
    return {"required": True} if body.get("required") else {}


def _parameter2(parameter: Object) -> Object:
    schema: Object = parameter["schema"]
    return {key: value for key, value in parameter.items() if key != "schema"} | schema


@cache
def _names() -> dict[str, str]:
    """What a shared parameter is -> its name in OpenAPI 2 (openapi.generate.shared_parameters)."""
    names: dict[str, str] = tables.published()["parameters"]
    return names


def _shared(context: str, parameter: Object) -> Object:
    """A reference in place of a parameter that is shared."""
    what = str(parameter["name"])
    if parameter["in"] == "body":
        what = f"body {str(parameter['schema'].get('$ref', '')).rpartition('.')[2]}"
    elif parameter["in"] == "path" and what == "path":
        what = "path path"
    names = _names()
    name = names.get(f"{context} {what}") or names.get(what)
    return {"$ref": f"#/parameters/{name}"} if name else parameter


def shared_parameters() -> Iterator[tuple[str, Object]]:
    """(name, parameter) of all that OpenAPI 2 shares."""
    for what, name in _names().items():
        own = what.rpartition(" ")[2]
        if what.startswith("body "):
            required = {"required": True} if own == "Patch" else {}
            yield name, {"name": "body", "in": "body", "schema": {"$ref": V2 + META + own}} | required
        else:
            yield name, _parameter2(_path(own) if what in ("path path", "namespace") else _query(own))


def _schema2(content: Object) -> Object:
    schema: Object = dict(next(iter(content["content"].values()))["schema"])
    return {"$ref": schema["$ref"].replace(V3, V2)} if "$ref" in schema else schema


def _answer2(answer: Object) -> Object:
    out: Object = {"description": answer["description"]}
    if "content" in answer:
        out["schema"] = _schema2(answer)
    return out
