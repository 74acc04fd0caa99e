"""Service: defaults, the fields only some types may have, what may change. Addresses and node ports are handed out by
kapi.registry.allocate, which also keeps clusterIP and clusterIPs alike before the rules here are asked.
"""

from typing import Any

from kapi.objects import names
from kapi.objects.errors import Cause
from kapi.registry.kinds import rules
from kapi.registry.kinds.rules import Errors
from kapi.registry.strategy import Strategy

Object = dict[str, Any]

TYPES = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
FAMILIES = ("IPv4", "IPv6")
FAMILY_POLICIES = ("SingleStack", "PreferDualStack", "RequireDualStack")
TRAFFIC_DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")
POLICIES = ("Cluster", "Local")
KUBELET_PORT = 10250
AFFINITY_SECONDS, MOST_AFFINITY_SECONDS = 10800, 86400
SOURCE_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
HINTS, TOPOLOGY_MODE = "service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode"
ONLY_LOAD_BALANCER = "may only be used when `type` is 'LoadBalancer'"
SET_ONCE = "may not change once set"


def headless(spec: Object) -> bool:
    return spec.get("clusterIP") == "None" or (spec.get("clusterIPs") or [""])[0] == "None"


def external(spec: Object) -> bool:
    """Reachable from outside the cluster."""
    kind = spec.get("type")
    return kind in ("LoadBalancer", "NodePort") or (kind == "ClusterIP" and bool(spec.get("externalIPs")))


def needs_health_check(spec: Object) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


class ServiceStrategy(Strategy):
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
        if not spec.get("sessionAffinity"):
            spec["sessionAffinity"] = "None"
        if spec["sessionAffinity"] == "None":
            spec.pop("sessionAffinityConfig", None)
        if spec["sessionAffinity"] == "ClientIP":
            config = spec.setdefault("sessionAffinityConfig", {})
            config.setdefault("clientIP", {}).setdefault("timeoutSeconds", AFFINITY_SECONDS)
        if not spec.get("type"):
            spec["type"] = "ClusterIP"
        for port in spec.get("ports") or ():
            _default_port(port)
        if external(spec) and not spec.get("externalTrafficPolicy"):
            spec["externalTrafficPolicy"] = "Cluster"
        if spec["type"] in ("NodePort", "LoadBalancer", "ClusterIP"):
            spec.setdefault("internalTrafficPolicy", "Cluster")
        if spec["type"] == "LoadBalancer":
            spec.setdefault("allocateLoadBalancerNodePorts", True)
        obj.setdefault("status", {}).setdefault("loadBalancer", {})
        for ingress in obj["status"]["loadBalancer"].get("ingress") or ():
            if ingress.get("ip"):
                ingress.setdefault("ipMode", "VIP")

    def prepare(self, new: Object, old: Object | None) -> None:
        new["status"] = old["status"] if old and "status" in old else {"loadBalancer": {}}
        if old is not None:
            _drop_unneeded(new["spec"], old["spec"])

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        if old is not None:
            _validate_change(e, new["spec"], old["spec"])
        _validate(e, new, old)
        return e

    def validate_status(self, new: Object, old: Object) -> list[Cause]:
        e = Errors()
        load_balancer_status(e, "status.loadBalancer", new.get("status", {}).get("loadBalancer") or {}, new["spec"].get("type") or "")
        return e

    def warnings(self, new: Object, old: Object | None) -> list[str]:
        return _warnings(new)

    def row(self, obj: Object, now: float) -> list[Any]:
        spec, meta = obj["spec"], obj["metadata"]
        ports = ",".join(_shown_port(p) for p in spec.get("ports") or ()) or "<none>"
        selector = ",".join(f"{k}={v}" for k, v in sorted((spec.get("selector") or {}).items())) or "<none>"
        cluster_ip = (spec.get("clusterIPs") or ["<none>"])[0]
        return [meta["name"], spec.get("type", ""), cluster_ip, _shown_external(obj), ports, rules.age(obj, now), selector]


def _default_port(port: Object) -> None:
    if not port.get("protocol"):
        port["protocol"] = "TCP"
    if port.get("targetPort") in (None, 0, ""):
        port["targetPort"] = port.get("port", 0)


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


