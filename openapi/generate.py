"""Makes types.json, the table of every v1.36 type, wire.json, their numbers in protobuf, resources.json, what is served, and
published.json, what OpenAPI documents have in addition.

`python -m openapi.generate [--swagger FILE] [--binary KUBECTL] [--discovery FOLDER] [--openapi FOLDER] [--protobuf FILE]`. Fields,
lists and merge keys come from the swagger in the installed `kubernetes-validate` package; pointers, omitempty and order from the Go
types in kubectl (openapi.binary); groups and verbs from recorded discovery documents (resources.json is left alone without them); the
values and defaults of fields, unions and the names of shared parameters from recorded OpenAPI documents (so is published.json); the
protobuf numbers of types kubectl does not carry from published .proto files (their lines stay as they are without them).
The notation of types.json is described in kapi.schema.builtin, which reads it.
"""

import argparse
import gzip
import json
import re
import shutil
import sys
from importlib import resources
from pathlib import Path
from typing import Any

from openapi import binary
from openapi.tables import storage_hash

HERE = Path(__file__).parent
WANTED = re.compile(r"k8s\.io/(api|apimachinery/pkg/(apis/meta/v1|api/resource|runtime|util/intstr|types|version))[/.]")
SCALARS = {
    ("string", ""): "string",
    ("string", "byte"): "bytes",
    ("boolean", ""): "bool",
    ("integer", "int32"): "int32",
    ("integer", "int64"): "int64",
    ("number", "double"): "float64",
}
STORED = ("v1", "v2", "v1beta1", "v1beta2", "v1alpha1", "v1alpha2", "v1alpha3")
VALUES = {"metadata", "spec", "status", "lastTransitionTime"}
"""Optional structs that are not pointers in Go, in the types kubectl does not carry."""
POINTERS = {
    "JSONSchemaProps": "$ref default maximum minimum maxLength minLength maxItems minItems multipleOf maxProperties minProperties items not"
    " additionalProperties additionalItems externalDocs example x-kubernetes-preserve-unknown-fields x-kubernetes-list-type"
    " x-kubernetes-map-type",
    "CustomResourceDefinitionVersion": "deprecationWarning schema subresources",
    "CustomResourceDefinitionSpec": "conversion",
    "CustomResourceConversion": "webhook",
    "CustomResourceSubresources": "status scale",
    "CustomResourceSubresourceScale": "labelSelectorPath",
    "CustomResourceValidation": "openAPIV3Schema",
    "WebhookConversion": "clientConfig",
    "WebhookClientConfig": "url service",
    "ServiceReference": "path port",
    "ValidationRule": "reason optionalOldSelf",
    "APIServiceSpec": "service",
    "PodGroupSchedulingPolicy": "basic gang",
    "PodGroupSpec": "schedulingConstraints podGroupTemplateRef priority",
    "PodGroupTemplate": "schedulingConstraints priority",
    "PodGroupTemplateReference": "workload",
    "PodGroupResourceClaim": "resourceClaimName resourceClaimTemplateName",
    "PodGroupResourceClaimStatus": "resourceClaimName",
    "WorkloadSpec": "controllerRef",
    "NodeAllocatableResourceMapping": "capacityKey allocationMultiplier",
}
"""Pointer fields of the types kubectl does not carry (apiextensions, aggregation, alpha ones gone by 1.37), by type name."""
NAMED = {
    "CustomResourceDefinitionSpec.scope": "v1.ResourceScope",
    "CustomResourceConversion.strategy": "v1.ConversionStrategyType",
    "CustomResourceDefinitionCondition.type": "v1.CustomResourceDefinitionConditionType",
    "CustomResourceDefinitionCondition.status": "v1.ConditionStatus",
    "APIServiceCondition.type": "v1.APIServiceConditionType",
    "APIServiceCondition.status": "v1.ConditionStatus",
    "JSONSchemaProps.$schema": "v1.JSONSchemaURL",
    "ValidationRule.reason": "v1.FieldValueErrorReason",
}
"""Go type names of some of those fields, as in error messages."""
_GROUP_TEMPLATE = "schedulingPolicy=2 schedulingConstraints=3 resourceClaims=4 disruptionMode=5 priorityClassName=6 priority=7"
_MAPPING = "capacityKey=1 allocationMultiplier=2"
NUMBERS = {
    "core.v1.NodeAllocatableResourceClaimStatus": "resources=3",
    "resource.v1.Device": "nodeAllocatableResourceMappings=13",
    "resource.v1.NodeAllocatableResourceMapping": _MAPPING,
    "resource.v1beta1.BasicDevice": "nodeAllocatableResourceMappings=12",
    "resource.v1beta1.NodeAllocatableResourceMapping": _MAPPING,
    "resource.v1beta2.Device": "nodeAllocatableResourceMappings=13",
    "resource.v1beta2.NodeAllocatableResourceMapping": _MAPPING,
    "scheduling.v1alpha2.GangSchedulingPolicy": "minCount=1",
    "scheduling.v1alpha2.PodGroup": "metadata=1 spec=2 status=3",
    "scheduling.v1alpha2.PodGroupList": "metadata=1 items=2",
    "scheduling.v1alpha2.PodGroupResourceClaim": "name=1 resourceClaimName=2 resourceClaimTemplateName=3",
    "scheduling.v1alpha2.PodGroupResourceClaimStatus": "name=1 resourceClaimName=2",
    "scheduling.v1alpha2.PodGroupSchedulingConstraints": "topology=1",
    "scheduling.v1alpha2.PodGroupSchedulingPolicy": "basic=1 gang=2",
    "scheduling.v1alpha2.PodGroupSpec": "podGroupTemplateRef=1 " + _GROUP_TEMPLATE,
    "scheduling.v1alpha2.PodGroupStatus": "conditions=1 resourceClaimStatuses=2",
    "scheduling.v1alpha2.PodGroupTemplate": "name=1 " + _GROUP_TEMPLATE,
    "scheduling.v1alpha2.PodGroupTemplateReference": "workload=1",
    "scheduling.v1alpha2.TopologyConstraint": "key=1",
    "scheduling.v1alpha2.TypedLocalObjectReference": "apiGroup=1 kind=2 name=3",
    "scheduling.v1alpha2.Workload": "metadata=1 spec=2",
    "scheduling.v1alpha2.WorkloadList": "metadata=1 items=2",
    "scheduling.v1alpha2.WorkloadPodGroupTemplateReference": "workloadName=1 podGroupTemplateName=2",
    "scheduling.v1alpha2.WorkloadSpec": "controllerRef=1 podGroupTemplates=2",
}
"""Protobuf numbers of alpha fields that are gone by 1.37, by type."""


