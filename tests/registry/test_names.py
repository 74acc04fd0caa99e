"""Which names each built-in kind takes: stock's table of name validators (v1.36)."""

import pytest

from kapi.objects import names
from kapi.registry import catalogue
from kapi.registry.kind import Kind

LABELS = {"namespaces", "services", "statefulsets"}
SEGMENTS = {
    "roles", "rolebindings", "clusterroles", "clusterrolebindings", "certificatesigningrequests", "apiservices", "csidrivers",
    "poddisruptionbudgets",
}  # fmt: skip
"""Kinds whose own rules say more of the name (csidrivers, apiservices), or nothing."""
OWN = {"ipaddresses", "events"}
KINDS = {kind.collection: kind for kind in catalogue.standard()}.values()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.resource.plural)
def test_the_name_of_a_kind(kind: Kind) -> None:
    plural, check = kind.resource.plural, kind.strategy.name_check
    if plural in OWN:
        return
    wanted = names.dns_label if plural in LABELS else names.path_segment if plural in SEGMENTS else names.dns_subdomain
    for name in ("a", "a.b", "1a", "A", "a/b", "a%b", "..", "a-", "a" * 64, "a" * 254, "ä"):
        for prefix in (False, True):
            assert check(name, prefix) == wanted(name, prefix), name
