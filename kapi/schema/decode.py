"""Bytes to Object: parsed, checked against the type, pruned, and put into the form stock writes.

The usual body is already in that form and takes the compiled way: orjson, then kapi.schema.compiled (a 742-byte pod in
about 20 µs). Everything else is read again carefully (kapi.schema.reading), which finds stock's words for what is wrong.
Defaults of kinds come later, from their strategies.
"""

from collections.abc import Callable, Collection
from functools import cache
from typing import Any

import orjson

from kapi.objects import nested
from kapi.objects.errors import BadRequest
from kapi.objects.meta import Object
from kapi.objects.quoting import go_quote
from kapi.objects.resource import split_api_version
from kapi.schema import builtin, compiled, parsing, protobuf, reading, scalars, syntax
from kapi.schema.empties import Empties
from kapi.schema.reading import DecodeError, Pairs
from kapi.schema.schema import Schema
from kapi.schema.structural import Structural

INTERNAL = {"": "core", "events.k8s.io": "core", "internal.apiserver.k8s.io": "apiserverinternal"}
"""Go's package of a group's internal types where it is not the first word of the group."""
SCHEMES = {
    "apiregistration.k8s.io": "k8s.io/kube-aggregator/pkg/apiserver/scheme/scheme.go:28",
    "apiextensions.k8s.io": "k8s.io/apiextensions-apiserver/pkg/apiserver/apiserver.go:55",
}
UNREADABLE = "error decoding YAML"
MAP = "of type map[string]interface {}"
LEGACY_SCHEME = "pkg/api/legacyscheme/scheme.go:30"
HEADER = 'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
NO_PROTOBUF = (
    "object *unstructured.Unstructured does not implement the protobuf marshalling interface and cannot be encoded to a protobuf message"
)
SHOWN = 30
"""Bytes of a body that a message shows."""


@cache
def _validator(name: str) -> Callable[[Any], Any]:
    return compiled.validator(builtin.schema(name))


def read(value: Any, schema: Schema, empties: Empties | None = None) -> tuple[Any, list[str]]:
    """The value as stock writes it, and what a strict reading refuses. Raises DecodeError with stock's words.

    For objects that are parsed already, such as the result of a patch. `empties`: takes up the empty lists and maps it had.
    """
    if isinstance(schema, Structural):
        return _read_custom(value, schema)
    if schema.name:
        try:
            return _validator(schema.name)(value), []
        except compiled.Refused:
            pass
    careful = reading.Reading()
    out = careful.whole(value, schema)
    if empties is not None:
        empties += careful.empties
    return out, careful.strict


def compiled_form(value: Any, schema: Schema, api_version: str, kind: str) -> Object | None:
    """A copy of a parsed object of a built-in kind that is in the form stock writes; None for any other, which `decode` reads."""
    if not schema.name or type(value) is not dict or value.get("kind") != kind or value.get("apiVersion") != api_version:
        return None
    try:
        out: Object = _validator(schema.name)(value)
    except compiled.Refused:
        return None
    return out


def _read_custom(value: Any, schema: Structural) -> tuple[Object, list[str]]:
    """A custom object, pruned and with its defaults; unknown fields of its metadata are named first."""
    unknown: list[str] = []
    obj = schema.read(value, unknown)
    return obj, sorted(unknown, key=lambda text: (not text.startswith('unknown field "metadata.'), text))


def parse(raw: bytes, form: str) -> Object:
    """The JSON or YAML object of a body, unchecked. Raises BadRequest, RequestEntityTooLarge."""
    if form == "json":
        parsing.check_size(raw)
    try:
        value = orjson.loads(raw) if form == "json" else reading.plain(parsing.exact(raw, form, []))
    except orjson.JSONDecodeError:
        raise BadRequest(syntax.error(raw)) from None
    except DecodeError as found:
        raise BadRequest(f"error converting YAML to JSON: {found}") from None
    if not isinstance(value, dict):
        raise BadRequest(f"json: cannot unmarshal {scalars.described(value)} into Go value {MAP}")
    return value


