"""Service: defaults, the fields only some types may have, what may change. Addresses and node ports are handed out by
kapi.registry.allocate, which also keeps clusterIP and clusterIPs alike before the rules here are asked.
"""

from typing import Any

from kapi.objects import names
from kapi.registry.kinds import rules
from kapi.registry.kinds.rules import Checked, Errors, Rule, each, one_of, present

Object = dict[str, Any]

TYPES = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
FAMILIES = ("IPv4", "IPv6")
FAMILY_POLICIES = ("SingleStack", "PreferDualStack", "RequireDualStack")
TRAFFIC_DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")
POLICIES = ("Cluster", "Local")
AFFINITY_SECONDS, MOST_AFFINITY_SECONDS = 10800, 86400
SOURCE_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
HINTS, TOPOLOGY_MODE = "service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode"
ONLY_LOAD_BALANCER = "may only be used when `type` is 'LoadBalancer'"
_POLICIES: dict[str, Rule] = {
    "internalTrafficPolicy": one_of(*POLICIES), "trafficDistribution": one_of(*TRAFFIC_DISTRIBUTIONS, sort=False),
}  # fmt: skip
SET_ONCE = "may not change once set"


def headless(spec: Object) -> bool:
    return spec.get("clusterIP") == "None" or (spec.get("clusterIPs") or [""])[0] == "None"


def external(spec: Object) -> bool:
    """Reachable from outside the cluster."""
    kind = spec.get("type")
    return kind in ("LoadBalancer", "NodePort") or (kind == "ClusterIP" and bool(spec.get("externalIPs")))


def balanced(spec: Object) -> bool:
    return spec.get("type") == "LoadBalancer"


def needs_health_check(spec: Object) -> bool:
    return balanced(spec) and spec.get("externalTrafficPolicy") == "Local"


def needs_node_ports(spec: Object) -> bool:
    return spec.get("type") == "NodePort" or (balanced(spec) and spec.get("allocateLoadBalancerNodePorts", True))


def needs_address(spec: Object) -> bool:
    return spec.get("type") != "ExternalName"


