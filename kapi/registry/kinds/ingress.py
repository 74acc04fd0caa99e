"""Ingress and IngressClass."""

from typing import Any

from kapi.objects import names
from kapi.registry.kinds import rules
from kapi.registry.kinds.rules import Checked, Errors, checked, each, present

Object = dict[str, Any]

PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
BAD_SEQUENCES, BAD_ENDS = ("//", "/./", "/../", "%2f", "%2F"), ("/..", "/.")
CLASS = "kubernetes.io/ingress.class"
LONGEST_CONTROLLER = 250


class IngressStrategy(Checked):
    """networking.k8s.io/v1 Ingress."""

    columns = rules.columns(
        "Name", "Class: The name of the IngressClass resource that should be used for additional configuration",
        "Hosts: Hosts that incoming requests are matched against before the ingress rule",
        "Address: Address is a list containing ingress points for the load-balancer", "Ports: Ports of TLS configurations that open",
        "Age",
    )  # fmt: skip

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        paths = [p for rule in spec.get("rules") or () for p in (rule.get("http") or {}).get("paths") or ()]
        for backend in (spec.get("defaultBackend"), *(path.get("backend") for path in paths)):
            if backend and backend.get("resource") is not None:
                backend["resource"].setdefault("apiGroup", None)
        obj.setdefault("status", {}).setdefault("loadBalancer", {})

    def prepare(self, new: Object, old: Object | None) -> None:
        new["status"] = (old or {}).get("status") or {"loadBalancer": {}}

    def check(self, e: Errors, new: Object, old: Object | None) -> None:
        spec, named = new["spec"], new["spec"].get("ingressClassName")
        if not spec.get("rules") and spec.get("defaultBackend") is None:
            e.invalid("spec", spec.get("rules"), "either `defaultBackend` or `rules` must be specified")
        present(e, "spec", spec, {"defaultBackend": _backend})
        for at, rule in each("spec", spec, "rules"):
            _rule(e, at, rule)
        for at, tls in each("spec", spec, "tls"):
            for here, host in each(at, tls, "hosts"):
                _host(e, here, host)
            e.optional(at, tls, "secretName", names.dns_subdomain)
        present(e, "spec", spec, {"ingressClassName": checked(names.dns_subdomain)})
        annotation = (new["metadata"].get("annotations") or {}).get(CLASS)
        if old is None and None not in (annotation, named) and annotation != named:
            e.invalid(f"annotations.{CLASS}", annotation, "must match `ingressClassName` when both are specified")

    def check_status(self, e: Errors, new: Object, old: Object) -> None:
        now, before = (((obj.get("status") or {}).get("loadBalancer") or {}) for obj in (new, old))
        for _ in rules.ingress_points(e, "status.loadBalancer", now, before):
            pass

    def warnings(self, new: Object, old: Object | None) -> list[str]:
        annotated = CLASS in (new["metadata"].get("annotations") or {}) and old is None
        return [f"annotation \"{CLASS}\" is deprecated, please use 'spec.ingressClassName' instead"] if annotated else []

    def row(self, obj: Object, now: float) -> list[Any]:
        spec = obj["spec"]
        name = spec.get("ingressClassName") or (obj["metadata"].get("annotations") or {}).get(CLASS) or "<none>"
        hosts = [rule["host"] for rule in spec.get("rules") or () if rule.get("host")]
        more = f" + {len(hosts) - 3} more..." if len(hosts) > 3 else ""
        points = obj.get("status", {}).get("loadBalancer", {}).get("ingress") or ()
        address = ",".join(p.get("ip") or p.get("hostname") or "" for p in points)
        ports = "80, 443" if spec.get("tls") else "80"
        return [obj["metadata"]["name"], name, (",".join(hosts[:3]) or "*") + more, address, ports, rules.age(obj, now)]


def _host(e: Errors, at: str, host: str) -> None:
    e.text(at, host, names.wildcard_subdomain if "*" in host else names.dns_subdomain)


def _rule(e: Errors, at: str, rule: Object) -> None:
    if host := rule.get("host"):
        rules.not_an_ip(e, f"{at}.host", host)
        _host(e, f"{at}.host", host)
    if rule.get("http") is not None:
        e.need(f"{at}.http.paths", rule["http"].get("paths"))
        for here, path in each(f"{at}.http", rule["http"], "paths"):
            _path(e, here, path)