def decode(
    raw: bytes, form: str, schema: Schema, *, api_version: str, kind: str, validation: str = "Warn", empties: Empties | None = None,
    also: Collection[str] = (),
) -> tuple[Object, list[str]]:
    """The object of a 'json', 'yaml' or 'protobuf' body sent to a resource of `kind`, and warnings for the client. Raises BadRequest.

    `validation` is Ignore, Warn or Strict: what becomes of unknown and repeated fields. `empties`: see read. `also`: other versions
    of the kind that are taken as if they were this one.
    """  # fmt: skip
    if form == "protobuf" and isinstance(schema, Structural):
        raise BadRequest(f"{kind} in version {go_quote(split_api_version(api_version)[1])} cannot be handled as a {kind}: {NO_PROTOBUF}")
    if form == "protobuf":
        return _from_protobuf(raw, schema, api_version, kind, also), []
    if form == "json" and (schema.name or (isinstance(schema, Structural) and not nested.deep(raw))):
        try:
            value = orjson.loads(raw)
            if type(value) is dict and value.get("kind") == kind and value.get("apiVersion") == api_version:
                found = _read_custom(value, schema) if isinstance(schema, Structural) else (_validator(schema.name)(value), [])
                obj, unknown = found
                if not unknown and (validation == "Ignore" or not parsing.may_repeat(raw, value)):
                    return obj, []
        except (orjson.JSONDecodeError, compiled.Refused, DecodeError):
            pass
    body = _Body(raw, form, api_version, kind, also)
    obj, warnings = body.decode(schema, validation)
    if empties is not None:
        empties += body.empties
    return obj, warnings


def _from_protobuf(raw: bytes, schema: Schema, api_version: str, kind: str, also: Collection[str]) -> Object:
    """The object of a protobuf body. Raises BadRequest."""
    found = _unwrapped(raw, kind)
    if found.api_version and found.api_version != api_version and found.api_version not in also:
        raise BadRequest(f"the API version in the data ({found.api_version}) does not match the expected API version ({api_version})")
    if found.kind and found.kind != kind:
        raise BadRequest(f"{found.kind} cannot be handled as a {kind}")
    try:
        obj, _ = read(protobuf.decode(found.raw, schema), schema)
    except ValueError as why:  # Malformed, DecodeError, or a time of no calendar
        raise _unreadable(api_version, kind, why) from None
    return {**obj, "kind": kind, "apiVersion": api_version}


def _unwrapped(raw: bytes, kind: str) -> protobuf.Envelope:
    """What a protobuf body holds. Raises BadRequest."""
    try:
        return protobuf.unwrap(raw)
    except protobuf.Malformed as why:
        raise BadRequest(f"the object provided is unrecognized (must be of type {kind}): {why} ({_summary(raw)})") from None


def _unreadable(api_version: str, kind: str, why: ValueError) -> BadRequest:
    version = split_api_version(api_version)[1]
    return BadRequest(f"{kind} in version {go_quote(version)} cannot be handled as a {kind}: {why}")


def options(raw: bytes, form: str, kind: str) -> Object:
    """A body of options, such as DeleteOptions: a kind that every group has in every version. Raises BadRequest."""
    schema = builtin.schema(builtin.named("", "v1", kind))
    version: Any = ""
    try:
        if form == "protobuf":
            envelope = _unwrapped(raw, kind)
            given, version = envelope.kind, envelope.api_version
            obj = protobuf.decode(envelope.raw, schema)
        else:
            obj = parse(raw, form)
            given, version = obj.get("kind", ""), obj.get("apiVersion", "")
        if given and given != kind:
            raise BadRequest(f"decoded object cannot be converted to {kind}: {given}")
        found: Object = read(obj, schema)[0]
    except ValueError as why:
        raise _unreadable(version if version and isinstance(version, str) else "v1", kind, why) from None
    return found