class ServiceStrategy(Checked):
    """core/v1 Service."""

    returns_deleted = True
    name_check = staticmethod(names.dns_label)
    generation = False
    fields = {"spec.clusterIP": lambda o: o["spec"].get("clusterIP", ""), "spec.type": lambda o: o["spec"].get("type", "")}
    columns = rules.columns(
        "Name", "Type=core.v1.ServiceSpec.type", "Cluster-IP=core.v1.ServiceSpec.clusterIP", "External-IP=core.v1.ServiceSpec.externalIPs",
        "Port(s)=core.v1.ServiceSpec.ports", "Age", "Selector+=core.v1.ServiceSpec.selector",
    )  # fmt: skip

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        for field, value in (("sessionAffinity", "None"), ("type", "ClusterIP")):
            spec[field] = spec.get(field) or value
        if spec["sessionAffinity"] == "None":
            spec.pop("sessionAffinityConfig", None)
        if spec["sessionAffinity"] == "ClientIP":
            config = spec.setdefault("sessionAffinityConfig", {})
            config.setdefault("clientIP", {}).setdefault("timeoutSeconds", AFFINITY_SECONDS)
        for port in spec.get("ports") or ():
            port["protocol"] = port.get("protocol") or "TCP"
            port["targetPort"] = port.get("targetPort") or port.get("port", 0)
        if external(spec) and not spec.get("externalTrafficPolicy"):
            spec["externalTrafficPolicy"] = "Cluster"
        if spec["type"] in ("NodePort", "LoadBalancer", "ClusterIP"):
            spec.setdefault("internalTrafficPolicy", "Cluster")
        if balanced(spec):
            spec.setdefault("allocateLoadBalancerNodePorts", True)
        points = obj.setdefault("status", {}).setdefault("loadBalancer", {})
        for _, point in each("", points, "ingress"):
            if point.get("ip"):
                point.setdefault("ipMode", "VIP")

    def prepare(self, new: Object, old: Object | None) -> None:
        new["status"] = old["status"] if old and "status" in old else {"loadBalancer": {}}
        if old is not None:
            _drop_unneeded(new["spec"], old["spec"])

    def check(self, e: Errors, new: Object, old: Object | None) -> None:
        spec = new["spec"]
        if old is not None:
            _change(e, spec, old["spec"])
        before, annotations = (old or {}).get("spec") or {}, new["metadata"].get("annotations") or {}
        if HINTS in annotations and annotations[HINTS] != annotations.get(TOPOLOGY_MODE, annotations[HINTS]):
            field, text = f"metadata.annotations[{TOPOLOGY_MODE}]", f"must match annotations[{HINTS}] when both are specified"
            e.invalid(field, annotations[TOPOLOGY_MODE], text)
        _type(e, spec)
        _ports(e, spec)
        rules.labels(e, "spec.selector", spec.get("selector"))
        _affinity(e, spec)
        validate_addresses(e, spec, before)
        for at, ip in each("spec", spec, "externalIPs"):
            if rules.legacy_ip(e, at, ip, before.get("externalIPs") or ()):
                rules.endpoint_ip(e, at, ip)
        e.enum("spec.type", spec.get("type"), TYPES, need="")
        _taken(e, spec)
        _load_balancer(e, spec, annotations, before)
        _policies(e, spec)

    def check_status(self, e: Errors, new: Object, old: Object) -> None:
        """The ingress points of a load balancer, which no other type has."""
        at, (status, before) = "status.loadBalancer", (o.get("status", {}).get("loadBalancer") or {} for o in (new, old))
        if status.get("ingress") and not balanced(new["spec"]):
            e.forbidden(f"{at}.ingress", "may only be used when `spec.type` is 'LoadBalancer'")
            return
        for field, point in rules.ingress_points(e, at, status, before):
            ip, mode = point.get("ip"), point.get("ipMode")
            if ip and mode is None:
                e.required(f"{field}.ipMode", "must be specified when `ip` is set")
            elif mode is not None and not ip:
                e.forbidden(f"{field}.ipMode", "may not be specified when `ip` is not set")
            else:
                present(e, field, point, {"ipMode": one_of("VIP", "Proxy")})

    def warnings(self, new: Object, old: Object | None) -> list[str]:
        return _warnings(new)

    def row(self, obj: Object, now: float) -> list[Any]:
        spec, meta = obj["spec"], obj["metadata"]
        ports = ",".join(_shown_port(p) for p in spec.get("ports") or ()) or "<none>"
        cluster_ip = (spec.get("clusterIPs") or ["<none>"])[0]
        cells = meta["name"], spec.get("type", ""), cluster_ip, _shown_external(obj), ports, rules.age(obj, now)
        return [*cells, rules.label_cell(spec.get("selector"))]


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
    found = sorted({i.get("ip") or i.get("hostname") or "" for i in ingress} - {""})
    text = ",".join([",".join(found), *ips] if found else ips)
    return text or "<pending>"


# what the server keeps in step ----------------------------------------------------------------------------------------------------


def sync_addresses(spec: Object, before: Object | None) -> None:
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


def keep_allocated(spec: Object, before: Object) -> None:
    """What an update leaves out and the server had chosen stays, so that a manifest can be applied twice."""
    if needs_address(spec) and needs_address(before):
        spec["clusterIP"] = spec.get("clusterIP") or before.get("clusterIP", "")
        if not spec.get("clusterIPs") and spec["clusterIP"] == before.get("clusterIP"):
            spec["clusterIPs"] = list(before.get("clusterIPs") or ())
    if needs_node_ports(spec) and needs_node_ports(before):
        known = {p.get("name", ""): p.get("nodePort") or 0 for p in before.get("ports") or ()}
        used = set(known.values()) & {p.get("nodePort") for p in spec.get("ports") or ()}
        for port in spec.get("ports") or ():
            number = known.get(port.get("name", ""), 0)
            if not port.get("nodePort") and number and number not in used:
                port["nodePort"] = number
                used.add(number)
    if needs_health_check(spec) and needs_health_check(before) and not spec.get("healthCheckNodePort"):
        spec["healthCheckNodePort"] = before.get("healthCheckNodePort", 0)


