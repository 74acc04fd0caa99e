"""Roles and bindings of rbac.authorization.k8s.io. Whether someone may write them (no escalation) is kapi.access's to say."""

from typing import Any, ClassVar

from kapi.objects import names
from kapi.objects.errors import Cause
from kapi.registry.kinds import rules
from kapi.registry.kinds.rules import Errors
from kapi.registry.strategy import NAME_COLUMN, Strategy

Object = dict[str, Any]

GROUP = "rbac.authorization.k8s.io"
SUBJECTS = ("ServiceAccount", "User", "Group")


class RoleStrategy(Strategy):
    """Role."""

    name_check = staticmethod(names.path_segment)
    status = False
    generation = False
    namespaced: ClassVar[bool] = True
    columns = (NAME_COLUMN, Strategy.columns[1])

    def default(self, obj: Object) -> None:
        obj.setdefault("rules", None)
        for rule in obj["rules"] or ():
            rule.setdefault("verbs", None)

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        for i, rule in enumerate(new.get("rules") or ()):
            _validate_rule(e, f"rules[{i}]", rule, self.namespaced)
        return e


class ClusterRoleStrategy(RoleStrategy):
    """ClusterRole."""

    namespaced = False

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors(super().validate(new, old))
        aggregation = new.get("aggregationRule")
        if aggregation is None:
            return e
        at, selectors = "aggregationRule.clusterRoleSelectors", aggregation.get("clusterRoleSelectors") or []
        e.need(at, selectors, "at least one clusterRoleSelector required if aggregationRule is non-nil")
        for i, selector in enumerate(selectors):
            count = len(e)
            rules.label_selector(e, f"{at}[{i}]", selector)
            if len(e) > count:
                e.invalid(f"{at}[{i}]", None, "invalid label selector.")
        return e


def _validate_rule(e: Errors, at: str, rule: Object, namespaced: bool) -> None:
    e.need(f"{at}.verbs", rule.get("verbs"), "verbs must contain at least one value")
    if urls := rule.get("nonResourceURLs"):
        if namespaced:
            e.invalid(f"{at}.nonResourceURLs", urls, "namespaced rules cannot apply to non-resource URLs")
        if any(rule.get(field) for field in ("apiGroups", "resources", "resourceNames")):
            e.invalid(f"{at}.nonResourceURLs", urls, "rules cannot apply to both regular resources and non-resource URLs")
        return
    e.need(f"{at}.apiGroups", rule.get("apiGroups"), "resource rules must supply at least one api group")
    e.need(f"{at}.resources", rule.get("resources"), "resource rules must supply at least one resource")


class RoleBindingStrategy(Strategy):
    """RoleBinding."""

    name_check = staticmethod(names.path_segment)
    status = False
    generation = False
    roles: ClassVar[tuple[str, ...]] = ("Role", "ClusterRole")
    columns = rules.columns(
        "Name", "Role=rbac.v1.RoleBinding.roleRef", "Age", "Users+: Users in the roleBinding", "Groups+: Groups in the roleBinding",
        "ServiceAccounts+: ServiceAccounts in the roleBinding",
    )  # fmt: skip

    def default(self, obj: Object) -> None:
        ref = obj.setdefault("roleRef", {})
        ref.setdefault("kind", "")
        ref.setdefault("name", "")
        ref["apiGroup"] = ref.get("apiGroup") or GROUP
        for subject in obj.get("subjects") or ():
            subject.setdefault("kind", "")
            subject.setdefault("name", "")
            if not subject.get("apiGroup") and subject["kind"] in ("User", "Group"):
                subject["apiGroup"] = GROUP

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        ref = new["roleRef"]
        if ref["apiGroup"] != GROUP:
            e.unsupported("roleRef.apiGroup", ref["apiGroup"], (GROUP,))
        if ref["kind"] not in self.roles:
            e.unsupported("roleRef.kind", ref["kind"], self.roles, sort=False)
        e.named("roleRef.name", ref["name"], names.path_segment)
        for i, subject in enumerate(new.get("subjects") or ()):
            _validate_subject(e, f"subjects[{i}]", subject, "Role" in self.roles)
        if old is not None and ref != old["roleRef"]:
            shown = {"APIGroup": ref["apiGroup"], "Kind": ref["kind"], "Name": ref["name"]}
            e.invalid("roleRef", shown, "cannot change roleRef")
        return e

    def row(self, obj: Object, now: float) -> list[Any]:
        ref, subjects = obj["roleRef"], obj.get("subjects") or ()
        named = {kind: [s for s in subjects if s.get("kind") == kind] for kind in SUBJECTS}
        accounts = ", ".join(f"{s.get('namespace', '')}/{s['name']}" for s in named["ServiceAccount"])
        others = [", ".join(s["name"] for s in named[kind]) for kind in ("User", "Group")]
        return [obj["metadata"]["name"], f"{ref['kind']}/{ref['name']}", rules.age(obj, now), *others, accounts]


class ClusterRoleBindingStrategy(RoleBindingStrategy):
    """ClusterRoleBinding."""

    roles = ("ClusterRole",)


def _validate_subject(e: Errors, at: str, subject: Object, namespaced: bool) -> None:
    name, kind, group = subject.get("name") or "", subject.get("kind") or "", subject.get("apiGroup") or ""
    e.need(f"{at}.name", name)
    if kind == "ServiceAccount":
        if name:
            e.text(f"{at}.name", name, names.dns_subdomain)
        if group:
            e.unsupported(f"{at}.apiGroup", group, ("",))
        if not namespaced:
            e.need(f"{at}.namespace", subject.get("namespace"))
    elif kind in SUBJECTS:
        if group != GROUP:
            e.unsupported(f"{at}.apiGroup", group, (GROUP,))
    else:
        e.unsupported(f"{at}.kind", kind, SUBJECTS, sort=False)
