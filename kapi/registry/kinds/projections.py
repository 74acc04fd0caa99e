"""Volumes made of files from several sources: downward API and projected volumes."""

from typing import Any

from kapi.objects import names
from kapi.registry.kinds import field_refs, internal, rules
from kapi.registry.kinds.paths import file_mode, key_to_path, unreserved
from kapi.registry.kinds.rules import Errors, each

Object = dict[str, Any]

KEY_TYPES = ("RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519")
_TAKEN = "conflicting duplicate paths"
_SECONDS = (3600, 91 * 86400, 86400)
"""Life of a pod certificate: shortest, longest, longest of a kubernetes.io signer."""


def _downward_file(e: Errors, field: str, item: Object) -> None:
    e.need(f"{field}.path", item.get("path"))
    unreserved(e, f"{field}.path", item.get("path") or "")
    if "fieldRef" in item:
        field_refs.field_ref(e, f"{field}.fieldRef", item["fieldRef"], field_refs.FILE_FIELDS)
        if "resourceFieldRef" in item:
            e.invalid(field, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
    elif "resourceFieldRef" in item:
        field_refs.resource_ref(e, f"{field}.resourceFieldRef", item["resourceFieldRef"], of_file=True)
    else:
        e.required(field, "one of fieldRef and resourceFieldRef is required")
    file_mode(e, f"{field}.mode", item.get("mode"))


def downward_volume(e: Errors, field: str, source: Object) -> None:
    file_mode(e, f"{field}.defaultMode", source.get("defaultMode"))
    for item in source.get("items") or ():
        _downward_file(e, field, item)


def projected_volume(e: Errors, field: str, volume: Object) -> None:
    file_mode(e, f"{field}.defaultMode", volume.get("defaultMode"))
    taken: set[str] = set()
    for at, source in each(field, volume, "sources"):
        for kind in ("secret", "configMap"):
            if kind in source:
                _keyed(e, field, f"{at}.{kind}", source[kind], taken)
        for item in (source.get("downwardAPI") or {}).get("items") or ():
            _downward_file(e, f"{at}.downwardAPI", item)
            _take(e, field, item.get("path") or "", item.get("path") or "", taken)
        if "serviceAccountToken" in source:
            _token(e, field, f"{at}.serviceAccountToken", source["serviceAccountToken"])
        if "clusterTrustBundle" in source:
            _trust_bundle(e, field, f"{at}.clusterTrustBundle", source["clusterTrustBundle"], taken)
        if "podCertificate" in source:
            _certificate(e, field, f"{at}.podCertificate", source["podCertificate"], taken)
        if len(source) > 1:
            e.forbidden(at, "may not specify more than 1 volume type per source")


def _take(e: Errors, field: str, path: str, shown: str, taken: set[str]) -> None:
    if path and path in taken:
        e.invalid(field, shown, _TAKEN)
    taken.add(path)


def _keyed(e: Errors, volume: str, field: str, source: Object, taken: set[str]) -> None:
    name = source.get("name") or ""
    e.need(f"{field}.name", name)
    for at, item in each(field, source, "items"):
        key_to_path(e, at, item)
        _take(e, volume, item.get("path") or "", name, taken)


def _token(e: Errors, volume: str, field: str, source: Object) -> None:
    seconds, path = source.get("expirationSeconds") or 0, source.get("path") or ""
    e.at_least(f"{field}.expirationSeconds", seconds, 600, "may not specify a duration less than 10 minutes")
    if seconds > 1 << 32:
        e.invalid(f"{field}.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds")
    if e.need(f"{volume}.path", path):
        unreserved(e, f"{volume}.path", path)


def _bundle_name(e: Errors, field: str, name: str) -> None:
    signer, colon, tail = name.rpartition(":")
    if not colon:
        messages = names.dns_subdomain(name)
    else:
        messages = names.dns_subdomain(tail) if signer else ["ClusterTrustBundle without signer name must not have \":\" in its name"]
    for message in messages:
        e.invalid(field, name, f"not a valid clustertrustbundlename: {message}")


def _trust_bundle(e: Errors, volume: str, field: str, source: Object, taken: set[str]) -> None:
    name, signer, selector = source.get("name"), source.get("signerName"), source.get("labelSelector")
    if name is not None and signer is not None:
        e.invalid(field, internal.to_internal("TrustBundle", source), "only one of name and signerName may be used")
    elif name is not None:
        e.need(f"{field}.name", name, "must be a valid object name")
        _bundle_name(e, f"{field}.name", name)
        if selector is not None:
            shown = internal.to_internal("selector", selector)
            e.invalid(f"{field}.labelSelector", shown, "labelSelector must be unset if name is specified")
    elif signer is not None:
        e.need(f"{field}.signerName", signer, "must be a valid signer name")
        signer_name(e, f"{field}.signerName", signer)
        rules.label_selector(e, f"{field}.labelSelector", selector)
    else:
        e.required(field, "either name or signerName must be specified")
    path = source.get("path") or ""
    e.need(f"{field}.path", path)
    unreserved(e, f"{field}.path", path)
    _take(e, volume, path, path, taken)


def signer_name(e: Errors, field: str, signer: str) -> None:
    """'example.com/my-signer': a domain of two labels or more, one slash, a path."""
    if not e.need(field, signer):
        return
    domain, slash, path = signer.partition("/")
    if not slash or "/" in path:
        e.invalid(field, signer, "must be a fully qualified domain and path of the form 'example.com/signer-name'")
        return
    for message in names.dns_subdomain(domain):
        e.invalid(field, signer, f"validating label \"{domain}\": {message}" if "." not in domain else message)
    if "." not in domain:
        e.invalid(field, signer, "should be a domain with at least two segments separated by dots")
    for message in names.dns_subdomain(path):
        e.invalid(field, signer, f"validating label \"{path}\": {message}")
    e.longest(field, signer, 571)


def _certificate(e: Errors, volume: str, field: str, source: Object, taken: set[str]) -> None:
    signer, seconds, key_type = source.get("signerName") or "", source.get("maxExpirationSeconds"), source.get("keyType") or ""
    signer_name(e, f"{field}.signerName", signer)
    for key in source.get("userAnnotations") or ():
        for message in names.qualified_name(key.lower()):
            e.invalid(f"{field}.userAnnotations", key, message)
    e.enum(f"{field}.keyType", key_type, KEY_TYPES, sort=False)
    if seconds is not None:
        longest = _SECONDS[2] if signer.partition("/")[0].endswith("kubernetes.io") else _SECONDS[1]
        limit = f">= {_SECONDS[0]}" if seconds < _SECONDS[0] else f"<= {longest}"
        if not _SECONDS[0] <= seconds <= longest:
            e.invalid(f"{field}.maxExpirationSeconds", seconds, f"if provided, maxExpirationSeconds must be {limit}")
    wanted = [name for name in ("credentialBundlePath", "keyPath", "certificateChainPath") if source.get(name)]
    for name in wanted:
        unreserved(e, f"{field}.{name}", source[name])
        _take(e, volume, source[name], source[name], taken)
    if not wanted:
        e.required(field, "specify at least one of credentialBundlePath, keyPath, and certificateChainPath")