_NEEDED = (
    (needs_address, ("ipFamilies", "ipFamilyPolicy")),
    (needs_health_check, ("healthCheckNodePort",)),
    (balanced, ("allocateLoadBalancerNodePorts", "loadBalancerClass")),
    (external, ("externalTrafficPolicy",)),
)
"""Which services have a use for which fields."""


def _drop_unneeded(spec: Object, before: Object) -> None:
    """A change of type drops the fields the new type has no use for, where the client left them as they were."""
    dropped = [f for need, fields in _NEEDED if need(before) and not need(spec) for f in fields if spec.get(f) == before.get(f)]
    if needs_address(before) and not needs_address(spec) and spec.get("clusterIPs", before.get("clusterIPs")) == before.get("clusterIPs"):
        dropped += ["clusterIP", "clusterIPs"]
    for field in dropped:
        spec.pop(field, None)
    if needs_node_ports(before) and not needs_node_ports(spec):
        known = {p.get("nodePort") for p in before.get("ports") or ()}
        if {p.get("nodePort") for p in spec.get("ports") or ()} <= known:
            for port in spec.get("ports") or ():
                port.pop("nodePort", None)


# rules ----------------------------------------------------------------------------------------------------------------------------


def _type(e: Errors, spec: Object) -> None:
    kind = spec.get("type")
    if not headless(spec) and needs_address(spec):
        e.need("spec.ports", spec.get("ports"))
    if kind in ("LoadBalancer", "NodePort") and headless(spec):
        e.invalid("spec.clusterIPs[0]", (spec.get("clusterIPs") or ["None"])[0], f"may not be set to 'None' for {kind} services")
    if kind == "ExternalName":
        for field in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if spec.get(field) or (field == "ipFamilyPolicy" and field in spec):
                e.forbidden(f"spec.{field}", "may not be set for ExternalName services")
        e.named("spec.externalName", (spec.get("externalName") or "").removesuffix("."), names.dns_subdomain)


def _ports(e: Errors, spec: Object) -> None:
    seen: set[str] = set()
    for at, port in each("spec", spec, "ports"):
        if name := port.get("name"):
            e.text(f"{at}.name", name, names.dns_label)
            e.unique(f"{at}.name", name, seen)
        elif len(spec["ports"]) > 1:
            e.required(f"{at}.name")
        e.port(f"{at}.port", port.get("port", 0))
        e.enum(f"{at}.protocol", port.get("protocol"), rules.PROTOCOLS, need="")
        e.port_or_name(f"{at}.targetPort", port.get("targetPort", 0))
        present(e, at, port, {"appProtocol": Errors.qualified})


def _affinity(e: Errors, spec: Object) -> None:
    at, config, needed = "spec.sessionAffinityConfig", spec.get("sessionAffinityConfig"), "when session affinity type is ClientIP"
    e.enum("spec.sessionAffinity", spec.get("sessionAffinity"), ("ClientIP", "None"), need="")
    if spec.get("sessionAffinity") == "None" and config is not None:
        e.forbidden(at, "must not be set when session affinity is None")
    if spec.get("sessionAffinity") != "ClientIP":
        return
    if config is None:
        e.required(at, needed)
    elif config.get("clientIP") is None:
        e.required(f"{at}.clientIP", needed)
    elif (seconds := config["clientIP"].get("timeoutSeconds")) is None:
        e.required(f"{at}.clientIP.timeoutSeconds", needed)
    elif not 0 < seconds <= MOST_AFFINITY_SECONDS:
        e.invalid(f"{at}.clientIP.timeoutSeconds", seconds, f"must be greater than 0 and less than {MOST_AFFINITY_SECONDS}")


