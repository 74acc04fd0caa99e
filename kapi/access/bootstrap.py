"""The default roles and bindings as objects, and their reconciliation with those in the store.

The API server writes them through the registry at startup: `objects()` are the defaults, `reconciled` merges one into an existing object.
"""

from collections.abc import Iterator
from typing import Any

from kapi.access import defaults, rules
from kapi.access.rbac import GROUP
from kapi.objects.meta import Object

API = f"{GROUP}/v1"
AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
_BOOTSTRAPPING = {"kubernetes.io/bootstrapping": "rbac-defaults"}
_AGGREGATE = f"{GROUP}/aggregate-to-"
_CONTROLLER = "system:controller:"


def objects() -> list[Object]:
    """All default roles and bindings, roles first. Namespaced ones are in kube-system and kube-public."""
    roles = list(_roles())
    return [*roles, *_bindings(), *_controller_bindings(roles)]


def _lines(table: str) -> Iterator[str]:
    """The lines of a table, with continuation lines joined."""
    line = ""
    for part in table.strip().splitlines():
        if part.startswith("    "):
            line += " " + part.strip()
        else:
            if line:
                yield line
            line = part
    yield line


def _object(kind: str, name: str, **more: Any) -> Object:
    """A Role or RoleBinding if the name has a namespace, else a ClusterRole or ClusterRoleBinding."""
    namespace, _, name = name.rpartition("/")
    metadata: Object = {"name": name, "labels": dict(_BOOTSTRAPPING), "annotations": {AUTOUPDATE: "true"}}
    if namespace:
        metadata["namespace"] = namespace
    return {"kind": kind if namespace else f"Cluster{kind}", "apiVersion": API, "metadata": metadata, **more}


def _roles() -> Iterator[Object]:
    role: Object | None = None
    for line in _lines(defaults.ROLES):
        if line.startswith(" "):
            assert role is not None
            role["rules"] = [*(role["rules"] or ()), _rule(line)]
            continue
        if role:
            yield role
        role = _role(line.split())
    if role:
        yield role


def _role(words: list[str]) -> Object:
    role = _object("Role", words[0], rules=None)
    for mark, to in zip(words[1::2], words[2::2], strict=True):
        if mark == ">":
            role["metadata"]["labels"][_AGGREGATE + to] = "true"
        else:
            role["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": {_AGGREGATE + to: "true"}}]}
    return role


def _rule(line: str) -> Object:
    verbs, *more = (part.split() for part in line.split(" : "))
    if len(more) == 1:
        return {"verbs": verbs, "nonResourceURLs": more[0]}
    groups = ["" if group == "-" else group for group in more[0][0].split(",")]
    rule = {"verbs": verbs, "apiGroups": groups, "resources": more[1]}
    return {**rule, "resourceNames": more[2]} if len(more) > 2 else rule


def _bindings() -> Iterator[Object]:
    for line in _lines(defaults.BINDINGS):
        head, _, listed = line.partition(" :")
        name, _, role = head.partition(" = ")
        yield _binding(name, role or name.rpartition("/")[2], [_subject(text) for text in listed.split(",") if text.strip()])


def _controller_bindings(roles: list[Object]) -> Iterator[Object]:
    for role in roles:
        name = role["metadata"]["name"]
        if role["kind"] == "ClusterRole" and name.startswith(_CONTROLLER):
            yield _binding(name, name, [_subject(f"ServiceAccount kube-system/{name.removeprefix(_CONTROLLER)}")])


def _binding(name: str, role: str, subjects: list[Object]) -> Object:
    reference = {"apiGroup": GROUP, "kind": "Role" if "/" in name else "ClusterRole", "name": role}
    return _object("RoleBinding", name, roleRef=reference, **({"subjects": subjects} if subjects else {}))


def _subject(text: str) -> Object:
    kind, name = text.split()
    namespace, slash, account = name.partition("/")
    if kind == "ServiceAccount" and slash:
        return {"kind": kind, "name": account, "namespace": namespace}
    return {"kind": kind, "apiGroup": GROUP, "name": name}


def reconciled(existing: Object, wanted: Object) -> Object | None:
    """The object with missing rules or subjects added; None if nothing is missing or its autoupdate annotation is "false"."""
    metadata = existing["metadata"]
    if (metadata.get("annotations") or {}).get(AUTOUPDATE) == "false":
        return None
    new = {**existing, "metadata": {**metadata}}
    for field in ("labels", "annotations"):
        new["metadata"][field] = {**wanted["metadata"][field], **(metadata.get(field) or {})}
    if "rules" in wanted and (missing := rules.missing(existing.get("rules") or (), wanted["rules"] or ())):
        new["rules"] = [*(existing.get("rules") or ()), *rules.compact(missing)]
    if subjects := [subject for subject in wanted.get("subjects") or () if subject not in (existing.get("subjects") or ())]:
        new["subjects"] = [*(existing.get("subjects") or ()), *subjects]
    if (aggregation := wanted.get("aggregationRule")) and not existing.get("aggregationRule"):
        new["aggregationRule"] = aggregation
    return None if new == existing else new
