"""Ingress and IngressClass."""

from typing import Any

from kapi.objects import names
from kapi.objects.errors import Cause
from kapi.registry.kinds import rules
from kapi.registry.kinds.rules import Errors
from kapi.registry.strategy import Strategy

Object = dict[str, Any]

PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
BAD_SEQUENCES, BAD_ENDS = ("//", "/./", "/../", "%2f", "%2F"), ("/..", "/.")
CLASS = "kubernetes.io/ingress.class"
LONGEST_CONTROLLER = 250
ABSOLUTE = "must be an absolute path"


class IngressStrategy(Strategy):
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

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        spec = new["spec"]
        annotation = (new["metadata"].get("annotations") or {}).get(CLASS)
        if old is None and annotation is not None and spec.get("ingressClassName") is not None:
            e.invalid(f"metadata.annotations[{CLASS}]", annotation, "can not be set when the class field is also set")
        if not spec.get("rules") and spec.get("defaultBackend") is None:
            e.invalid("spec", None, "either `defaultBackend` or `rules` must be specified")
        if spec.get("defaultBackend") is not None:
            _validate_backend(e, "spec.defaultBackend", spec["defaultBackend"])
        for i, rule in enumerate(spec.get("rules") or ()):
            _validate_rule(e, f"spec.rules[{i}]", rule)
        for i, tls in enumerate(spec.get("tls") or ()):
            _validate_tls(e, f"spec.tls[{i}]", tls)
        if "ingressClassName" in spec:
            e.text("spec.ingressClassName", spec["ingressClassName"], names.dns_subdomain)
        return e

    def validate_status(self, new: Object, old: Object) -> list[Cause]:
        e = Errors()
        for i, point in enumerate(new.get("status", {}).get("loadBalancer", {}).get("ingress") or ()):
            at = f"status.loadBalancer.ingress[{i}]"
            if point.get("ip"):
                rules.legacy_ip(e, f"{at}.ip", point["ip"])
            if host := point.get("hostname"):
                e.text(f"{at}.hostname", host, names.dns_subdomain)
                if names.parse_ip(host):
                    e.invalid(f"{at}.hostname", host, "must be a DNS name, not an IP address")
        return e

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


def _validate_tls(e: Errors, at: str, tls: Object) -> None:
    for i, host in enumerate(tls.get("hosts") or ()):
        if "*" in host:
            e.text(f"{at}.hosts[{i}]", host, names.wildcard_subdomain)
        else:
            e.text(f"{at}.hosts[{i}]", host, names.dns_subdomain)
    if tls.get("secretName"):
        e.text(f"{at}.secretName", tls["secretName"], names.dns_subdomain)


def _validate_rule(e: Errors, at: str, rule: Object) -> None:
    if host := rule.get("host"):
        if names.parse_ip(host):
            e.invalid(f"{at}.host", host, "must be a DNS name, not an IP address")
        e.text(f"{at}.host", host, names.wildcard_subdomain if "*" in host else names.dns_subdomain)
    http = rule.get("http")
    if http is None:
        return
    if e.need(f"{at}.http.paths", http.get("paths")):
        for i, path in enumerate(http["paths"]):
            _validate_path(e, f"{at}.http.paths[{i}]", path)


def _validate_path(e: Errors, at: str, path: Object) -> None:
    kind, text = path.get("pathType"), path.get("path") or ""
    if kind is None:
        e.required(f"{at}.pathType", "pathType must be specified")
    elif kind in ("Exact", "Prefix"):
        if not text.startswith("/"):
            e.invalid(f"{at}.path", text, ABSOLUTE)
        for bad in BAD_SEQUENCES:
            if bad in text:
                e.invalid(f"{at}.path", text, f"must not contain '{bad}'")
        for bad in BAD_ENDS:
            if text.endswith(bad):
                e.invalid(f"{at}.path", text, f"cannot end with '{bad}'")
    elif kind == "ImplementationSpecific":
        if text and not text.startswith("/"):
            e.invalid(f"{at}.path", text, ABSOLUTE)
    else:
        e.unsupported(f"{at}.pathType", kind, PATH_TYPES)
    _validate_backend(e, f"{at}.backend", path.get("backend") or {})


def _validate_backend(e: Errors, at: str, backend: Object) -> None:
    resource, target = backend.get("resource"), backend.get("service")
    if resource is not None and target is not None:
        e.invalid(at, "", "cannot set both resource and service backends")
    elif resource is not None:
        _validate_reference(e, f"{at}.resource", resource)
    elif target is not None:
        _validate_service(e, at, target)
    else:
        e.invalid(at, "", "resource or service backend is required")


def _validate_service(e: Errors, at: str, target: Object) -> None:
    e.named(f"{at}.service.name", target.get("name") or "", names.dns_label)
    port = target.get("port") or {}
    name, number = port.get("name"), port.get("number")
    if name and number:
        e.invalid(at, "", "cannot set both port name & port number")
    elif name:
        e.text(f"{at}.service.port.name", name, names.port_name)
    elif number:
        e.port(f"{at}.service.port.number", number)
    else:
        e.required(at, "port name or number is required")


def _validate_reference(e: Errors, at: str, ref: Object) -> None:
    if ref.get("apiGroup") is not None:
        e.text(f"{at}.apiGroup", ref["apiGroup"], names.dns_subdomain)
    for field in ("kind", "name"):
        e.named(f"{at}.{field}", ref.get(field) or "", names.path_segment)


class IngressClassStrategy(Strategy):
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

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        spec = new["spec"]
        controller = spec.get("controller") or ""
        if old is not None:
            e.immutable("spec.controller", controller, old["spec"].get("controller") or "")
        if len(controller) > LONGEST_CONTROLLER:
            e.too_long("spec.controller", LONGEST_CONTROLLER)
        e.named("spec.controller", controller, names.domain_prefixed_path)
        if spec.get("parameters") is not None:
            _validate_parameters(e, "spec.parameters", spec["parameters"])
        return e

    def row(self, obj: Object, now: float) -> list[Any]:
        ref = obj["spec"].get("parameters") or {}
        kind = ".".join(part for part in (ref.get("kind"), ref.get("apiGroup")) if part)
        shown = f"{kind}/{ref.get('name')}" if ref else "<none>"
        return [obj["metadata"]["name"], obj["spec"].get("controller", ""), shown, rules.age(obj, now)]


def _validate_parameters(e: Errors, at: str, ref: Object) -> None:
    _validate_reference(e, at, ref)
    scope, namespace = ref.get("scope"), ref.get("namespace")
    if scope is None:
        e.required(f"{at}.scope")
    else:
        e.enum(f"{at}.scope", scope, ("Cluster", "Namespace"))
    if scope == "Namespace":
        e.named(f"{at}.namespace", namespace or "", names.dns_label, "`parameters.scope` is set to 'Namespace'")
    elif scope == "Cluster" and namespace is not None:
        e.forbidden(f"{at}.namespace", "`parameters.scope` is set to 'Cluster'")
