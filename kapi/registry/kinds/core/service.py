"""Service: defaults, the fields only some types may have, what may change. Addresses and node ports are handed out by
kapi.registry.allocators, which also keeps clusterIP and clusterIPs alike before the rules here are asked.
"""

from collections.abc import Callable, Iterator
from typing import Any

from kapi.objects import names
from kapi.objects.meta import Object
from kapi.registry.validation import addresses, rules
from kapi.registry.validation.part import Part, RuledStrategy
from kapi.registry.validation.rules import each

TYPES = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
FAMILIES = ("IPv4", "IPv6")
FAMILY_POLICIES = ("SingleStack", "PreferDualStack", "RequireDualStack")
TRAFFIC_DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")
POLICIES = ("Cluster", "Local")
AFFINITY_SECONDS, MOST_AFFINITY_SECONDS = 10800, 86400
SOURCE_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
HINTS, TOPOLOGY_MODE = "service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode"
ONLY_LOAD_BALANCER = "may only be used when `type` is 'LoadBalancer'"
SET_ONCE = "may not change once set"


def headless(spec: Object) -> bool:
    return spec.get("clusterIP") == "None" or (spec.get("clusterIPs") or [""])[0] == "None"


def externally_accessible(spec: Object) -> bool:
    """Reachable from outside the cluster."""
    kind = spec.get("type")
    return kind in ("LoadBalancer", "NodePort") or (kind == "ClusterIP" and bool(spec.get("externalIPs")))


def is_load_balancer(spec: Object) -> bool:
    return spec.get("type") == "LoadBalancer"


def needs_health_check_node_port(spec: Object) -> bool:
    return is_load_balancer(spec) and spec.get("externalTrafficPolicy") == "Local"


def needs_node_port(spec: Object) -> bool:
    return spec.get("type") == "NodePort" or (is_load_balancer(spec) and spec.get("allocateLoadBalancerNodePorts", True))


def needs_cluster_ip(spec: Object) -> bool:
    return spec.get("type") != "ExternalName"


class ServiceStrategy(RuledStrategy):
    """core/v1 Service."""

    returns_deleted = True
    name_check = staticmethod(names.dns_label)
    generation = False
    fields = rules.selectable("spec.clusterIP", "spec.type")
    columns = rules.columns(
        "Name", "Type@spec.type", "Cluster-IP=core.v1.ServiceSpec.clusterIP", "External-IP=core.v1.ServiceSpec.externalIPs",
        "Port(s)=core.v1.ServiceSpec.ports", "Age", "Selector+=core.v1.ServiceSpec.selector",
        of="core.v1.Service",
    )  # fmt: skip
    defaults = {"spec": {}, "status": {}, "status.loadBalancer": {}}
    defaults_of_empty = {"spec.sessionAffinity": "None", "spec.type": "ClusterIP", "spec.ports[].protocol": "TCP"}

    def default(self, obj: Object) -> None:
        super().default(obj)
        spec = obj["spec"]
        if spec["sessionAffinity"] == "None":
            spec.pop("sessionAffinityConfig", None)
        if spec["sessionAffinity"] == "ClientIP":
            config = spec.setdefault("sessionAffinityConfig", {})
            config.setdefault("clientIP", {}).setdefault("timeoutSeconds", AFFINITY_SECONDS)
        for port in spec.get("ports") or ():
            port["targetPort"] = port.get("targetPort") or port.get("port", 0)
        if externally_accessible(spec) and not spec.get("externalTrafficPolicy"):
            spec["externalTrafficPolicy"] = "Cluster"
        if spec["type"] in ("NodePort", "LoadBalancer", "ClusterIP"):
            spec.setdefault("internalTrafficPolicy", "Cluster")
        if is_load_balancer(spec):
            spec.setdefault("allocateLoadBalancerNodePorts", True)
        for _, point in each("", obj["status"]["loadBalancer"], "ingress"):
            if point.get("ip"):
                point.setdefault("ipMode", "VIP")

    def prepare(self, new: Object, old: Object | None) -> None:
        new["status"] = old["status"] if old and "status" in old else {"loadBalancer": {}}
        if old is not None:
            _drop_type_dependent_fields(new["spec"], old["spec"])

    def check(self, new: Part, old: Object | None) -> None:
        spec, before, annotations = new.part("spec"), (old or {}).get("spec") or {}, new.obj["metadata"].get("annotations") or {}
        if old is not None:
            _validate_update(spec, before)
        if HINTS in annotations and annotations[HINTS] != annotations.get(TOPOLOGY_MODE, annotations[HINTS]):
            field, text = f"metadata.annotations[{TOPOLOGY_MODE}]", f"must match annotations[{HINTS}] when both are specified"
            new.e.invalid(field, annotations[TOPOLOGY_MODE], text)
        _type(spec)
        _ports(spec)
        spec.labels("selector")
        _affinity(spec)
        validate_addresses(spec, before)
        for at, ip in spec.values("externalIPs"):
            if addresses.legacy_ip(new.e, at, ip, before.get("externalIPs") or ()):
                addresses.endpoint_ip(new.e, at, ip)
        spec.enum("type", TYPES, need="")
        _validate_unique_ports(spec)
        _load_balancer(spec, annotations, before)
        _policies(spec)

    def check_status(self, new: Part, old: Object) -> None:
        """The ingress points of a load balancer, which no other type has."""
        status = new.part("status").part("loadBalancer")
        if status.items("ingress") and not is_load_balancer(new.obj["spec"]):
            status.forbidden("ingress", "may only be used when `spec.type` is 'LoadBalancer'")
            return
        for point in ingress_points(status, old):
            if point.text("ip") and "ipMode" not in point:
                point.required("ipMode", "must be specified when `ip` is set")
            elif "ipMode" in point and not point.text("ip"):
                point.forbidden("ipMode", "may not be specified when `ip` is not set")
            else:
                point.choice("ipMode", ("VIP", "Proxy"))

    def warnings(self, new: Object, old: Object | None) -> list[str]:
        return _warnings(new)

    def cells(self, obj: Object) -> list[Any]:
        spec = obj["spec"]
        ports = ",".join(_shown_port(p) for p in spec.get("ports") or ()) or "<none>"
        cluster_ip = (spec.get("clusterIPs") or ["<none>"])[0]
        return [cluster_ip, _shown_external(obj), ports, rules.label_cell(spec.get("selector"))]


