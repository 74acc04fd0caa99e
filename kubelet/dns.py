"""DNS configuration of a pod: resolv.conf and /etc/hosts. Pure, except for reading the node's resolv.conf."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from kapi.objects.meta import Object
from kubelet import pods

MAX_SERVERS, MAX_SEARCHES = 3, 32
_LONGEST = 64
"""Most characters of a host name on Linux."""
_HEADER = "# Kubernetes-managed hosts file.\n"
_HOST_HEADER = "# Kubernetes-managed hosts file (host network).\n"
_LOCAL = (
    "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\n"
    "fe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n"
)


class Resolver(NamedTuple):
    """resolv.conf: servers, search domains, options."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def parse(text: str) -> Resolver:
    """Parse a resolv.conf."""
    servers: list[str] = []
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    for line in text.splitlines():
        word, *rest = line.split() or [""]
        if word == "nameserver" and rest:
            servers.append(rest[0])
        elif word in ("search", "domain"):
            searches = tuple(rest)
        elif word == "options":
            options = tuple(rest)
    return Resolver(tuple(servers), searches, options)


def read(path: str) -> Resolver:
    try:
        return parse(Path(path).read_text())
    except OSError:
        return Resolver()


def resolver(pod: Object, host: Resolver, cluster: Sequence[str], domain: str) -> Resolver:
    """The resolver of a pod by its dnsPolicy and dnsConfig, from the node's resolver and the cluster's."""
    policy = pod["spec"].get("dnsPolicy") or "ClusterFirst"
    clustered = policy == "ClusterFirstWithHostNet" or (policy == "ClusterFirst" and not pods.host_network(pod))
    if policy == "None":
        base = Resolver()
    elif clustered and cluster:
        own = (f"{pod['metadata']['namespace']}.svc.{domain}", f"svc.{domain}", domain)
        base = Resolver(tuple(cluster), tuple(dict.fromkeys((*own, *host.searches))), ("ndots:5",))
    else:
        base = host
    return _extended(base, pod["spec"].get("dnsConfig") or {})


def _extended(base: Resolver, config: Object) -> Resolver:
    servers = dict.fromkeys((*base.servers, *(config.get("nameservers") or ())))
    searches = dict.fromkeys((*base.searches, *(config.get("searches") or ())))
    options = {o.partition(":")[0]: o for o in base.options}
    for option in config.get("options") or ():
        value = option.get("value")
        options[option["name"]] = f"{option['name']}:{value}" if value not in (None, "") else option["name"]
    return Resolver(tuple(servers)[:MAX_SERVERS], tuple(searches)[:MAX_SEARCHES], tuple(options.values()))


def hostname(pod: Object, node: str) -> tuple[str, str]:
    """(host name, domain name or "") of the pod."""
    spec, meta = pod["spec"], pod["metadata"]
    if spec.get("hostnameOverride"):
        return str(spec["hostnameOverride"]), ""
    name = str(spec.get("hostname") or meta["name"])[:63].rstrip("-.")
    if pods.host_network(pod):
        return node, ""
    return name, str(spec.get("subdomain") or "")


def kernel_name(pod: Object, domain: str) -> str:
    """The host name set in the pod's UTS namespace. Raises ValueError."""
    name, sub = hostname(pod, "")
    if not pod["spec"].get("setHostnameAsFQDN") or not sub:
        return name
    full = f"{name}.{sub}.{pod['metadata']['namespace']}.svc.{domain}"
    if len(full) > _LONGEST:
        why = f"FQDN {full} is too long ({_LONGEST} characters is the max, {len(full)} characters requested)"
        raise ValueError(f"Failed to construct FQDN from Pod hostname and cluster domain, {why}")
    return full


def hosts(pod: Object, ips: Sequence[str], domain: str) -> str:
    """The text of the pod's /etc/hosts."""
    if pods.host_network(pod):
        text = _HOST_HEADER + Path("/etc/hosts").read_text()
    else:
        name, sub = hostname(pod, "")
        full = f"{name}.{sub}.{pod['metadata']['namespace']}.svc.{domain}\t{name}" if sub else name
        text = _HEADER + _LOCAL + "".join(f"{ip}\t{full}\n" for ip in ips)
    aliases = pod["spec"].get("hostAliases") or ()
    if aliases:
        text += "\n# Entries added by HostAliases.\n" + "".join("\t".join([a["ip"], *a.get("hostnames", ())]) + "\n" for a in aliases)
    return text
