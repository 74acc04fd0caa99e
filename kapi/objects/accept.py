"""Accept headers: their clauses in order of preference, and the first that a server can answer; as kube-apiserver reads them.

What may be asked for is for the callers to say: objects are negotiated by kapi.api.negotiation, discovery by kapi.documents.discovery.
"""

from collections.abc import Callable
from functools import cmp_to_key
from typing import NamedTuple

JSON, YAML, PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
MEDIA = (JSON, YAML, PROTOBUF)
"""Media types of objects, in stock's order: the first is what `*/*` means."""
_STREAMED = (JSON, PROTOBUF)
"""Those in which there are watches."""


class Target(NamedTuple):
    """The type an object is to be turned into: `as=Table;v=v1;g=meta.k8s.io`."""

    group: str
    version: str
    kind: str


class Accepted(NamedTuple):
    """What is answered: a media type, and the parameters of the clause that asked for it."""

    media: str = JSON
    target: Target | None = None
    """None: the object as it is."""
    pretty: bool = False


Allows = Callable[[str, Target | None], bool]
"""Whether there is an answer in this media type with this target."""


class _Clause(NamedTuple):
    type: str
    subtype: str
    quality: float
    parameters: dict[str, str]

    def before(self, other: "_Clause") -> bool:
        """Whether this one goes first. That is no order (a better quality and a wildcard each win): stock's is none either."""
        if self.quality > other.quality or (self.type != "*" and other.type == "*"):
            return True
        return self.subtype != "*" and other.subtype == "*"

    def matches(self, media: str) -> bool:
        type_, _, subtype = media.partition("/")
        if self.subtype == "*":
            return self.type in (type_, "*")
        return (self.type, self.subtype) == (type_, subtype)


def first(header: str, allows: Allows) -> Accepted | None:
    """The first clause that can be answered; None when there is none. An empty header asks for JSON."""
    if not header:
        return Accepted()
    for clause in _sorted([clause for text in header.split(",") if text and (clause := _clause(text))]):
        for media in MEDIA:
            if clause.matches(media) and (found := _accepted(clause.parameters, media, allows)):
                return found
    return None


def _clause(text: str) -> _Clause | None:
    media, *rest = text.strip(" ").split(";")
    type_, *subtypes = (part.strip(" ") for part in media.split("/"))
    if not subtypes or (len(subtypes) == 1 and not subtypes[0]):
        if type_ != "*":
            return None
        subtypes = ["*"]
    if len(subtypes) > 1:
        return None
    pairs = (parts for parameter in rest if len(parts := parameter.split("=")) == 2 and parts[1])
    parameters = {name.strip(" "): value for name, value in pairs}
    quality = parameters.pop("q", "1")
    return _Clause(type_, subtypes[0], _number(quality), {name: value.strip(" ") for name, value in parameters.items()})


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


_FEW = 12
"""Clauses that Go sorts by insertion."""


def _compared(one: _Clause, other: _Clause) -> int:
    return -1 if one.before(other) else int(other.before(one))


def _sorted(clauses: list[_Clause]) -> list[_Clause]:
    if len(clauses) > _FEW:
        return sorted([clause for clause in clauses if any(map(clause.matches, MEDIA))], key=cmp_to_key(_compared))
    out: list[_Clause] = []
    for clause in clauses:
        at = len(out)
        while at and clause.before(out[at - 1]):
            at -= 1
        out.insert(at, clause)
    return out


def _accepted(parameters: dict[str, str], media: str, allows: Allows) -> Accepted | None:
    target: Target | None = None
    if parameters.keys() & {"as", "g", "v"}:
        target = Target(parameters.get("g", ""), parameters.get("v", ""), parameters.get("as", ""))
    stream = parameters.get("stream")
    if (stream and (stream != "watch" or media not in _STREAMED)) or not allows(media, target):
        return None
    return Accepted(media, target, parameters.get("pretty") == "1")