def _shown_port(port: Object) -> str:
    node = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port['port']}{node}/{port['protocol']}"


def _shown_external(obj: Object) -> str:
    spec = obj["spec"]
    kind, ips = spec.get("type"), spec.get("externalIPs") or []
    if kind == "ExternalName":
        return str(spec.get("externalName", ""))
    if kind in ("ClusterIP", "NodePort"):
        return ",".join(ips) or "<none>"
    if kind != "LoadBalancer":
        return "<unknown>"
    ingress = obj.get("status", {}).get("loadBalancer", {}).get("ingress") or ()
    points = sorted({i.get("ip") or i.get("hostname") or "" for i in ingress} - {""})
    text = ",".join([",".join(points), *ips] if points else ips)
    return text or "<pending>"


# what the server keeps in step ----------------------------------------------------------------------------------------------------


def normalize_cluster_ips(spec: Object, before: Object | None) -> None:
    """clusterIP is clusterIPs[0]: the one that was set or changed sets the other."""
    ip, ips = spec.get("clusterIP") or "", spec.get("clusterIPs") or []
    if before is None:
        if ip and not ips:
            spec["clusterIPs"] = [ip]
        return
    was, were = before.get("clusterIP") or "", before.get("clusterIPs") or []
    if ip and (not ips or (ip != was and ips == were)):
        spec["clusterIPs"] = [ip]
    elif was and not ip and ips == were:
        spec.pop("clusterIPs", None)


def patch_allocated_values(spec: Object, before: Object) -> None:
    """What an update leaves out and the server had chosen stays, so that a manifest can be applied twice."""
    if needs_cluster_ip(spec) and needs_cluster_ip(before):
        spec["clusterIP"] = spec.get("clusterIP") or before.get("clusterIP", "")
        if not spec.get("clusterIPs") and spec["clusterIP"] == before.get("clusterIP"):
            spec["clusterIPs"] = list(before.get("clusterIPs") or ())
    if needs_node_port(spec) and needs_node_port(before):
        known = {p.get("name", ""): p.get("nodePort") or 0 for p in before.get("ports") or ()}
        used = set(known.values()) & {p.get("nodePort") for p in spec.get("ports") or ()}
        for port in spec.get("ports") or ():
            number = known.get(port.get("name", ""), 0)
            if not port.get("nodePort") and number and number not in used:
                port["nodePort"] = number
                used.add(number)
    if needs_health_check_node_port(spec) and needs_health_check_node_port(before) and not spec.get("healthCheckNodePort"):
        spec["healthCheckNodePort"] = before.get("healthCheckNodePort", 0)


