"""Volumes made of files from several sources: downward API and projected volumes."""

from collections.abc import Iterator

from kapi.objects import names
from kapi.objects.quoting import go_quote
from kapi.registry.kinds.core.pods import field_refs
from kapi.registry.validation import internal
from kapi.registry.validation.part import Part
from kapi.registry.validation.paths import file_mode, key_to_path, unreserved
from kapi.registry.validation.rules import Errors

KEY_TYPES = ("RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519")
_TAKEN = "conflicting duplicate paths"
_SECONDS = (3600, 91 * 86400, 86400)
"""Life of a pod certificate: shortest, longest, longest of a kubernetes.io signer."""


def _downward_file(item: Part) -> None:
    item.need("path")
    unreserved(item, "path")
    if "fieldRef" in item:
        field_refs.field_ref(item.part("fieldRef"), field_refs.FILE_FIELDS)
        if "resourceFieldRef" in item:
            item.e.invalid(item.at, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
    elif "resourceFieldRef" in item:
        field_refs.resource_ref(item.part("resourceFieldRef"), of_file=True)
    else:
        item.e.required(item.at, "one of fieldRef and resourceFieldRef is required")
    file_mode(item, "mode")


def _downward_files(source: Part) -> Iterator[Part]:
    """Each file, at the path of the whole source: stock leaves its place in the list out."""
    for item in source.items("items"):
        yield Part(source.e, source.at, item)


def downward_volume(source: Part) -> None:
    file_mode(source, "defaultMode")
    for item in _downward_files(source):
        _downward_file(item)


def projected_volume(volume: Part) -> None:
    file_mode(volume, "defaultMode")
    taken: set[str] = set()
    for source in volume.parts("sources"):
        for kind in ("secret", "configMap"):
            if kind in source:
                _keyed(volume, source.part(kind), taken)
        if "downwardAPI" in source:
            for item in _downward_files(source.part("downwardAPI")):
                _downward_file(item)
                _take(volume, item.text("path"), item.text("path"), taken)
        if "serviceAccountToken" in source:
            _token(volume, source.part("serviceAccountToken"))
        if "clusterTrustBundle" in source:
            _trust_bundle(volume, source.part("clusterTrustBundle"), taken)
        if "podCertificate" in source:
            _certificate(volume, source.part("podCertificate"), taken)
        if len(source.obj) > 1:
            source.e.forbidden(source.at, "may not specify more than 1 volume type per source")


def _take(volume: Part, path: str, shown: str, taken: set[str]) -> None:
    if path and path in taken:
        volume.e.invalid(volume.at, shown, _TAKEN)
    taken.add(path)


def _keyed(volume: Part, source: Part, taken: set[str]) -> None:
    source.need("name")
    for item in source.parts("items"):
        key_to_path(item)
        _take(volume, item.text("path"), source.text("name"), taken)


def token_life(token: Part) -> None:
    """How long a token may live: ten minutes or more."""
    token.at_least("expirationSeconds", 600, "may not specify a duration less than 10 minutes")
    token.at_most("expirationSeconds", 1 << 32, "may not specify a duration larger than 2^32 seconds")


def _token(volume: Part, token: Part) -> None:
    token_life(token)
    here = Part(token.e, volume.at, token.obj)  # stock reports the path at the volume
    if here.need("path"):
        unreserved(here, "path")


def _bundle_name(e: Errors, field: str, name: str) -> None:
    signer, colon, tail = name.rpartition(":")
    if not colon:
        messages = names.dns_subdomain(name)
    else:
        messages = names.dns_subdomain(tail) if signer else ["ClusterTrustBundle without signer name must not have \":\" in its name"]
    for message in messages:
        e.invalid(field, name, f"not a valid clustertrustbundlename: {message}")


def _trust_bundle(volume: Part, bundle: Part, taken: set[str]) -> None:
    if "name" in bundle and "signerName" in bundle:
        shown = internal.to_internal("TrustBundle", bundle.obj)
        bundle.e.invalid(bundle.at, shown, "only one of name and signerName may be used")
    elif "name" in bundle:
        bundle.need("name", "must be a valid object name")
        _bundle_name(bundle.e, bundle.path("name"), bundle.text("name"))
        if "labelSelector" in bundle:
            shown = internal.to_internal("selector", bundle.get("labelSelector"))
            bundle.e.invalid(bundle.path("labelSelector"), shown, "labelSelector must be unset if name is specified")
    elif "signerName" in bundle:
        bundle.need("signerName", "must be a valid signer name")
        signer_name(bundle.e, bundle.path("signerName"), bundle.text("signerName"))
        bundle.selector("labelSelector")
    else:
        bundle.e.required(bundle.at, "either name or signerName must be specified")
    bundle.need("path")
    unreserved(bundle, "path")
    _take(volume, bundle.text("path"), bundle.text("path"), taken)


def signer_name(e: Errors, field: str, signer: str) -> None:
    """'example.com/my-signer': a domain of two labels or more, one slash, a path."""
    if not e.need(field, signer):
        return
    domain, slash, path = signer.partition("/")
    if not slash or "/" in path:
        e.invalid(field, signer, "must be a fully qualified domain and path of the form 'example.com/signer-name'")
        return
    for message in names.dns_subdomain(domain):
        e.invalid(field, signer, f"validating label {go_quote(domain)}: {message}" if "." not in domain else message)
    if "." not in domain:
        e.invalid(field, signer, "should be a domain with at least two segments separated by dots")
    for message in names.dns_subdomain(path):
        e.invalid(field, signer, f"validating label {go_quote(path)}: {message}")
    if len(signer) > 571:
        e.too_long(field, 571)


def _certificate(volume: Part, source: Part, taken: set[str]) -> None:
    seconds = source.get("maxExpirationSeconds")
    signer_name(source.e, source.path("signerName"), source.text("signerName"))
    for key in source.items("userAnnotations"):
        for message in names.qualified_name(key.lower()):
            source.e.invalid(source.path("userAnnotations"), key, message)
    source.enum("keyType", KEY_TYPES, sort=False)
    if seconds is not None:
        longest = _SECONDS[2] if source.text("signerName").partition("/")[0].endswith("kubernetes.io") else _SECONDS[1]
        limit = f">= {_SECONDS[0]}" if seconds < _SECONDS[0] else f"<= {longest}"
        if not _SECONDS[0] <= seconds <= longest:
            source.invalid("maxExpirationSeconds", f"if provided, maxExpirationSeconds must be {limit}")
    paths = [name for name in ("credentialBundlePath", "keyPath", "certificateChainPath") if source.text(name)]
    for name in paths:
        unreserved(source, name)
        _take(volume, source.text(name), source.text(name), taken)
    if not paths:
        source.e.required(source.at, "specify at least one of credentialBundlePath, keyPath, and certificateChainPath")