def decode_applied(raw: bytes, api_version: str, validation: str = "Warn", custom: bool = True) -> tuple[Object, list[str]]:
    """The partial object of an apply body (YAML, or JSON as a part of it), as it was written, and warnings. Raises BadRequest.

    kapi.schema.apply validates it against the type. Only objects of a `custom` kind may be nested deeply.
    """
    value, strict = _applied(raw, validation, custom)
    if (given := value.get("apiVersion")) != api_version:
        raise BadRequest(f"Incorrect version specified in apply patch. Specified patch version: {given or ''}, expected: {api_version}")
    if strict and validation == "Strict":
        raise BadRequest(f"error strict decoding YAML: {strict[0]}")
    return value, strict if validation == "Warn" else []


def _applied(raw: bytes, validation: str, custom: bool) -> tuple[Object, list[str]]:
    """The object of an apply body, and what was wrong with repeated keys."""
    try:
        if raw.startswith(b"{"):
            parsing.check_size(raw)
            if custom and nested.deep(raw):
                return _deep(raw), []
        value = orjson.loads(raw)
        if isinstance(value, dict) and (validation == "Ignore" or not parsing.may_repeat(raw, value)):
            return value, []
    except orjson.JSONDecodeError:
        pass
    repeated: list[str] = []
    try:
        value = reading.plain(parsing.exact(raw, "yaml", repeated))
    except DecodeError as found:
        raise BadRequest(f"{UNREADABLE}: error converting YAML to JSON: {found}") from None
    if not isinstance(value, dict):
        what = scalars.described(value) if value is not None else "null"
        raise BadRequest(f"{UNREADABLE}: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {what} into Go value {MAP}")
    return value, [f"error converting YAML to JSON: {text}" for text in repeated]


def _deep(raw: bytes) -> Object:
    """The object of an apply body that is nested deeply."""
    if why := syntax.error(raw):
        raise BadRequest(f"{UNREADABLE}: {why}")
    try:
        shallow, parts = nested.cut(raw)
    except ValueError as why:
        raise BadRequest(f"{UNREADABLE}: {why}") from None
    value: Object = nested.restored(orjson.loads(shallow), parts)
    return value