def needs_node_ports(spec: Object) -> bool:
    kind = spec.get("type")
    return kind == "NodePort" or (kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts", True))


def needs_address(spec: Object) -> bool:
    return spec.get("type") != "ExternalName"


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


def _drop_unneeded(spec: Object, before: Object) -> None:
    """A change of type drops the fields the new type has no use for, where the client left them as they were."""
    balanced, was = spec.get("type") == "LoadBalancer", before.get("type") == "LoadBalancer"
    dropped: list[str] = []
    if needs_address(before) and spec.get("type") == "ExternalName":
        if spec.get("clusterIPs", before.get("clusterIPs")) == before.get("clusterIPs"):
            dropped += ["clusterIP", "clusterIPs"]
        dropped += [f for f in ("ipFamilies", "ipFamilyPolicy") if spec.get(f) == before.get(f)]
    if needs_node_ports(before) and not needs_node_ports(spec):
        _drop_node_ports(spec, before)
    if needs_health_check(before) and not needs_health_check(spec):
        dropped += [f for f in ("healthCheckNodePort",) if spec.get(f) == before.get(f)]
    if was and not balanced:
        dropped += [f for f in ("allocateLoadBalancerNodePorts", "loadBalancerClass") if spec.get(f) == before.get(f)]
    if external(before) and not external(spec):
        dropped += [f for f in ("externalTrafficPolicy",) if spec.get(f) == before.get(f)]
    for field in dropped:
        spec.pop(field, None)


def _drop_node_ports(spec: Object, before: Object) -> None:
    known = {p.get("nodePort") for p in before.get("ports") or ()}
    if {p.get("nodePort") for p in spec.get("ports") or ()} <= known:
        for port in spec.get("ports") or ():
            port.pop("nodePort", None)


# rules ----------------------------------------------------------------------------------------------------------------------------


def _validate(e: Errors, obj: Object, old: Object | None) -> None:
    spec, kind = obj["spec"], obj["spec"].get("type") or ""
    before = (old or {}).get("spec") or {}
    annotations = obj["metadata"].get("annotations") or {}
    if HINTS in annotations and TOPOLOGY_MODE in annotations and annotations[HINTS] != annotations[TOPOLOGY_MODE]:
        field = f"metadata.annotations[{TOPOLOGY_MODE}]"
        e.invalid(field, annotations[TOPOLOGY_MODE], f"must match annotations[{HINTS}] when both are specified")
    if not headless(spec) and kind != "ExternalName":
        e.need("spec.ports", spec.get("ports"))
    _validate_type(e, spec, kind)
    _validate_ports(e, spec)
    rules.labels(e, "spec.selector", spec.get("selector"))
    _validate_affinity(e, spec)
    validate_addresses(e, spec, before)
    for i, ip in enumerate(spec.get("externalIPs") or ()):
        if rules.legacy_ip(e, f"spec.externalIPs[{i}]", ip, before.get("externalIPs") or ()):
            rules.endpoint_ip(e, f"spec.externalIPs[{i}]", ip)
    e.enum("spec.type", kind, TYPES, need="")
    _validate_taken(e, spec, kind)
    _validate_load_balancer(e, spec, kind, annotations, before)
    _validate_policies(e, spec)


def _validate_type(e: Errors, spec: Object, kind: str) -> None:
    none = f"may not be set to 'None' for {kind} services"
    if kind == "LoadBalancer":
        for i, port in enumerate(spec.get("ports") or ()):
            if port.get("port") == KUBELET_PORT:
                text = f"may not expose port {KUBELET_PORT} externally since it is used by kubelet"
                e.invalid(f"spec.ports[{i}]", KUBELET_PORT, text)
    if kind in ("LoadBalancer", "NodePort") and headless(spec):
        e.invalid("spec.clusterIPs[0]", (spec.get("clusterIPs") or ["None"])[0], none)
    if kind == "ExternalName":
        for field in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if spec.get(field) or (field == "ipFamilyPolicy" and field in spec):
                e.forbidden(f"spec.{field}", "may not be set for ExternalName services")
        name = (spec.get("externalName") or "").removesuffix(".")
        e.named("spec.externalName", name, names.dns_subdomain)


def _validate_ports(e: Errors, spec: Object) -> None:
    ports = spec.get("ports") or ()
    seen: set[str] = set()
    for i, port in enumerate(ports):
        at = f"spec.ports[{i}]"
        name = port.get("name") or ""
        if name:
            e.text(f"{at}.name", name, names.dns_label)
            e.unique(f"{at}.name", name, seen)
        elif len(ports) > 1:
            e.required(f"{at}.name")
        e.port(f"{at}.port", port.get("port", 0))
        e.enum(f"{at}.protocol", port.get("protocol"), rules.PROTOCOLS, need="")
        e.port_or_name(f"{at}.targetPort", port.get("targetPort", 0))
        if "appProtocol" in port:
            e.qualified(f"{at}.appProtocol", port["appProtocol"])


def _validate_affinity(e: Errors, spec: Object) -> None:
    affinity, at = spec.get("sessionAffinity") or "", "spec.sessionAffinityConfig"
    e.enum("spec.sessionAffinity", affinity, ("ClientIP", "None"), need="")
    config = spec.get("sessionAffinityConfig")
    if affinity == "None" and config is not None:
        e.forbidden(at, "must not be set when session affinity is None")
    if affinity != "ClientIP":
        return
    needed = "when session affinity type is ClientIP"
    if config is None:
        e.required(at, needed)
    elif config.get("clientIP") is None:
        e.required(f"{at}.clientIP", needed)
    elif config["clientIP"].get("timeoutSeconds") is None:
        e.required(f"{at}.clientIP.timeoutSeconds", needed)
    elif not 0 < config["clientIP"]["timeoutSeconds"] <= MOST_AFFINITY_SECONDS:
        text = f"must be greater than 0 and less than {MOST_AFFINITY_SECONDS}"
        e.invalid(f"{at}.clientIP.timeoutSeconds", config["clientIP"]["timeoutSeconds"], text)


def validate_addresses(e: Errors, spec: Object, before: Object) -> None:
    """clusterIP, clusterIPs, ipFamilies and ipFamilyPolicy among themselves. Also asked before addresses are allocated."""
    if spec.get("type") == "ExternalName":
        return
    start = len(e)
    ips, families = spec.get("clusterIPs") or [], spec.get("ipFamilies") or []
    if spec.get("clusterIP"):
        if not ips:
            e.required("spec.clusterIPs")
        elif ips[0] != spec["clusterIP"]:
            e.invalid("spec.clusterIPs", ips, "first value must match `clusterIP`")
    elif ips:
        e.invalid("spec.clusterIPs", ips, "must be empty when `clusterIP` is not specified")
    seen: set[str] = set()
    for i, family in enumerate(families):
        e.enum(f"spec.ipFamilies[{i}]", family, FAMILIES)
        e.unique(f"spec.ipFamilies[{i}]", family, seen)
    if "ipFamilyPolicy" in spec:
        e.enum("spec.ipFamilyPolicy", spec["ipFamilyPolicy"], FAMILY_POLICIES)
    if not _validate_each_address(e, ips, before):
        return
    parsed = [names.parse_ip(ip) for ip in ips]
    if len(ips) > 1 and len({ip.version for ip in parsed if ip}) < len(ips):
        e.invalid("spec.clusterIPs", ips, "may specify no more than one IP for each IP family")
    if len(e) > start or headless(spec):
        return
    for i, (address, family) in enumerate(zip(parsed, families, strict=False)):
        if address and f"IPv{address.version}" != family:
            e.invalid(f"spec.clusterIPs[{i}]", ips[i], f"expected an {family} value as indicated by `ipFamilies[{i}]`")


def _validate_each_address(e: Errors, ips: list[str], before: Object) -> bool:
    good = True
    for i, ip in enumerate(ips):
        if i == 0 and ip == "None":
            if len(ips) > 1:
                good = False
                e.invalid("spec.clusterIPs", ips, "'None' must be the first and only value")
            continue
        good = rules.legacy_ip(e, f"spec.clusterIPs[{i}]", ip, before.get("clusterIPs") or ()) and good
    if len(ips) > 2:
        e.invalid("spec.clusterIPs", ips, "may only hold up to 2 values")
    return good


def _validate_taken(e: Errors, spec: Object, kind: str) -> None:
    """Node ports of a ClusterIP service, and ports given twice."""
    ports = spec.get("ports") or ()
    if kind == "ClusterIP":
        for i, port in enumerate(ports):
            if port.get("nodePort"):
                e.forbidden(f"spec.ports[{i}].nodePort", "may not be used when `type` is 'ClusterIP'")
    node: set[Any] = set()
    for i, port in enumerate(ports):
        if number := port.get("nodePort"):
            if (port.get("protocol"), number) in node:
                e.duplicate(f"spec.ports[{i}].nodePort", number)
            node.add((port.get("protocol"), number))
    seen: set[Any] = set()
    for i, port in enumerate(ports):
        key = (port.get("protocol") or "", port.get("port", 0))
        if key in seen:
            shown = {"Name": "", "Protocol": key[0], "AppProtocol": None, "Port": key[1], "TargetPort": 0, "NodePort": 0}
            e.duplicate(f"spec.ports[{i}]", shown)
        seen.add(key)


def _validate_load_balancer(e: Errors, spec: Object, kind: str, annotations: dict[str, str], before: Object) -> None:
    balanced = kind == "LoadBalancer"
    old_ranges = before.get("loadBalancerSourceRanges") or ()
    if ranges := spec.get("loadBalancerSourceRanges"):
        if not balanced:
            e.forbidden("spec.LoadBalancerSourceRanges", ONLY_LOAD_BALANCER)
        for i, value in enumerate(ranges):
            rules.legacy_cidr(e, f"spec.LoadBalancerSourceRanges[{i}]", value.strip(), old_ranges)
    elif SOURCE_RANGES in annotations:
        field = f"metadata.annotations[{SOURCE_RANGES}]"
        if not balanced:
            e.forbidden(field, ONLY_LOAD_BALANCER)
        if annotations[SOURCE_RANGES].strip():
            for value in annotations[SOURCE_RANGES].split(","):
                rules.legacy_cidr(e, field, value.strip())
    if "allocateLoadBalancerNodePorts" in spec and not balanced:
        e.forbidden("spec.allocateLoadBalancerNodePorts", ONLY_LOAD_BALANCER)
    if "allocateLoadBalancerNodePorts" not in spec and balanced:
        e.required("spec.allocateLoadBalancerNodePorts")
    _validate_class(e, spec, None)


def _validate_class(e: Errors, spec: Object, before: Object | None) -> None:
    name = spec.get("loadBalancerClass")
    balanced = spec.get("type") == "LoadBalancer"
    if before is not None and balanced and before.get("type") == "LoadBalancer" and name != before.get("loadBalancerClass"):
        e.invalid("spec.loadBalancerClass", name, SET_ONCE)
    if name is None:
        return
    if balanced:
        e.qualified("spec.loadBalancerClass", name)
    else:
        e.forbidden("spec.loadBalancerClass", ONLY_LOAD_BALANCER)


def _validate_policies(e: Errors, spec: Object) -> None:
    policy = spec.get("externalTrafficPolicy") or ""
    if external(spec):
        e.enum("spec.externalTrafficPolicy", policy, POLICIES, need="")
    elif policy:
        e.invalid("spec.externalTrafficPolicy", policy, "may only be set for externally-accessible services")
    port = spec.get("healthCheckNodePort") or 0
    if needs_health_check(spec):
        if e.need("spec.healthCheckNodePort", port):
            e.port("spec.healthCheckNodePort", port)
    elif port:
        text = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        e.invalid("spec.healthCheckNodePort", port, text)
    internal = spec.get("internalTrafficPolicy")
    if internal is None:
        if spec.get("type") in ("NodePort", "LoadBalancer", "ClusterIP"):
            e.required("spec.internalTrafficPolicy")
    else:
        e.enum("spec.internalTrafficPolicy", internal, POLICIES)
    distribution = spec.get("trafficDistribution")
    if distribution is not None and distribution not in TRAFFIC_DISTRIBUTIONS:
        e.unsupported("spec.trafficDistribution", distribution, TRAFFIC_DISTRIBUTIONS, sort=False)


def _validate_change(e: Errors, spec: Object, before: Object) -> None:
    """Primary address and family stay once set, unless the service is or was an ExternalName."""
    if "ExternalName" not in (spec.get("type"), before.get("type")):
        one, other = headless(spec), headless(before)
        if not (one and other):
            _validate_released(e, spec, before, "clusterIPs", "clusterIP")
        if not (one or other):
            _validate_released(e, spec, before, "ipFamilies", "ipFamily")
    _validate_class(e, spec, before)


def _validate_released(e: Errors, spec: Object, before: Object, field: str, one: str) -> None:
    new, old = spec.get(field) or [], before.get(field) or []
    if len(new) == len(old):
        for i, value in enumerate(old):
            if new[i] != value:
                e.invalid(f"spec.{field}[{i}]", new, SET_ONCE)
        return
    if len(old) > len(new) and not new:
        e.invalid(f"spec.{field}[0]", new or None, f"primary {one} can not be unset")
    if old and new and old[0] != new[0]:
        e.invalid(f"spec.{field}[0]", new, SET_ONCE)
    if len(old) > len(new) == 1 and spec.get("ipFamilyPolicy") != "SingleStack":
        e.invalid("spec.ipFamilyPolicy", spec.get("ipFamilyPolicy"), f"must be set to 'SingleStack' when releasing the secondary {one}")


def load_balancer_status(e: Errors, field: str, status: Object, kind: str = "LoadBalancer") -> None:
    """The ingress points of a Service's status."""
    for i, ingress in enumerate(status.get("ingress") or ()):
        at = f"{field}.ingress[{i}]"
        if kind and kind != "LoadBalancer":
            e.forbidden(f"{field}.ingress", "may only be used when `spec.type` is \"LoadBalancer\"")
            return
        if ip := ingress.get("ip"):
            rules.legacy_ip(e, f"{at}.ip", ip)
        mode = ingress.get("ipMode")
        if ip and not mode:
            e.required(f"{at}.ipMode", "must be specified when `ip` is set")
        elif mode and not ip:
            e.forbidden(f"{at}.ipMode", "may not be specified when `ip` is not set")
        elif mode:
            e.enum(f"{at}.ipMode", mode, ("VIP", "Proxy"))
        if host := ingress.get("hostname"):
            e.text(f"{at}.hostname", host, names.dns_subdomain)
            if names.parse_ip(host):
                e.invalid(f"{at}.hostname", host, "must be a DNS name, not an IP address")


def _warnings(obj: Object) -> list[str]:
    spec, out = obj["spec"], []
    kind, ips = spec.get("type"), spec.get("externalIPs") or []
    if HINTS in (obj["metadata"].get("annotations") or {}):
        out.append(f"annotation {HINTS} is deprecated, please use {TOPOLOGY_MODE} instead")
    none = kind == "ClusterIP" and spec.get("clusterIP") == "None"
    if spec.get("clusterIP") not in (None, "", "None"):
        for i, ip in enumerate(spec.get("clusterIPs") or ()):
            out += rules.ip_warnings(f"spec.clusterIPs[{i}]", ip)
    if none:
        ignored = {"loadBalancerIP": spec.get("loadBalancerIP"), "externalIPs": ips, "SessionAffinity": spec["sessionAffinity"] != "None"}
        out += [f"spec.{field} is ignored for headless services" for field, value in ignored.items() if value]
    for i, ip in enumerate(ips):
        out += rules.ip_warnings(f"spec.externalIPs[{i}]", ip)
    if ips and not none and kind != "ExternalName":
        out.append("spec.externalIPs is deprecated and may no longer be implemented in some clusters")
    out += rules.ip_warnings("spec.loadBalancerIP", spec.get("loadBalancerIP") or "")
    for i, value in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        out += rules.cidr_warnings(f"spec.loadBalancerSourceRanges[{i}]", value)
    if kind == "ExternalName" and ips:
        out.append('spec.externalIPs is ignored when spec.type is "ExternalName"')
    if kind != "ExternalName" and spec.get("externalName"):
        out.append('spec.externalName is ignored when spec.type is not "ExternalName"')
    if spec.get("trafficDistribution") == "PreferClose":
        out.append('spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"')
    return out