def definition(go: str) -> str:
    """'io.k8s.api.core.v1.Pod' of 'k8s.io/api/core/v1.Pod'."""
    return go.replace("k8s.io/", "io.k8s.", 1).replace("/", ".")


def go_name(name: str) -> str:
    """The way back: 'k8s.io/api/core/v1.Pod' of 'io.k8s.api.core.v1.Pod'."""
    package, _, kind = name.removeprefix("io.k8s.").rpartition(".")
    return f"k8s.io/{package.replace('.', '/')}.{kind}"


def notation(go: str, types: binary.Types, known: dict[str, Any]) -> str:
    """The table's spelling of a Go type: '*k8s.io/api/core/v1.Protocol' is '*v1.Protocol=string'."""
    for head in ("*", "[]"):
        if go.startswith(head) and go != "[]uint8":
            return head + notation(go[len(head) :], types, known)
    if go == "[]uint8":
        return "bytes"
    if found := re.match(r"map\[(.*?)\](.*)", go):
        return f"map[{found[1].rpartition('/')[2]}]{notation(found[2], types, known)}"
    if go in types.named and definition(go) not in known:
        return f"{go.rpartition('/')[2]}={notation(types.named[go], types, known)}"
    return definition(go) if "/" in go else go


def flattened(name: str, types: binary.Types, inside: str = "") -> dict[str, tuple[binary.Field, str]]:
    """Fields of a struct by JSON name, embedded structs opened; with the dotted names of the structs they lie in."""
    out: dict[str, tuple[binary.Field, str]] = {}
    for field in types.structs.get(name, ()):
        if field.name:
            out[field.name] = (field, inside)
        else:
            struct = field.type.rpartition(".")[2]
            out |= flattened(field.type.lstrip("*"), types, f"{inside}.{struct}" if inside else struct)
    return out


