"""Type checking of ValidatingAdmissionPolicies: reports warnings for expressions that do not fit the matched types in the status.

Warnings do not affect enforcement. Source: the validatingadmissionpolicy-status controller (v1.36).
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kapi.client import Controller
from kapi.objects import errors, meta
from kapi.objects.meta import Object
from kapi.objects.resource import VALIDATING_ADMISSION_POLICIES, Resource, split_api_version

if TYPE_CHECKING:
    from kapi.cel.types import Type


MAX_TYPES = 10
"""Most types that are checked per policy."""


class PolicyTypes(Controller):
    name = "validatingadmissionpolicy-status-controller"
    workers = 1

    def setup(self) -> None:
        self.objects = self.watch(VALIDATING_ADMISSION_POLICIES)

    async def sync(self, policy: Object) -> float | None:
        generation = meta.metadata(policy).get("generation") or 0
        if generation <= ((policy.get("status") or {}).get("observedGeneration") or 0):
            return None
        warnings = await self._warnings(policy["spec"])
        status: Object = {"observedGeneration": generation, "typeChecking": {"expressionWarnings": warnings} if warnings else {}}
        resource, name = VALIDATING_ADMISSION_POLICIES, meta.name(policy)
        patch = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name}, "status": status}
        await self.client.patch(resource, name, patch, kind="apply", subresource="status", fieldManager=self.name, force=True)
        return None

    async def _warnings(self, spec: Object) -> list[Object]:
        """An ExpressionWarning for each expression that does not type-check."""
        types = [(resource, kind) for resource in await self._matched(spec) if (kind := await self._type(resource)) is not None]
        params = await self._params(spec.get("paramKind")) if types else None
        out: list[Object] = []
        for field, text in _expressions(spec):
            warnings = [f"{_shown(resource)}: {fault}\n" for resource, kind in types if (fault := _type_error(spec, text, kind, params))]
            if warnings:
                out.append({"fieldRef": field, "warning": "\n".join(warnings)})
        return out

    async def _matched(self, spec: Object) -> list[Resource]:
        """(API group, version, kind) of the resources that the policy matches by name."""
        resources: set[Resource] = set()
        for rule in (spec.get("matchConstraints") or {}).get("resourceRules") or ():
            groups, versions = rule.get("apiGroups") or [], rule.get("apiVersions") or []
            if any("*" in text for text in (*groups, *versions)):
                continue
            plurals = [text for text in rule.get("resources") or () if "*" not in text and "/" not in text]
            for group in groups:
                for version in versions:
                    resources |= {served for served in await self._served(group, version) if served.plural in plurals}
        return sorted(resources, key=lambda served: (served.group, served.version, served.kind))[:MAX_TYPES]

    async def _served(self, group: str, version: str) -> list[Resource]:
        response = await self._read(f"/apis/{group}/{version}" if group else f"/api/{version}")
        return [Resource(group, version, entry["name"], entry["kind"], entry["namespaced"]) for entry in response.get("resources") or ()]

    async def _type(self, resource: Resource) -> "Type | None":
        """The published schema of a kind; None if there is none."""
        from kapi.cel import declaring  # only where there are policies

        group, version = resource.group, resource.version
        document = await self._read(f"/openapi/v3/apis/{group}/{version}" if group else f"/openapi/v3/api/{version}")
        schemas: dict[str, Object] = (document.get("components") or {}).get("schemas") or {}
        wanted = {"group": group, "version": version, "kind": resource.kind}
        nodes = (node for node in schemas.values() if wanted in (node.get("x-kubernetes-group-version-kind") or ()))
        node = next(nodes, None)
        return None if node is None else declaring.published(schemas, node, resource.kind)

    async def _read(self, path: str) -> Object:
        """A published document; {} if there is none."""
        try:
            response: Object = await self.client.send("GET", path)
        except errors.NotFound:
            return {}
        return response

    async def _params(self, kind: Object | None) -> "Type | None":
        if kind is None:
            return None
        group, version = split_api_version(kind["apiVersion"])
        named = [served for served in await self._served(group, version) if served.kind == kind["kind"]]
        return await self._type(named[0]) if named else None


def _expressions(spec: Object) -> Iterator[tuple[str, str]]:
    for i, check in enumerate(spec.get("validations") or ()):
        yield f"spec.validations[{i}].expression", check["expression"]
        if check.get("messageExpression"):
            yield f"spec.validations[{i}].messageExpression", check["messageExpression"]


def _shown(resource: Resource) -> str:
    return f"{resource.group}/{resource.version}, Kind={resource.kind}"


def _type_error(spec: Object, text: str, kind: "Type", params: "Type | None") -> str:
    """The compiler's message for an expression with objects of this type; "" if there is none."""
    from kapi.cel import admission, compiling  # only where there are policies
    from kapi.cel.types import DYN

    known: dict[str, Type] = {}
    frame = admission.frame(params=params is not None, variables=known) | {"object": kind, "oldObject": kind}
    if params is not None:
        frame["params"] = params
    for variable in spec.get("variables") or ():
        try:
            known[variable["name"]] = admission.declared(compiling.compiled(variable["expression"], frame).code.type)
        except compiling.CompilationError:
            known[variable["name"]] = DYN
    try:
        compiling.compiled(text, frame)
    except compiling.CompilationError as fault:
        return str(fault)
    return ""