def _path(e: Errors, at: str, path: Object) -> None:
    kind, text = path.get("pathType"), path.get("path") or ""
    if kind is None:
        e.required(f"{at}.pathType", "pathType must be specified")
        return
    if e.enum(f"{at}.pathType", kind, PATH_TYPES) and not text.startswith("/") and (text or kind != "ImplementationSpecific"):
        e.invalid(f"{at}.path", text, "must be an absolute path")
    if kind in ("Exact", "Prefix"):
        bad = [f"must not contain '{sequence}'" for sequence in BAD_SEQUENCES if sequence in text]
        for fault in (*bad, *(f"cannot end with '{end}'" for end in BAD_ENDS if text.endswith(end))):
            e.invalid(f"{at}.path", text, fault)
    _backend(e, f"{at}.backend", path.get("backend") or {})


def _backend(e: Errors, at: str, backend: Object) -> None:
    resource, target = backend.get("resource"), backend.get("service")
    if resource is not None and target is not None:
        e.invalid(at, "", "cannot set both resource and service backends")
    elif resource is not None:
        _reference(e, f"{at}.resource", resource)
    elif target is not None:
        _service(e, at, target)
    else:
        e.invalid(at, "", "resource or service backend is required")


def _service(e: Errors, at: str, target: Object) -> None:
    e.named(f"{at}.service.name", target.get("name") or "", names.dns_label)
    port = target.get("port") or {}
    if port.get("name") and port.get("number"):
        e.invalid(at, "", "cannot set both port name & port number")
    elif port.get("name"):
        e.text(f"{at}.service.port.name", port["name"], names.port_name)
    elif port.get("number"):
        e.port(f"{at}.service.port.number", port["number"])
    else:
        e.required(at, "port name or number is required")


def _reference(e: Errors, at: str, ref: Object) -> None:
    present(e, at, ref, {"apiGroup": checked(names.dns_subdomain)})
    for field in ("kind", "name"):
        e.named(f"{at}.{field}", ref.get(field) or "", names.path_segment)


class IngressClassStrategy(Checked):
    """networking.k8s.io/v1 IngressClass."""

    status = False
    columns = rules.columns(
        "Name", "Controller: Controller that is responsible for handling this class",
        "Parameters: A reference to a resource with additional parameters", "Age",
    )  # fmt: skip

    def default(self, obj: Object) -> None:
        parameters = obj.setdefault("spec", {}).get("parameters")
        if parameters is not None:
            parameters["scope"] = "Cluster" if parameters.get("scope") is None else parameters["scope"]

    def check(self, e: Errors, new: Object, old: Object | None) -> None:
        controller = new["spec"].get("controller") or ""
        if old is not None:
            e.immutable("spec.controller", controller, old["spec"].get("controller") or "")
        e.longest("spec.controller", controller, LONGEST_CONTROLLER)
        e.named("spec.controller", controller, names.domain_prefixed_path)
        present(e, "spec", new["spec"], {"parameters": _parameters})

    def row(self, obj: Object, now: float) -> list[Any]:
        ref = obj["spec"].get("parameters") or {}
        kind = ".".join(part for part in (ref.get("kind"), ref.get("apiGroup")) if part)
        shown = f"{kind}/{ref.get('name')}" if ref else "<none>"
        return [obj["metadata"]["name"], obj["spec"].get("controller", ""), shown, rules.age(obj, now)]


def _parameters(e: Errors, at: str, ref: Object) -> None:
    _reference(e, at, ref)
    scope, namespace = ref.get("scope"), ref.get("namespace")
    e.enum(f"{at}.scope", scope, ("Cluster", "Namespace"), need="" if scope is None else None)
    if scope == "Namespace":
        if namespace is None:
            e.required(f"{at}.namespace", "`parameters.scope` is set to 'Namespace'")
        else:
            e.text(f"{at}.namespace", namespace, names.dns_label)
    elif scope == "Cluster" and namespace is not None:
        e.forbidden(f"{at}.namespace", "`parameters.scope` is set to 'Cluster'")