def plain(schema: dict[str, Any]) -> str:
    """The notation of a swagger property, which knows no pointers."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    kind = schema.get("type", "object")
    kind = next(k for k in kind if k != "null") if isinstance(kind, list) else kind
    if kind == "array":
        return "[]" + plain(schema["items"])
    if kind == "object":
        return "map[string]" + plain(schema["additionalProperties"]) if "additionalProperties" in schema else "any"
    return SCALARS[kind, schema.get("format", "")]


def guessed(owner: str, name: str, schema: dict[str, Any], required: bool) -> str:
    """The notation of a field no Go type is at hand for: required ones are values, optional structs are pointers."""
    short = owner.rpartition(".")[2]
    kind = plain(schema)
    if named := NAMED.get(f"{short}.{name}"):
        kind = f"{named}={kind}"
    listed = name in POINTERS.get(short, "").split()
    struct = kind.startswith("io.") and short not in POINTERS and not required and name not in VALUES
    return ("*" if listed or struct else "") + kind + ("" if required else " ?")


def flags(schema: dict[str, Any], required: bool) -> list[str]:
    """The words behind a type: '!' required, 'list=map(port,protocol)', 'map=atomic', 'patch=merge(name)'."""
    out = ["!"] if required else []
    if kind := schema.get("x-kubernetes-list-type"):
        keys = schema.get("x-kubernetes-list-map-keys")
        out.append(f"list={kind}" + (f"({','.join(keys)})" if keys else ""))
    if kind := schema.get("x-kubernetes-map-type"):
        out.append(f"map={kind}")
    if kind := schema.get("x-kubernetes-patch-strategy"):
        key = schema.get("x-kubernetes-patch-merge-key")
        out.append(f"patch={kind}" + (f"({key})" if key else ""))
    return out


def described(name: str, schema: dict[str, Any], types: binary.Types, known: dict[str, Any]) -> dict[str, str]:
    """One definition: its own words under "", then its fields in Go's order."""
    head = [f"map={schema['x-kubernetes-map-type']}"] if "x-kubernetes-map-type" in schema else []
    head += [f"kind={gvk['group']}/{gvk['version']}/{gvk['kind']}" for gvk in schema.get("x-kubernetes-group-version-kind", ())]
    out = {"": " ".join(head)} if head else {}
    go = flattened(go_name(name), types)
    properties = schema.get("properties", {})
    for field in sorted(properties, key=lambda f: (list(go).index(f) if f in go else len(go), f)):
        required = field in schema.get("required", ())
        if field in go:
            known_field, inside = go[field]
            options = "".join({"omitempty": " ?", "omitzero": " 0"}.get(o, "") for o in known_field.options)
            text = notation(known_field.type, types, known) + options + (f" in={inside}" if inside else "")
        else:
            text = guessed(name, field, properties[field], required)
        out[field] = " ".join([text, *flags(properties[field], required)])
    return out


def types_table(swagger: dict[str, Any], types: binary.Types) -> str:
    """The text of types.json: a line per definition."""
    known = swagger.get("definitions") or swagger["$defs"]
    rows = [f"{json.dumps(name)}:{json.dumps(described(name, known[name], types, known), separators=(',', ':'))}" for name in sorted(known)]
    return "{\n" + ",\n".join(rows) + "\n}\n"


def numbered(name: str, types: binary.Types, before: str = "") -> dict[str, str]:
    """JSON name -> number in the protobuf encoding; '2.5' is field 5 of an embedded struct that is field 2."""
    out: dict[str, str] = {}
    for field in types.structs.get(name, ()):
        if field.name and field.number:
            out[field.name] = f"{before}{field.number}"
        elif not field.name and field.number:
            out |= numbered(field.type.lstrip("*"), types, f"{before}{field.number}.")
    return out


def wire_table(swagger: dict[str, Any], types: binary.Types, more: dict[str, str]) -> str:
    """The text of wire.json: a line per definition, "name=1 namespace=3"; `more` has lines of what kubectl does not carry."""
    names = sorted(swagger.get("definitions") or swagger["$defs"])
    words = {name: (line(name, types) or more.get(name, "")) for name in names}
    return "{\n" + ",\n".join(f"{json.dumps(name)}:{json.dumps(text)}" for name, text in words.items() if text) + "\n}\n"