def validate_addresses(e: Errors, spec: Object, before: Object) -> None:
    """clusterIP, clusterIPs, ipFamilies and ipFamilyPolicy among themselves. Also asked before addresses are allocated."""
    if not needs_address(spec):
        return
    start, seen = len(e), set[str]()
    ips, families = spec.get("clusterIPs") or [], spec.get("ipFamilies") or []
    if spec.get("clusterIP"):
        if not ips:
            e.required("spec.clusterIPs")
        elif ips[0] != spec["clusterIP"]:
            e.invalid("spec.clusterIPs", ips, "first value must match `clusterIP`")
    elif ips:
        e.invalid("spec.clusterIPs", ips, "must be empty when `clusterIP` is not specified")
    for at, family in each("spec", spec, "ipFamilies"):
        e.enum(at, family, FAMILIES)
        e.unique(at, family, seen)
    present(e, "spec", spec, {"ipFamilyPolicy": one_of(*FAMILY_POLICIES)})
    if not _each_address(e, ips, before):
        return
    parsed = [rules.family(ip) for ip in ips]
    if len(ips) > 1 and len({*parsed} - {0}) < len(ips):
        e.invalid("spec.clusterIPs", ips, "may specify no more than one IP for each IP family")
    if len(e) > start or headless(spec):
        return
    for i, (version, family) in enumerate(zip(parsed, families, strict=False)):
        if version and f"IPv{version}" != family:
            e.invalid(f"spec.clusterIPs[{i}]", ips[i], f"expected an {family} value as indicated by `ipFamilies[{i}]`")


def _each_address(e: Errors, ips: list[str], before: Object) -> bool:
    """Whether all of them are addresses, or the one that says there is none."""
    known, alone = before.get("clusterIPs") or (), ips[:1] != ["None"] or len(ips) == 1
    if not alone:
        e.invalid("spec.clusterIPs", ips, "'None' must be the first and only value")
    sound = [(ip == "None" and i == 0) or rules.legacy_ip(e, f"spec.clusterIPs[{i}]", ip, known) for i, ip in enumerate(ips)]
    if len(ips) > 2:
        e.invalid("spec.clusterIPs", ips, "may only hold up to 2 values")
    return alone and all(sound)


def _taken(e: Errors, spec: Object) -> None:
    """Node ports of a ClusterIP service, and ports given twice."""
    ports = list(each("spec", spec, "ports"))
    for at, port in ports:
        if spec.get("type") == "ClusterIP" and port.get("nodePort"):
            e.forbidden(f"{at}.nodePort", "may not be used when `type` is 'ClusterIP'")
    for name, seen in (("nodePort", set[Any]()), ("port", set[Any]())):
        for at, port in ports:
            key = port.get("protocol") or "", port.get(name) or 0
            if key in seen and name == "port":
                e.duplicate(at, {"Name": "", "Protocol": key[0], "AppProtocol": None, "Port": key[1], "TargetPort": 0, "NodePort": 0})
            elif key in seen and key[1]:
                e.duplicate(f"{at}.nodePort", key[1])
            seen.add(key)


def _load_balancer(e: Errors, spec: Object, annotations: dict[str, str], before: Object) -> None:
    at = f"metadata.annotations[{SOURCE_RANGES}]"
    if spec.get("loadBalancerSourceRanges"):
        _only_balanced(e, spec, "spec.LoadBalancerSourceRanges")
        for field, value in each("spec", {"LoadBalancerSourceRanges": spec["loadBalancerSourceRanges"]}, "LoadBalancerSourceRanges"):
            rules.legacy_cidr(e, field, value.strip(), before.get("loadBalancerSourceRanges") or ())
    elif SOURCE_RANGES in annotations:
        _only_balanced(e, spec, at)
        for value in annotations[SOURCE_RANGES].split(",") if annotations[SOURCE_RANGES].strip() else ():
            rules.legacy_cidr(e, at, value.strip())
    if "allocateLoadBalancerNodePorts" in spec:
        _only_balanced(e, spec, "spec.allocateLoadBalancerNodePorts")
    elif balanced(spec):
        e.required("spec.allocateLoadBalancerNodePorts")
    _class(e, spec)


def _only_balanced(e: Errors, spec: Object, field: str) -> None:
    if not balanced(spec):
        e.forbidden(field, ONLY_LOAD_BALANCER)


def _class(e: Errors, spec: Object) -> None:
    name = spec.get("loadBalancerClass")
    if name is not None and balanced(spec):
        e.qualified("spec.loadBalancerClass", name)
    elif name is not None:
        e.forbidden("spec.loadBalancerClass", ONLY_LOAD_BALANCER)


