"""Privilege escalation prevention: users can only grant permissions they have (RBAC docs, "Privilege escalation prevention").

Where it stands in the admission chain: kapi.admission.privilege_escalation.
"""

from kapi.access import rbac, rules
from kapi.access.authorization import Authorization
from kapi.access.rules import Rule
from kapi.objects import errors
from kapi.objects.meta import Object
from kapi.objects.quoting import go_quote
from kapi.objects.user import MASTERS, Attributes, User
from kapi.registry.admission import AdmissionAttributes

_FIELDS = {
    "roles": ("rules",),
    "clusterroles": ("rules", "aggregationRule"),
    "rolebindings": ("roleRef", "subjects"),
    "clusterrolebindings": ("roleRef", "subjects"),
}
"""Fields that grant permissions, by resource; writes that do not change them are not checked."""


class Escalation:
    """Rejects roles and bindings that grant more than the writer's permissions."""

    def __init__(self, authorization: Authorization) -> None:
        self._authorizer = authorization
        self._rbac = authorization.rbac

    def check(self, attrs: AdmissionAttributes) -> None:
        """A CREATE or UPDATE of roles and bindings. Raises Forbidden, and NotFound for a binding to a role that does not exist."""
        resource, new, old = attrs.kind.resource, attrs.new, attrs.old
        fields = _FIELDS[resource.plural]
        assert new is not None
        if MASTERS in attrs.user.groups or (old is not None and all((old.get(f) or None) == (new.get(f) or None) for f in fields)):
            return
        name = attrs.name or new["metadata"].get("name") or ""
        if resource.plural.endswith("bindings"):
            self._check_binding(attrs.user, attrs.namespace, resource.plural, name, new.get("roleRef") or {})
        else:
            self._check_role(attrs.user, attrs.namespace, resource.plural, name, new, old)

    def _check_role(self, user: User, namespace: str, plural: str, name: str, new: Object, old: Object | None) -> None:
        if self._may(user, "escalate", plural, namespace, name):
            return
        self._check_covered(user, namespace, plural, name, new.get("rules") or [])
        if new.get("aggregationRule") or (old or {}).get("aggregationRule"):
            owned, _ = self._rbac.rules_for(user, namespace)
            if rules.missing(owned, rules.EVERYTHING):
                raise errors.forbidden(plural, rbac.GROUP, name, "must have cluster-admin privileges to use the aggregationRule")

    def _check_binding(self, user: User, namespace: str, plural: str, name: str, reference: Object) -> None:
        kind, role = reference.get("kind") or "", reference.get("name") or ""
        if not self._may(user, "bind", f"{kind.lower()}s", namespace, role):
            self._check_covered(user, namespace, plural, name, self._rbac.role_rules(kind, role, namespace))

    def _may(self, user: User, verb: str, plural: str, namespace: str, name: str) -> bool:
        attributes = Attributes(user, verb, rbac.GROUP, "*", plural, "", namespace, name)
        return self._authorizer.authorize(attributes).allowed

    def _check_covered(self, user: User, namespace: str, plural: str, name: str, wanted: list[Rule]) -> None:
        owned, problems = self._rbac.rules_for(user, namespace)
        missing = rules.missing(owned, wanted)
        if not missing:
            return
        lines = "\n".join(sorted({rules.written(rule) for rule in rules.compact(missing)}))
        who = f"user {go_quote(user.name)} (groups={rules.listed(user.groups)})"
        text = f"{who} is attempting to grant RBAC permissions not currently held:\n{lines}"
        if problems:
            text += f"; resolution errors: [{', '.join(problems)}]"
        raise errors.forbidden(plural, rbac.GROUP, name, text)