def line(name: str, types: binary.Types) -> str:
    """A line of wire.json, of what is known of a type without .proto files."""
    found = [f"{field}={number}" for field, number in numbered(go_name(name), types).items()]
    return " ".join([*found, *NUMBERS.get(name.removeprefix("io.k8s.api."), "").split()])


def published_numbers(messages: dict[str, Any], known: dict[str, Any]) -> dict[str, str]:
    """Lines of wire.json from published .proto files, {"k8s.io.PACKAGE.Message": {"field": [number, type]}}."""
    out: dict[str, str] = {}
    for message, fields in messages.items():
        name = message.replace("k8s.io.", "io.k8s.", 1).replace("_", "-")
        properties = known.get(name, {}).get("properties", {})
        numbers = {json_name(field, properties): number for field, (number, _) in fields.items()}
        out[name] = " ".join(f"{field}={numbers[field]}" for field in sorted(numbers, key=lambda field: int(numbers[field])))
    return out


def json_name(field: str, properties: dict[str, Any]) -> str:
    """A field of a message as JSON has it: "ref" is "$ref", "xKubernetesMapType" "x-kubernetes-map-type"."""
    dashed = re.sub("[A-Z]", lambda letter: "-" + letter[0].lower(), field)
    return next((name for name in (field, f"${field}", dashed) if name in properties), field)


def versions_of(group: dict[str, Any]) -> list[str]:
    return [version["version"] for version in group["versions"]]


