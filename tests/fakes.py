"""An API in memory with the face of a Transport: enough of the rules (revisions, finalizers, grace, conflicts, watches) for controllers.

It validates and defaults nothing.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qs, unquote

import orjson

from kapi.http.client import Headers, Response
from kapi.objects import errors, fields, labels, meta, resource, time
from kapi.objects.meta import Object
from kapi.objects.resource import Resource
from tests.moments import turn

BUILT_IN = [r for r in vars(resource).values() if isinstance(r, Resource)]
GRACEFUL = {"pods": 30}


def field_values(obj: Object) -> dict[str, str]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    known = {"metadata.name": meta.name(obj), "metadata.namespace": meta.namespace(obj)}
    known["type"] = str(obj.get("type") or "")
    return known | {"spec.nodeName": spec.get("nodeName") or "", "status.phase": status.get("phase") or ""}


def merge(target: Any, patch: Any, *, strategic: bool) -> Any:
    """Merge patch, with the two things of strategic merge that controllers use: owner references by uid, conditions by type."""
    if not isinstance(patch, dict):
        return patch
    out = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        elif strategic and key in ("ownerReferences", "conditions") and isinstance(value, list):
            out[key] = merge_list(out.get(key) or [], value, "uid" if key == "ownerReferences" else "type")
        else:
            out[key] = merge(out.get(key), value, strategic=strategic)
    return out


def merge_list(old: list[Object], patch: list[Object], key: str) -> list[Object]:
    by = {item[key]: item for item in old}
    for item in patch:
        if item.get("$patch") == "delete":
            by.pop(item[key], None)
        else:
            by[item[key]] = {**by.get(item[key], {}), **item}
    return list(by.values())


class FakeStream:
    def __init__(self, api: "FakeApi", wanted: Callable[[Object], bool], where: Resource, since: int, partial: bool) -> None:
        self.status, self.headers = 200, {"content-type": "application/json"}
        self._api, self._wanted, self._where, self._at, self._partial = api, wanted, where, since, partial
        self.closed = self.ended = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        cursor = 0
        if self._at < self._api.too_old:
            status = errors.Expired("too old resource version").status()
            yield orjson.dumps({"type": "ERROR", "object": status}) + b"\n"
            return
        while not self.closed and not self.ended:
            while cursor < len(self._api.log):
                revision, where, kind, obj = self._api.log[cursor]
                cursor += 1
                if revision > self._at and where == self._where and where not in self._api.silent and self._wanted(obj):
                    yield orjson.dumps({"type": kind, "object": partial(obj) if self._partial else obj}) + b"\n"
            self._api.changed.clear()
            if not self.ended:
                await self._api.changed.wait()

    async def close(self) -> None:
        self.closed = True


def partial(obj: Object) -> Object:
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


class FakeApi:
    """Objects by (resource, key); `log` is all that ever happened; `calls` counts requests by "VERB plural"."""

    def __init__(self, resources: list[Resource] | None = None) -> None:
        self.resources = list(resources or BUILT_IN)
        self.objects: dict[tuple[Resource, str], Object] = {}
        self.revision = 0
        self.log: list[tuple[int, Resource, str, Object]] = []
        self.changed = asyncio.Event()
        self.calls: list[str] = []
        self.may: Callable[[Object], bool] = lambda spec: False
        """The answer to a SubjectAccessReview."""
        self.too_old = 0
        """Watches from before this revision are told that it is gone."""
        self.silent: set[Resource] = set()
        """Resources whose watches are told nothing."""
        self._streams: list[FakeStream] = []
        self.refuse: Callable[[str, Resource, Object], errors.StatusError | None] = lambda verb, where, obj: None

    async def request(self, method: str, target: str, headers: Headers, body: bytes, seconds: float) -> Response:
        path, _, query = target.partition("?")
        given = {k: v[0] for k, v in parse_qs(query).items()}
        try:
            answer = self._answer(method, unquote(path), given, orjson.loads(body) if body else None, headers)
        except errors.StatusError as error:
            return error.code, {}, orjson.dumps(error.status())
        await turn()
        return 200, {}, orjson.dumps(answer)

    async def open(self, method: str, target: str, headers: Headers, body: bytes, seconds: float | None) -> FakeStream:
        path, _, query = target.partition("?")
        given = {k: v[0] for k, v in parse_qs(query).items()}
        where, namespace, _, _ = self.locate(unquote(path))
        since = int(given.get("resourceVersion") or 0)
        stream = FakeStream(self, self._selected(namespace, given), where, since, "PartialObjectMetadata" in headers.get("Accept", ""))
        self._streams.append(stream)
        return stream

    def end_watches(self) -> None:
        """End every watch as a server does that goes away, before it has told of what is new."""
        for stream in self._streams:
            stream.ended = True
        self.changed.set()

    async def close(self) -> None:
        return None

    def locate(self, path: str) -> tuple[Resource, str, str, str]:
        """(resource, namespace, name, subresource) of a URL."""
        for where in self.resources:
            if not path.startswith(where.root + "/"):
                continue
            parts = path[len(where.root) + 1 :].split("/")
            namespace = ""
            if parts[0] == "namespaces" and where.namespaced and len(parts) > 2:
                namespace, parts = parts[1], parts[2:]
            if parts[0] == where.plural and (where.plural != "namespaces" or len(parts) < 3 or parts[2] in ("finalize", "status")):
                return where, namespace, parts[1] if len(parts) > 1 else "", parts[2] if len(parts) > 2 else ""
        raise errors.NotFound(f"the server could not find the requested resource {path}")

    def _answer(self, method: str, path: str, query: dict[str, str], body: Any, headers: Headers) -> Object:
        if path in ("/api", "/apis"):
            return self._discovery(path == "/api")
        if path.endswith("/subjectaccessreviews"):
            return {**body, "status": {"allowed": self.may(body["spec"])}}
        where, namespace, name, sub = self.locate(path)
        self.calls.append(f"{method} {where.plural}" + (f"/{sub}" if sub else ""))
        if refused := self.refuse(method, where, body or {}):
            raise refused
        if method == "POST":
            return self._eviction(where, namespace, name) if sub else self.create(where, body, namespace)
        if not name:
            if method == "DELETE":
                for obj in [o for (r, _), o in self.objects.items() if r == where and self._selected(namespace, query)(o)]:
                    self.delete(where, obj, {})
            return self._list(where, self._selected(namespace, query), "PartialObjectMetadata" in headers.get("Accept", ""))
        key = f"{namespace}/{name}" if namespace else name
        old = self.objects.get((where, key))
        if old is None:
            raise errors.not_found(where.plural, where.group, name)
        if method == "GET":
            return old
        if method == "DELETE":
            return self.delete(where, old, body or {})
        if method == "PATCH":
            body = merge(old, body, strategic="strategic" in headers["Content-Type"])
        return self._replace(where, old, body, sub)

    def _selected(self, namespace: str, query: dict[str, str]) -> Callable[[Object], bool]:
        by_label, by_field = labels.parse(query.get("labelSelector", "")), fields.parse(query.get("fieldSelector", ""))

        def matches(obj: Object) -> bool:
            here = not namespace or meta.namespace(obj) == namespace
            return here and by_label.matches(meta.labels(obj)) and by_field.matches(field_values(obj))

        return matches

    def _list(self, where: Resource, wanted: Callable[[Object], bool], only_metadata: bool) -> Object:
        found = [o for (r, _), o in self.objects.items() if r == where and wanted(o)]
        items = [partial(o) for o in found] if only_metadata else found
        return {"kind": where.kind + "List", "metadata": {"resourceVersion": str(self.revision)}, "items": items}

    def create(self, where: Resource, obj: Object, namespace: str = "") -> Object:
        about = dict(obj.get("metadata") or {})
        if where.namespaced:
            about["namespace"] = namespace or about.get("namespace") or "default"
        if not about.get("name"):
            about["name"] = about.get("generateName", "") + uuid.uuid4().hex[:5]
        about |= {"uid": str(uuid.uuid4()), "creationTimestamp": time.stamp(), "generation": 1}
        made = {"apiVersion": where.api_version, "kind": where.kind, **obj, "metadata": about}
        if (where, meta.key(made)) in self.objects:
            raise errors.already_exists(where.plural, where.group, about["name"])
        if where.plural == "namespaces":
            made.setdefault("spec", {"finalizers": ["kubernetes"]})
            made.setdefault("status", {"phase": "Active"})
        return self._store(where, made, "ADDED")

    def _replace(self, where: Resource, old: Object, new: Object, sub: str) -> Object:
        given = new["metadata"]
        if given.get("uid") and given["uid"] != meta.uid(old):
            raise errors.conflict(where.plural, where.group, meta.name(old), "Precondition failed: UID in precondition")
        if given.get("resourceVersion") and given["resourceVersion"] != meta.resource_version(old):
            raise errors.conflict(where.plural, where.group, meta.name(old), errors.STALE)
        if sub in ("status", "approval"):
            new = {**old, "status": new.get("status"), "metadata": {**old["metadata"], "annotations": given.get("annotations") or {}}}
        elif sub == "finalize":
            new = {**old, "spec": new["spec"]}
        elif "status" in old:
            new = {**new, "status": old["status"]}
        about = {**new["metadata"], **{k: v for k, v in old["metadata"].items() if k in ("uid", "creationTimestamp", "deletionTimestamp")}}
        if new.get("spec") != old.get("spec"):
            about["generation"] = old["metadata"].get("generation", 0) + 1
        new = {**new, "metadata": about}
        if new == old:
            return old
        done = self._store(where, new, "MODIFIED")
        left = about.get("finalizers") or (where.plural == "namespaces" and (new.get("spec") or {}).get("finalizers"))
        if about.get("deletionTimestamp") and not left and not about.get("deletionGracePeriodSeconds"):
            return self._remove(where, done)
        return done

    def delete(self, where: Resource, obj: Object, options: Object) -> Object:
        wanted = (options.get("preconditions") or {}).get("uid")
        version = (options.get("preconditions") or {}).get("resourceVersion")
        if version and version != meta.resource_version(obj):
            raise errors.conflict(where.plural, where.group, meta.name(obj), "Precondition failed: ResourceVersion in precondition")
        if wanted and wanted != meta.uid(obj):
            raise errors.conflict(where.plural, where.group, meta.name(obj), "Precondition failed: UID in precondition")
        about = {**obj["metadata"]}
        finalizers = list(about.get("finalizers") or ())
        policy = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}.get(options.get("propagationPolicy", ""))
        if policy and policy not in finalizers:
            finalizers.append(policy)
        grace = options.get("gracePeriodSeconds", GRACEFUL.get(where.plural, 0))
        placed = (obj.get("spec") or {}).get("nodeName") and (obj.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
        grace = grace if where.plural == "pods" and placed else 0
        held = finalizers or grace or (where.plural == "namespaces" and (obj.get("spec") or {}).get("finalizers"))
        if not held:
            return self._remove(where, obj)
        about.setdefault("deletionTimestamp", time.stamp())
        about |= {"finalizers": finalizers, "deletionGracePeriodSeconds": grace}
        changed = {**obj, "metadata": about}
        if where.plural == "namespaces":
            changed["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}
        return self._store(where, changed, "MODIFIED")

    def _eviction(self, where: Resource, namespace: str, name: str) -> Object:
        return self.delete(where, self.objects[(where, f"{namespace}/{name}")], {})

    def _remove(self, where: Resource, obj: Object) -> Object:
        del self.objects[(where, meta.key(obj))]
        self._note(where, obj, "DELETED")
        return {"kind": "Status", "status": "Success", "details": {"uid": meta.uid(obj)}}

    def _store(self, where: Resource, obj: Object, kind: str) -> Object:
        return self._note(where, obj, kind)

    def _note(self, where: Resource, obj: Object, kind: str) -> Object:
        self.revision += 1
        obj = orjson.loads(orjson.dumps({**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.revision)}}))
        if kind != "DELETED":
            self.objects[(where, meta.key(obj))] = obj
        self.log.append((self.revision, where, kind, obj))
        self.changed.set()
        return obj

    def _discovery(self, core: bool) -> Object:
        groups: dict[str, dict[str, list[Object]]] = {}
        for where in self.resources:
            if bool(where.group) is core:
                continue
            scope = "Namespaced" if where.namespaced else "Cluster"
            kind = {"group": where.group, "version": where.version, "kind": where.kind}
            verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
            entry = {"resource": where.plural, "responseKind": kind, "scope": scope, "verbs": verbs}
            groups.setdefault(where.group, {}).setdefault(where.version, []).append(entry)
        items = [
            {"metadata": {"name": g}, "versions": [{"version": v, "resources": r, "freshness": "Current"} for v, r in versions.items()]}
            for g, versions in groups.items()
        ]
        return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": items}

    def all(self, where: Resource, namespace: str = "") -> list[Object]:
        return [o for (r, _), o in self.objects.items() if r == where and (not namespace or meta.namespace(o) == namespace)]

    def get(self, where: Resource, key: str) -> Object | None:
        return self.objects.get((where, key))

    def set(self, where: Resource, obj: Object, **parts: Any) -> Object:
        """Replace top-level parts of an object behind everyone's back, e.g. its status."""
        return self._store(where, {**self.objects[(where, meta.key(obj))], **parts}, "MODIFIED")

    def remove(self, where: Resource, obj: Object) -> None:
        self._remove(where, self.objects[(where, meta.key(obj))])
