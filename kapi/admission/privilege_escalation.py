"""Roles and bindings: nobody grants what they do not have. The check is kapi.access.escalation's; this is its place in the chain.

Stock has it in the storage of these kinds: behind all who mutate, before the object is validated.
"""

from collections.abc import Callable

from kapi.admission.plugin import CREATE, UPDATE, Plugin
from kapi.registry.admission import Review

_RESOURCES = tuple(f"{plural}.rbac.authorization.k8s.io" for plural in ("roles", "clusterroles", "rolebindings", "clusterrolebindings"))


class PrivilegeEscalation(Plugin):
    """Asks whether the writer has what is granted; `check` raises a StatusError if not."""

    name = "PrivilegeEscalation"
    about = {CREATE: _RESOURCES, UPDATE: _RESOURCES}

    def __init__(self, check: Callable[[Review], None]) -> None:
        self._check = check

    def check(self, review: Review) -> None:
        self._check(review)
