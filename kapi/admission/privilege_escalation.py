"""PrivilegeEscalation: nobody grants permissions they do not have. Calls the check of kapi.access.escalation from the chain.

Stock has it in the storage of these kinds: after all mutations, before the object is validated.
"""

from collections.abc import Callable

from kapi.admission.plugin import CREATE, UPDATE, Plugin
from kapi.registry.admission import AdmissionAttributes

_RESOURCES = tuple(f"{plural}.rbac.authorization.k8s.io" for plural in ("roles", "clusterroles", "rolebindings", "clusterrolebindings"))


class PrivilegeEscalation(Plugin):
    """`check` raises a StatusError when a role or binding grants more than its writer has."""

    name = "PrivilegeEscalation"
    handled = {CREATE: _RESOURCES, UPDATE: _RESOURCES}

    def __init__(self, check: Callable[[AdmissionAttributes], None]) -> None:
        self._check = check

    def check(self, attrs: AdmissionAttributes) -> None:
        self._check(attrs)