def _policies(e: Errors, spec: Object) -> None:
    policy, port = spec.get("externalTrafficPolicy"), spec.get("healthCheckNodePort") or 0
    if external(spec):
        e.enum("spec.externalTrafficPolicy", policy, POLICIES, need="")
    elif policy:
        e.invalid("spec.externalTrafficPolicy", policy, "may only be set for externally-accessible services")
    if needs_health_check(spec):
        if e.need("spec.healthCheckNodePort", port):
            e.port("spec.healthCheckNodePort", port)
    elif port:
        text = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        e.invalid("spec.healthCheckNodePort", port, text)
    if "internalTrafficPolicy" not in spec and spec.get("type") in ("NodePort", "LoadBalancer", "ClusterIP"):
        e.required("spec.internalTrafficPolicy")
    present(e, "spec", spec, _POLICIES)


def _change(e: Errors, spec: Object, before: Object) -> None:
    """Primary address and family stay once set, unless the service is or was an ExternalName."""
    if needs_address(spec) and needs_address(before):
        one, other = headless(spec), headless(before)
        if not (one and other):
            _released(e, spec, before, "clusterIPs", "clusterIP")
        if not (one or other):
            _released(e, spec, before, "ipFamilies", "ipFamily")
    if balanced(spec) and balanced(before) and spec.get("loadBalancerClass") != before.get("loadBalancerClass"):
        e.invalid("spec.loadBalancerClass", spec.get("loadBalancerClass"), SET_ONCE)
    _class(e, spec)
    if needs_health_check(spec) and needs_health_check(before) and spec.get("healthCheckNodePort") != before.get("healthCheckNodePort"):
        e.forbidden("spec.healthCheckNodePort", rules.IMMUTABLE)


def _released(e: Errors, spec: Object, before: Object, field: str, one: str) -> None:
    """Stock shows addresses also where it speaks of the primary family, and points at the first family whichever changed."""
    new, old, ips = spec.get(field) or [], before.get(field) or [], spec.get("clusterIPs") or []
    first = f"spec.{field}[0]"
    if len(new) == len(old):
        for i, value in enumerate(old):
            if new[i] != value:
                e.invalid(f"spec.{field}[{i}]" if field == "clusterIPs" else first, new, SET_ONCE)
        return
    if len(old) > len(new) and not ips:
        e.invalid(first, spec.get(field), f"primary {one} can not be unset")
    if old and new and old[0] != new[0]:
        e.invalid(first, ips, SET_ONCE)
    if len(old) > len(new) == 1 and spec.get("ipFamilyPolicy") != "SingleStack":
        e.invalid("spec.ipFamilyPolicy", spec.get("ipFamilyPolicy"), f"must be set to 'SingleStack' when releasing the secondary {one}")


def _warnings(obj: Object) -> list[str]:
    spec, out = obj["spec"], list[str]()
    kind, ips, ip = spec.get("type"), spec.get("externalIPs") or [], spec.get("clusterIP") or ""
    none = kind == "ClusterIP" and ip == "None"
    if HINTS in (obj["metadata"].get("annotations") or {}):
        out.append(f"annotation {HINTS} is deprecated, please use {TOPOLOGY_MODE} instead")
    for field, value in each("spec", spec, "clusterIPs") if ip not in ("", "None") else ():
        out += rules.ip_warnings(field, value)
    if none:
        ignored = {"loadBalancerIP": spec.get("loadBalancerIP"), "externalIPs": ips, "SessionAffinity": spec["sessionAffinity"] != "None"}
        out += [f"spec.{field} is ignored for headless services" for field, value in ignored.items() if value]
    for field, value in each("spec", spec, "externalIPs"):
        out += rules.ip_warnings(field, value)
    if ips and not none and kind != "ExternalName":
        out.append("spec.externalIPs is deprecated and may no longer be implemented in some clusters")
    out += rules.ip_warnings("spec.loadBalancerIP", spec.get("loadBalancerIP") or "")
    for field, value in each("spec", spec, "loadBalancerSourceRanges"):
        out += rules.cidr_warnings(field, value)
    told = {
        'spec.externalIPs is ignored when spec.type is "ExternalName"': kind == "ExternalName" and ips,
        'spec.externalName is ignored when spec.type is not "ExternalName"': kind != "ExternalName" and spec.get("externalName"),
        'spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"': spec.get("trafficDistribution") == "PreferClose",
    }
    return out + [text for text, true in told.items() if true]
