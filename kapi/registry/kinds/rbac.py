"""Roles and bindings of rbac.authorization.k8s.io. kapi.access checks that writers hold what they grant."""

from typing import Any, ClassVar

from kapi.objects import names
from kapi.objects.meta import Object
from kapi.registry.strategy import NAME_COLUMN, Strategy
from kapi.registry.validation import rules
from kapi.registry.validation.part import Part, PlainStrategy

GROUP = "rbac.authorization.k8s.io"
SUBJECTS = ("ServiceAccount", "User", "Group")


class RoleStrategy(PlainStrategy):
    """Role."""

    name_check = staticmethod(names.path_segment)
    namespaced: ClassVar[bool] = True
    columns = (NAME_COLUMN, Strategy.columns[1])

    def check(self, new: Part, old: Object | None) -> None:
        for rule in new.parts("rules"):
            _check_rule(rule, self.namespaced)


class ClusterRoleStrategy(RoleStrategy):
    """ClusterRole."""

    namespaced = False

    def check(self, new: Part, old: Object | None) -> None:
        super().check(new, old)
        if "aggregationRule" not in new:
            return
        aggregation, field = new.part("aggregationRule"), "clusterRoleSelectors"
        aggregation.need(field, "at least one clusterRoleSelector required if aggregationRule is non-nil")
        for at, selector in aggregation.values(field):
            count = len(new.e)
            rules.label_selector(new.e, at, selector)
            if len(new.e) > count:
                new.e.invalid(at, None, "invalid label selector.")


def _check_rule(rule: Part, namespaced: bool) -> None:
    rule.need("verbs", "verbs must contain at least one value")
    if rule.items("nonResourceURLs"):
        if namespaced:
            rule.invalid("nonResourceURLs", "namespaced rules cannot apply to non-resource URLs")
        if any(rule.items(field) for field in ("apiGroups", "resources", "resourceNames")):
            rule.invalid("nonResourceURLs", "rules cannot apply to both regular resources and non-resource URLs")
        return
    rule.need("apiGroups", "resource rules must supply at least one api group")
    rule.need("resources", "resource rules must supply at least one resource")


class RoleBindingStrategy(PlainStrategy):
    """RoleBinding."""

    name_check = staticmethod(names.path_segment)
    roles: ClassVar[tuple[str, ...]] = ("Role", "ClusterRole")
    columns = rules.columns(
        "Name", "Role=rbac.v1.RoleBinding.roleRef", "Age", "Users+: Users in the roleBinding", "Groups+: Groups in the roleBinding",
        "ServiceAccounts+: ServiceAccounts in the roleBinding",
    )  # fmt: skip
    defaults_of_empty = {"roleRef.apiGroup": GROUP}

    def default(self, obj: Object) -> None:
        super().default(obj)
        for subject in obj.get("subjects") or ():
            if not subject.get("apiGroup") and subject["kind"] in ("User", "Group"):
                subject["apiGroup"] = GROUP

    def check(self, new: Part, old: Object | None) -> None:
        ref = new.part("roleRef")
        ref.enum("apiGroup", (GROUP,))
        if ref.text("kind") not in self.roles:
            ref.unsupported("kind", self.roles, sort=False)
        ref.named("name", names.path_segment)
        for subject in new.parts("subjects"):
            _check_subject(subject, "Role" in self.roles)
        if old is not None and ref.obj != old["roleRef"]:
            shown = {"APIGroup": ref.text("apiGroup"), "Kind": ref.text("kind"), "Name": ref.text("name")}
            new.e.invalid("roleRef", shown, "cannot change roleRef")

    def cells(self, obj: Object) -> list[Any]:
        ref, subjects = obj["roleRef"], obj.get("subjects") or ()
        named = {kind: [s for s in subjects if s.get("kind") == kind] for kind in SUBJECTS}
        accounts = ", ".join(f"{s.get('namespace', '')}/{s['name']}" for s in named["ServiceAccount"])
        others = [", ".join(s["name"] for s in named[kind]) for kind in ("User", "Group")]
        return [f"{ref['kind']}/{ref['name']}", *others, accounts]


class ClusterRoleBindingStrategy(RoleBindingStrategy):
    """ClusterRoleBinding."""

    roles = ("ClusterRole",)


def _check_subject(subject: Part, namespaced: bool) -> None:
    kind = subject.text("kind")
    if kind == "ServiceAccount":
        subject.named("name", names.dns_subdomain)
        if subject.text("apiGroup"):
            subject.unsupported("apiGroup", ("",))
        if not namespaced:
            subject.need("namespace")
        return
    subject.need("name")
    if kind in SUBJECTS:
        subject.enum("apiGroup", (GROUP,))
    else:
        subject.unsupported("kind", SUBJECTS, sort=False)