_TYPE_DEPENDENT = (
    (needs_cluster_ip, ("ipFamilies", "ipFamilyPolicy")),
    (needs_health_check_node_port, ("healthCheckNodePort",)),
    (is_load_balancer, ("allocateLoadBalancerNodePorts", "loadBalancerClass")),
    (externally_accessible, ("externalTrafficPolicy",)),
)
"""Which services have a use for which fields."""


def _drop_type_dependent_fields(spec: Object, before: Object) -> None:
    """A change of type drops the fields the new type has no use for, where the client left them as they were."""
    unneeded = [field for need, fields in _TYPE_DEPENDENT if need(before) and not need(spec) for field in fields]
    dropped = [field for field in unneeded if spec.get(field) == before.get(field)]
    unchanged = spec.get("clusterIPs", before.get("clusterIPs")) == before.get("clusterIPs")
    if needs_cluster_ip(before) and not needs_cluster_ip(spec) and unchanged:
        dropped += ["clusterIP", "clusterIPs"]
    for field in dropped:
        spec.pop(field, None)
    if needs_node_port(before) and not needs_node_port(spec):
        known = {p.get("nodePort") for p in before.get("ports") or ()}
        if {p.get("nodePort") for p in spec.get("ports") or ()} <= known:
            for port in spec.get("ports") or ():
                port.pop("nodePort", None)


# rules ----------------------------------------------------------------------------------------------------------------------------


def ingress_points(balancer: Part, old: Object) -> Iterator[Part]:
    """Validate the ingress points of a load balancer. Each is yielded after its IP, for the caller's rules, before its hostname."""
    before = (old.get("status") or {}).get("loadBalancer") or {}
    known = [point.get("ip") or "" for point in before.get("ingress") or ()]
    for point in balancer.parts("ingress"):
        if point.text("ip"):
            addresses.legacy_ip(point.e, point.path("ip"), point.text("ip"), known)
        yield point
        point.filled("hostname", names.dns_subdomain)
        addresses.not_an_ip(point.e, point.path("hostname"), point.text("hostname"))


def _type(spec: Part) -> None:
    kind = spec.text("type")
    if not headless(spec.obj) and needs_cluster_ip(spec.obj):
        spec.need("ports")
    if kind in ("LoadBalancer", "NodePort") and headless(spec.obj):
        spec.e.invalid("spec.clusterIPs[0]", (spec.items("clusterIPs") or ["None"])[0], f"may not be set to 'None' for {kind} services")
    if kind == "ExternalName":
        for field in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if spec.get(field) or (field == "ipFamilyPolicy" and field in spec):
                spec.forbidden(field, "may not be set for ExternalName services")
        spec.e.named("spec.externalName", spec.text("externalName").removesuffix("."), names.dns_subdomain)


def _ports(spec: Part) -> None:
    seen: set[str] = set()
    for port in spec.parts("ports"):
        if port.text("name"):
            port.checked("name", names.dns_label)
            port.unique("name", seen)
        elif len(spec.items("ports")) > 1:
            port.required("name")
        port.port("port")
        port.enum("protocol", rules.PROTOCOLS, need="")
        port.port_or_name("targetPort")
        port.optional("appProtocol", names.qualified_name)


def _affinity(spec: Part) -> None:
    kind, config, needed = spec.get("sessionAffinity"), spec.part("sessionAffinityConfig"), "when session affinity type is ClientIP"
    client = config.part("clientIP")
    spec.enum("sessionAffinity", ("ClientIP", "None"), need="")
    if kind == "None" and "sessionAffinityConfig" in spec:
        spec.forbidden("sessionAffinityConfig", "must not be set when session affinity is None")
    if kind != "ClientIP":
        return
    for owner, field in ((spec, "sessionAffinityConfig"), (config, "clientIP"), (client, "timeoutSeconds")):
        if field not in owner:
            owner.required(field, needed)
            return
    if not 0 < client.number("timeoutSeconds") <= MOST_AFFINITY_SECONDS:
        client.invalid("timeoutSeconds", f"must be greater than 0 and less than {MOST_AFFINITY_SECONDS}")