def resource_rows(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of resources.json of an APIResourceList: a resource with its subresources."""
    group, _, version = document["groupVersion"].rpartition("/")
    rows: dict[str, dict[str, Any]] = {}
    for item in document["resources"]:
        plural, _, sub = item["name"].partition("/")
        verbs = " ".join(item["verbs"])
        if sub:
            rows[plural]["subresources"][sub] = verbs
            continue
        row = {"group": group, "version": version, "plural": plural, "kind": item["kind"], "namespaced": item["namespaced"], "verbs": verbs}
        row |= {"short": item.get("shortNames", []), "categories": item.get("categories", []), "subresources": {}}
        if stored := item.get("storageVersionHash"):
            row["stored"] = stored_as(group, item["kind"], stored)
        rows[plural] = row
    return list(rows.values())


def stored_as(group: str, kind: str, digest: str) -> str:
    """The group/version a kind is stored as, derived from its storageVersionHash."""
    for where in (group, ""):
        for version in STORED:
            if storage_hash(where, version, kind) == digest:
                return f"{where}/{version}"
    raise ValueError(f"no version of {kind} hashes to {digest}")


def resources_table(folder: Path) -> str:
    """The text of resources.json: a line per resource, groups and versions in order of preference."""
    names = ["api__v1.json"]
    for group in json.loads((folder / "apis.json").read_bytes())["groups"]:
        names += [f"apis__{group['name']}__{version}.json" for version in versions_of(group)]
    rows = [row for name in names for row in resource_rows(json.loads((folder / name).read_bytes()))]
    return "[\n" + ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows) + "\n]\n"


OPENAPI2, OPENAPI3 = "openapi-v2-1.36.json.gz", "openapi-v3-1.36.json.gz"
FIELD = ("enum", "default")
INNER = ("items", "additionalProperties")
SCHEMA = ("x-kubernetes-unions",)


def description(schema: dict[str, Any], text: str) -> dict[str, Any]:
    """Facts of a field that its row in types.json lacks: enum values, and defaults other than the zeros of fields always set."""
    out = {word: schema[word] for word in FIELD if word in schema}
    always = not text.startswith("*") and (out.get("default") == {} or " ?" not in text)
    if always and out.get("default") in ("", 0, False, {}):
        del out["default"]
    for inner in INNER:
        if isinstance(schema.get(inner), dict) and "enum" in schema[inner]:
            out[inner] = {"enum": schema[inner]["enum"]}
    return out


def published_types(documents: dict[str, Any], types: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Definition -> field -> facts besides its type; "" for the whole definition."""
    known: dict[str, Any] = {}
    for document in documents.values():
        known |= document["components"].get("schemas", {})
    out: dict[str, Any] = {}
    for name in sorted(known.keys() & types.keys()):
        schema, rows = known[name], types[name]
        found = {field: text for field, row in sorted(schema.get("properties", {}).items()) if (text := description(row, rows[field]))}
        whole = {word: schema[word] for word in SCHEMA if word in schema}
        if schema.get("required", []) != [field for field in rows if " !" in rows[field]]:
            whole["required"] = schema["required"]
        if found or whole:
            out[name] = ({"": whole} if whole else {}) | found
    return out


def shared_parameters(document: dict[str, Any]) -> dict[str, str]:
    """Names of the parameters an OpenAPI 2 document shares, by what they are: "limit", "path path", "patch fieldManager", "body Patch";
    of streams with their kind: "PodExecOptions tty"."""
    used = [pair for item in document["paths"].values() for pair in references(item)]
    out: dict[str, str] = {}
    for context, name in sorted(used):
        parameter = document["parameters"][name]
        what = f"body {parameter['schema']['$ref'].rpartition('.')[2]}" if parameter["in"] == "body" else parameter["name"]
        what = "path path" if parameter["in"] == "path" and what == "path" else what
        if out.get(what, name) != name:
            what = f"{context} {what}"
        out[what] = name
    return dict(sorted(out.items()))


def references(item: dict[str, Any]) -> set[tuple[str, str]]:
    """(context, name) of the shared parameters of a path: the context is "patch", the kind of a stream, or ""."""
    out: set[tuple[str, str]] = set()
    operations = [operation for method, operation in item.items() if method != "parameters"]
    for operation in operations:
        kind, action = operation.get("x-kubernetes-group-version-kind", {}).get("kind", ""), operation.get("x-kubernetes-action")
        context = {"connect": kind, "patch": "patch"}.get(str(action), "")
        listed = operation.get("parameters", []) + item.get("parameters", [])
        out |= {(context, one["$ref"].removeprefix("#/parameters/")) for one in listed if "$ref" in one}
    return out


def published_table(folder: Path, types: dict[str, dict[str, str]]) -> str:
    """The text of published.json: a line per definition and parameter."""
    documents, document = (json.loads(gzip.decompress(path.read_bytes())) for path in (folder / OPENAPI3, folder / OPENAPI2))
    parts = {"types": published_types(documents, types), "parameters": shared_parameters(document)}
    texts = []
    for part, rows in parts.items():
        lines = (f"{json.dumps(key)}:{json.dumps(row, separators=(',', ':'))}" for key, row in rows.items())
        texts.append(f"{json.dumps(part)}:{{\n" + ",\n".join(lines) + "\n}")
    return "{" + ",\n".join(texts) + "}\n"


def swagger_path() -> Path:
    """The v1.36 definitions in the installed kubernetes-validate package."""
    root = resources.files("kubernetes_validate") / "kubernetes-json-schema" / "v1.36.0-local" / "_definitions.json"
    return Path(str(root))


def kubectl_path() -> Path:
    """kubectl of the running Python's environment."""
    return Path(shutil.which("kubectl", path=str(Path(sys.executable).parent)) or "kubectl")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m openapi.generate")
    parser.add_argument("--swagger", type=Path, default=None)
    parser.add_argument("--binary", type=Path, default=None)
    parser.add_argument("--discovery", type=Path, default=None)
    parser.add_argument("--openapi", type=Path, default=None)
    parser.add_argument("--protobuf", type=Path, default=None)
    args = parser.parse_args()
    swagger = json.loads((args.swagger or swagger_path()).read_bytes())
    types = binary.read(args.binary or kubectl_path(), WANTED)
    (HERE / "types.json").write_text(types_table(swagger, types))
    more = json.loads((HERE / "wire.json").read_bytes())
    if args.protobuf:
        more |= published_numbers(json.loads(args.protobuf.read_bytes()), swagger.get("definitions") or swagger["$defs"])
    (HERE / "wire.json").write_text(wire_table(swagger, types, more))
    if args.discovery:
        (HERE / "resources.json").write_text(resources_table(args.discovery))
    if args.openapi:
        types_now = json.loads((HERE / "types.json").read_bytes())
        (HERE / "published.json").write_text(published_table(args.openapi, types_now))


if __name__ == "__main__":
    main()
