"""Ingress and IngressClass."""

from typing import Any

from kapi.objects import names
from kapi.objects.meta import Object
from kapi.registry.kinds.core.service import ingress_points
from kapi.registry.validation import addresses, rules
from kapi.registry.validation.part import Part, RuledStrategy

PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
BAD_SEQUENCES, BAD_ENDS = ("//", "/./", "/../", "%2f", "%2F"), ("/..", "/.")
CLASS = "kubernetes.io/ingress.class"
LONGEST_CONTROLLER = 250


class IngressStrategy(RuledStrategy):
    """networking.k8s.io/v1 Ingress."""

    columns = rules.columns(
        "Name", "Class: The name of the IngressClass resource that should be used for additional configuration",
        "Hosts: Hosts that incoming requests are matched against before the ingress rule",
        "Address: Address is a list containing ingress points for the load-balancer", "Ports: Ports of TLS configurations that open",
        "Age",
    )  # fmt: skip
    defaults = {
        "spec": {}, "spec.defaultBackend.resource.apiGroup": None, "spec.rules[].http.paths[].backend.resource.apiGroup": None,
        "status": {}, "status.loadBalancer": {},
    }  # fmt: skip
    initial_status = {"loadBalancer": {}}

    def check(self, new: Part, old: Object | None) -> None:
        spec, annotation = new.part("spec"), (new.obj["metadata"].get("annotations") or {}).get(CLASS)
        if not spec.items("rules") and "defaultBackend" not in spec:
            new.e.invalid("spec", spec.get("rules"), "either `defaultBackend` or `rules` must be specified")
        if "defaultBackend" in spec:
            _backend(spec.part("defaultBackend"))
        for rule in spec.parts("rules"):
            _rule(rule)
        for tls in spec.parts("tls"):
            tls.each("hosts", _host)
            tls.filled("secretName", names.dns_subdomain)
        spec.optional("ingressClassName", names.dns_subdomain)
        if old is None and None not in (annotation, spec.get("ingressClassName")) and annotation != spec.get("ingressClassName"):
            new.e.invalid(f"annotations.{CLASS}", annotation, "must match `ingressClassName` when both are specified")

    def check_status(self, new: Part, old: Object) -> None:
        for _ in ingress_points(new.part("status").part("loadBalancer"), old):
            pass

    def warnings(self, new: Object, old: Object | None) -> list[str]:
        annotated = CLASS in (new["metadata"].get("annotations") or {}) and old is None
        return [f"annotation \"{CLASS}\" is deprecated, please use 'spec.ingressClassName' instead"] if annotated else []

    def cells(self, obj: Object) -> list[Any]:
        spec = obj["spec"]
        name = spec.get("ingressClassName") or (obj["metadata"].get("annotations") or {}).get(CLASS) or "<none>"
        hosts = [rule["host"] for rule in spec.get("rules") or () if rule.get("host")]
        more = f" + {len(hosts) - 3} more..." if len(hosts) > 3 else ""
        points = obj.get("status", {}).get("loadBalancer", {}).get("ingress") or ()
        address = ",".join(p.get("ip") or p.get("hostname") or "" for p in points)
        return [name, (",".join(hosts[:3]) or "*") + more, address, "80, 443" if spec.get("tls") else "80"]


def _host(host: str) -> list[str]:
    return names.wildcard_subdomain(host) if "*" in host else names.dns_subdomain(host)


def _rule(rule: Part) -> None:
    addresses.not_an_ip(rule.e, rule.path("host"), rule.text("host"))
    rule.filled("host", _host)
    if "http" in rule:
        rule.part("http").need("paths")
        for path in rule.part("http").parts("paths"):
            _path(path)


def _path(path: Part) -> None:
    kind, text = path.get("pathType"), path.text("path")
    if kind is None:
        path.required("pathType", "pathType must be specified")
        return
    if path.enum("pathType", PATH_TYPES) and not text.startswith("/") and (text or kind != "ImplementationSpecific"):
        path.e.invalid(path.path("path"), text, "must be an absolute path")
    if kind in ("Exact", "Prefix"):
        bad = [f"must not contain '{sequence}'" for sequence in BAD_SEQUENCES if sequence in text]
        for fault in (*bad, *(f"cannot end with '{end}'" for end in BAD_ENDS if text.endswith(end))):
            path.invalid("path", fault)
    _backend(path.part("backend"))


def _backend(backend: Part) -> None:
    if "resource" in backend and "service" in backend:
        backend.e.invalid(backend.at, "", "cannot set both resource and service backends")
    elif "resource" in backend:
        _reference(backend.part("resource"))
    elif "service" in backend:
        _service(backend)
    else:
        backend.e.invalid(backend.at, "", "resource or service backend is required")


def _service(backend: Part) -> None:
    service, port = backend.part("service"), backend.part("service").part("port")
    service.named("name", names.dns_label)
    if port.text("name") and port.number("number"):
        backend.e.invalid(backend.at, "", "cannot set both port name & port number")
    elif port.text("name"):
        port.checked("name", names.port_name)
    elif port.number("number"):
        port.port("number")
    else:
        backend.e.required(backend.at, "port name or number is required")


def _reference(ref: Part) -> None:
    ref.optional("apiGroup", names.dns_subdomain)
    for field in ("kind", "name"):
        ref.named(field, names.path_segment)


class IngressClassStrategy(RuledStrategy):
    """networking.k8s.io/v1 IngressClass."""

    status = False
    columns = rules.columns(
        "Name", "Controller@spec.controller: Controller that is responsible for handling this class",
        "Parameters: A reference to a resource with additional parameters", "Age",
    )  # fmt: skip
    defaults = {"spec": {}, "spec.parameters.scope": "Cluster"}

    def check(self, new: Part, old: Object | None) -> None:
        spec = new.part("spec")
        if old is not None:
            new.e.immutable("spec.controller", spec.text("controller"), old["spec"].get("controller") or "")
        spec.longest("controller", LONGEST_CONTROLLER)
        spec.named("controller", names.domain_prefixed_path)
        if "parameters" in spec:
            _parameters(spec.part("parameters"))

    def cells(self, obj: Object) -> list[Any]:
        ref = obj["spec"].get("parameters") or {}
        kind = ".".join(part for part in (ref.get("kind"), ref.get("apiGroup")) if part)
        return [f"{kind}/{ref.get('name')}" if ref else "<none>"]


def _parameters(ref: Part) -> None:
    _reference(ref)
    scope = ref.get("scope")
    ref.enum("scope", ("Cluster", "Namespace"), need="" if scope is None else None)
    if scope == "Namespace" and "namespace" not in ref:
        ref.required("namespace", "`parameters.scope` is set to 'Namespace'")
    elif scope == "Namespace":
        ref.checked("namespace", names.dns_label)
    elif scope == "Cluster" and "namespace" in ref:
        ref.forbidden("namespace", "`parameters.scope` is set to 'Cluster'")