def validate_addresses(spec: Part, before: Object) -> None:
    """clusterIP, clusterIPs, ipFamilies and ipFamilyPolicy against each other. Also called before addresses are allocated."""
    if not needs_cluster_ip(spec.obj):
        return
    start, ips, single = len(spec.e), spec.items("clusterIPs"), spec.text("clusterIP")
    if single and not ips:
        spec.required("clusterIPs")
    elif single and ips[0] != single:
        spec.invalid("clusterIPs", "first value must match `clusterIP`")
    elif ips and not single:
        spec.invalid("clusterIPs", "must be empty when `clusterIP` is not specified")
    seen: set[str] = set()
    for at, family in spec.values("ipFamilies"):
        spec.e.enum(at, family, FAMILIES)
        spec.e.unique(at, family, seen)
    spec.choice("ipFamilyPolicy", FAMILY_POLICIES)
    if not _each_address(spec, before):
        return
    parsed = [addresses.family(ip) for ip in ips]
    if len(ips) > 1 and len({*parsed} - {0}) < len(ips):
        spec.invalid("clusterIPs", "may specify no more than one IP for each IP family")
    if len(spec.e) > start or headless(spec.obj):
        return
    for i, (version, family) in enumerate(zip(parsed, spec.items("ipFamilies"), strict=False)):
        if version and f"IPv{version}" != family:
            spec.e.invalid(f"spec.clusterIPs[{i}]", ips[i], f"expected an {family} value as indicated by `ipFamilies[{i}]`")


def _each_address(spec: Part, before: Object) -> bool:
    """Whether all are valid addresses, or the only one is "None"."""
    ips, known = spec.items("clusterIPs"), before.get("clusterIPs") or ()
    alone = ips[:1] != ["None"] or len(ips) == 1
    if not alone:
        spec.invalid("clusterIPs", "'None' must be the first and only value")
    listed = list(spec.values("clusterIPs"))
    valid = [(ip == "None" and not i) or addresses.legacy_ip(spec.e, at, ip, known) for i, (at, ip) in enumerate(listed)]
    if len(ips) > 2:
        spec.invalid("clusterIPs", "may only hold up to 2 values")
    return alone and all(valid)


def _validate_unique_ports(spec: Part) -> None:
    """Node ports of a ClusterIP service, and duplicate ports."""
    ports = list(spec.parts("ports"))
    for port in ports:
        if spec.get("type") == "ClusterIP" and port.number("nodePort"):
            port.forbidden("nodePort", "may not be used when `type` is 'ClusterIP'")
    for name, seen in (("nodePort", set[Any]()), ("port", set[Any]())):
        for port in ports:
            key = port.text("protocol"), port.number(name)
            if key in seen and name == "port":
                shown = {"Name": "", "Protocol": key[0], "AppProtocol": None, "Port": key[1], "TargetPort": 0, "NodePort": 0}
                port.e.duplicate(port.at, shown)
            elif key in seen and key[1]:
                port.duplicate("nodePort")
            seen.add(key)


def _load_balancer(spec: Part, annotations: dict[str, str], before: Object) -> None:
    at = f"metadata.annotations[{SOURCE_RANGES}]"
    if spec.items("loadBalancerSourceRanges"):
        _only_balanced(spec, "spec.LoadBalancerSourceRanges")
        for i, value in enumerate(spec.items("loadBalancerSourceRanges")):
            known = before.get("loadBalancerSourceRanges") or ()
            addresses.legacy_cidr(spec.e, f"spec.LoadBalancerSourceRanges[{i}]", value.strip(), known)
    elif SOURCE_RANGES in annotations:
        _only_balanced(spec, at)
        for value in annotations[SOURCE_RANGES].split(",") if annotations[SOURCE_RANGES].strip() else ():
            addresses.legacy_cidr(spec.e, at, value.strip())
    if "allocateLoadBalancerNodePorts" in spec:
        _only_balanced(spec, "spec.allocateLoadBalancerNodePorts")
    elif is_load_balancer(spec.obj):
        spec.required("allocateLoadBalancerNodePorts")
    _class(spec)


def _only_balanced(spec: Part, field: str) -> None:
    if not is_load_balancer(spec.obj):
        spec.e.forbidden(field, ONLY_LOAD_BALANCER)


def _class(spec: Part) -> None:
    if is_load_balancer(spec.obj):
        spec.optional("loadBalancerClass", names.qualified_name)
    elif "loadBalancerClass" in spec:
        spec.forbidden("loadBalancerClass", ONLY_LOAD_BALANCER)