class _Body:
    """A body read with care; knows how stock words the refusal of it."""

    def __init__(self, raw: bytes, form: str, api_version: str, kind: str, also: Collection[str] = ()) -> None:
        self.raw, self.form, self.also = raw, form, also
        self.wanted = (api_version, kind)
        self.found = (api_version, kind)
        self.empties = Empties()
        self.parts: nested.Parts = {}

    def flatten(self) -> None:
        """Put what lies too deep aside, if the text is JSON at all."""
        if not syntax.error(self.raw):
            try:
                self.raw, self.parts = nested.cut(self.raw)
            except ValueError as why:
                raise self.refused(str(why)) from None

    def decode(self, schema: Schema, validation: str) -> tuple[Object, list[str]]:
        careful = reading.Reading()
        if isinstance(schema, Structural) and self.form == "json" and nested.deep(self.raw):
            self.flatten()
        value = self.parsed(careful.strict)
        self.header(value)
        if isinstance(schema, Structural):
            return self._custom(value, schema, careful.strict, validation)
        try:
            obj = careful.whole(Pairs() if value is None else value, schema if self.found == self.wanted else self._other())
        except DecodeError as found:
            raise self.refused(str(found)) from None
        self.empties = careful.empties
        warnings = self.strict_warnings(careful.strict, validation)
        if self.found != self.wanted:
            raise self._converting()
        return {**obj, "kind": self.wanted[1], "apiVersion": self.wanted[0]}, warnings

    def _custom(self, value: Any, schema: Structural, strict: list[str], validation: str) -> tuple[Object, list[str]]:
        """A custom object: it has to name its kind, and another kind is refused by its strategy."""
        strict += reading.repeated(value)
        try:
            obj = reading.plain(Pairs() if value is None else value)
        except DecodeError as found:
            raise self.refused(str(found)) from None
        if self.parts:
            obj = nested.restored(obj, self.parts)
        if not obj.get("kind"):
            raise self.refused(f"Object 'Kind' is missing in '{self.raw.decode(errors='replace')}'")
        if obj.get("apiVersion") != self.wanted[0]:
            given, wanted = obj.get("apiVersion") or "", self.wanted[0]
            raise BadRequest(f"the API version in the data ({given}) does not match the expected API version ({wanted})")
        try:
            obj, unknown = _read_custom(obj, schema)
        except DecodeError as found:
            raise self.refused(str(found)) from None
        return obj, self.strict_warnings([*strict, *unknown], validation)

    def parsed(self, strict: list[str]) -> Any:
        try:
            return parsing.exact(self.raw, self.form, strict)
        except DecodeError as found:
            head = "couldn't get version/kind; json parse error: " if self.form == "json" else ""
            raise self._unrecognized(f"{head}{found}") from None

    def header(self, value: Any) -> None:
        """Read apiVersion and kind; what is left out is what the resource has."""
        if value is not None and not isinstance(value, Pairs):
            raise self._unrecognized(_header_error(scalars.described(value), f"value of type {HEADER}"))
        texts = {"apiVersion": "", "kind": ""}
        for key, item in value or ():
            if key in texts and item is not None:
                if not isinstance(item, str):
                    raise self._unrecognized(_header_error(reading.described_pairs(item), f"struct field .{key} of type string"))
                texts[key] = item
        if texts["apiVersion"].count("/") > 1:
            raise self._unrecognized(f"unexpected GroupVersion string: {texts['apiVersion']}")
        version = self.wanted[0] if texts["apiVersion"] in self.also else texts["apiVersion"]
        self.found = (version or self.wanted[0], texts["kind"] or self.wanted[1])

    def _other(self) -> Schema:
        """The schema of a kind other than the expected one: such a body is decoded before it is rejected, as in stock."""
        group, version = split_api_version(self.found[0])
        name = builtin.named(group, version, self.found[1])
        scheme = SCHEMES.get(split_api_version(self.wanted[0])[0], LEGACY_SCHEME)
        if not name:
            version, kind = map(go_quote, self.found)
            raise self.refused(f"no kind {kind} is registered for version {version} in scheme {go_quote(scheme)}")
        return builtin.schema(name)

    def _converting(self) -> BadRequest:
        """Refusal of an object of another kind, or of another version of the same."""
        (api_version, kind), (wanted, wanted_kind) = self.found, self.wanted
        group, version = split_api_version(api_version)
        package = [INTERNAL.get(g, g.partition(".")[0]) for g in (group, split_api_version(wanted)[0])]
        if kind == wanted_kind and package[0] == package[1]:
            return BadRequest(f"the API version in the data ({api_version}) does not match the expected API version ({wanted})")
        return self.refused(f"converting ({version}.{kind}) to ({package[1]}.{wanted_kind}): unknown conversion")

    def strict_warnings(self, strict: list[str], validation: str) -> list[str]:
        """Warnings for what strict decoding rejects; raises BadRequest under fieldValidation=Strict."""
        if strict and validation == "Strict":
            raise self.refused("strict decoding error: " + ", ".join(strict))
        return strict if validation == "Warn" else []

    def refused(self, why: str) -> BadRequest:
        api_version, kind = self.found
        version = split_api_version(api_version)[1]
        return BadRequest(f"{kind} in version {go_quote(version)} cannot be handled as a {self.wanted[1]}: {why}")

    def _unrecognized(self, why: str) -> BadRequest:
        return BadRequest(f"the object provided is unrecognized (must be of type {self.wanted[1]}): {why} ({_summary(self.raw)})")


def _header_error(value: str, where: str) -> str:
    return f"couldn't get version/kind; json parse error: json: cannot unmarshal {value} into Go {where}"


def _summary(raw: bytes) -> str:
    """The beginning of a body, as a message shows it."""
    if not raw:
        return "<empty>"
    start, more = raw[:SHOWN], " ..." if len(raw) > SHOWN else ""
    return (start.decode(errors="replace") if raw[:1] == b"{" else start.hex()) + more
