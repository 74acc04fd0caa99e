"""What form an answer has: what an Accept header asks for, and what there is of a kind."""

from typing import NamedTuple

from kapi.api.request import Request
from kapi.objects import accept, errors
from kapi.objects.accept import Accepted, Target
from kapi.objects.caching import kept
from kapi.registry.kind import Kind

JSON, YAML, PROTOBUF = b"application/json", b"application/yaml", b"application/vnd.kubernetes.protobuf"
_BYTES = {accept.JSON: JSON, accept.YAML: YAML, accept.PROTOBUF: PROTOBUF}
PARTIAL = ("PartialObjectMetadata", "PartialObjectMetadataList")


class Form(NamedTuple):
    """How the client wants an answer: media type and, for objects, as="" | Table | PartialObjectMetadata(List)."""

    media: bytes = JSON
    shape: str = ""
    version: str = "v1"
    pretty: bool = False


def of(request: Request, kind: Kind) -> Form:
    """The form of an object or list; custom ones have none in protobuf. Raises NotAcceptable."""
    return _chosen(_of_custom(request.accept) if kind.custom else _of_objects(request.accept))


def of_review(request: Request) -> Form:
    """The form of what is answered and not stored: it has none as a Table. Raises NotAcceptable."""
    return _chosen(_of_reviews(request.accept))


def of_document(request: Request) -> Form:
    """The form of what has only one: the Status of a failure, discovery. Raises NotAcceptable."""
    return _chosen(_of_documents(request.accept))


def form(media: str) -> Form:
    """The plain form in this media type."""
    return Form(_BYTES[media])


def not_acceptable() -> errors.NotAcceptable:
    return errors.NotAcceptable(f"406: Not Acceptable\n\nAvailable representations: {', '.join(accept.MEDIA)}", {})


def _chosen(form: Form | None) -> Form:
    if form is None:
        raise not_acceptable()
    return form


def _form(found: Accepted | None) -> Form | None:
    if found is None:
        return None
    target = found.target or Target("", "v1", "")
    return Form(_BYTES[found.media], target.kind, target.version, found.pretty)


def _allows(media: str, target: Target | None) -> bool:
    if target is None:
        return True
    if target.group != "meta.k8s.io" or target.version not in ("v1", "v1beta1"):
        return False
    return target.kind in PARTIAL or (target.kind == "Table" and media != accept.PROTOBUF)


def _allows_custom(media: str, target: Target | None) -> bool:
    return _allows(media, target) and (target is not None or media != accept.PROTOBUF)


def _allows_review(media: str, target: Target | None) -> bool:
    return _allows(media, target) and (target is None or target.kind != "Table")


@kept(256)
def _of_objects(header: str) -> Form | None:
    return _form(accept.first(header, _allows))


@kept(256)
def _of_custom(header: str) -> Form | None:
    return _form(accept.first(header, _allows_custom))


@kept(256)
def _of_reviews(header: str) -> Form | None:
    return _form(accept.first(header, _allows_review))


@kept(256)
def _of_documents(header: str) -> Form | None:
    return _form(accept.first(header, lambda media, target: target is None))