def _policies(spec: Part) -> None:
    if externally_accessible(spec.obj):
        spec.enum("externalTrafficPolicy", POLICIES, need="")
    elif spec.text("externalTrafficPolicy"):
        spec.invalid("externalTrafficPolicy", "may only be set for externally-accessible services")
    if needs_health_check_node_port(spec.obj):
        if spec.need("healthCheckNodePort"):
            spec.port("healthCheckNodePort")
    elif spec.number("healthCheckNodePort"):
        text = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        spec.invalid("healthCheckNodePort", text)
    if "internalTrafficPolicy" not in spec and spec.get("type") in ("NodePort", "LoadBalancer", "ClusterIP"):
        spec.required("internalTrafficPolicy")
    spec.choice("internalTrafficPolicy", POLICIES)
    spec.choice("trafficDistribution", TRAFFIC_DISTRIBUTIONS, sort=False)


def _validate_update(spec: Part, before: Object) -> None:
    """Primary address and family stay once set, unless the service is or was an ExternalName."""

    def both(true: Callable[[Object], bool]) -> bool:
        return true(spec.obj) and true(before)

    if both(needs_cluster_ip):
        if not both(headless):
            _validate_upgrade_downgrade(spec, before, "clusterIPs", "clusterIP")
        if not headless(spec.obj) and not headless(before):
            _validate_upgrade_downgrade(spec, before, "ipFamilies", "ipFamily")
    if both(is_load_balancer) and spec.get("loadBalancerClass") != before.get("loadBalancerClass"):
        spec.invalid("loadBalancerClass", SET_ONCE)
    _class(spec)
    if both(needs_health_check_node_port) and spec.get("healthCheckNodePort") != before.get("healthCheckNodePort"):
        spec.forbidden("healthCheckNodePort", rules.IMMUTABLE)


def _validate_upgrade_downgrade(spec: Part, before: Object, field: str, one: str) -> None:
    """Stock shows addresses also in errors of the primary family, and reports each changed family at the first."""
    new, old, ips = spec.items(field), before.get(field) or [], spec.items("clusterIPs")
    first = f"spec.{field}[0]"
    if len(new) == len(old):
        for i, value in enumerate(old):
            if new[i] != value:
                spec.e.invalid(f"spec.{field}[{i}]" if field == "clusterIPs" else first, new, SET_ONCE)
        return
    if len(old) > len(new) and not ips:
        spec.e.invalid(first, spec.get(field), f"primary {one} can not be unset")
    if old and new and old[0] != new[0]:
        spec.e.invalid(first, ips, SET_ONCE)
    if len(old) > len(new) == 1 and spec.get("ipFamilyPolicy") != "SingleStack":
        spec.invalid("ipFamilyPolicy", f"must be set to 'SingleStack' when releasing the secondary {one}")


def _warnings(obj: Object) -> list[str]:
    spec, out = obj["spec"], list[str]()
    kind, ips, ip = spec.get("type"), spec.get("externalIPs") or [], spec.get("clusterIP") or ""
    none = kind == "ClusterIP" and ip == "None"
    if HINTS in (obj["metadata"].get("annotations") or {}):
        out.append(f"annotation {HINTS} is deprecated, please use {TOPOLOGY_MODE} instead")
    for field, value in each("spec", spec, "clusterIPs") if ip not in ("", "None") else ():
        out += addresses.ip_warnings(field, value)
    if none:
        ignored = {"loadBalancerIP": spec.get("loadBalancerIP"), "externalIPs": ips, "SessionAffinity": spec["sessionAffinity"] != "None"}
        out += [f"spec.{field} is ignored for headless services" for field, value in ignored.items() if value]
    for field, value in each("spec", spec, "externalIPs"):
        out += addresses.ip_warnings(field, value)
    if ips and not none and kind != "ExternalName":
        out.append("spec.externalIPs is deprecated and may no longer be implemented in some clusters")
    out += addresses.ip_warnings("spec.loadBalancerIP", spec.get("loadBalancerIP") or "")
    for field, value in each("spec", spec, "loadBalancerSourceRanges"):
        out += addresses.cidr_warnings(field, value)
    warnings = {
        'spec.externalIPs is ignored when spec.type is "ExternalName"': kind == "ExternalName" and ips,
        'spec.externalName is ignored when spec.type is not "ExternalName"': kind != "ExternalName" and spec.get("externalName"),
        'spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"': spec.get("trafficDistribution") == "PreferClose",
    }
    return out + [text for text, true in warnings.items() if true]
