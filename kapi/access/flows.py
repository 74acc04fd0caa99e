"""The default FlowSchemas and PriorityLevelConfigurations of v1.36, as two tables.

`objects()` returns them; the API server writes them through the registry at startup. Source: the flow control documentation and stock's
bootstrap configuration (shares, queues, precedence).
"""

from collections.abc import Iterator

from kapi.objects.meta import Object

GROUP = "flowcontrol.apiserver.k8s.io"
API = f"{GROUP}/v1"
AUTOUPDATE = "apf.kubernetes.io/autoupdate-spec"

# name: shares, lendable percent, queues, hand size; without queues a full level rejects
_LEVELS: dict[str, tuple[int, ...]] = {
    "catch-all": (5, 0),
    "global-default": (20, 50, 128, 6),
    "leader-election": (10, 0, 16, 4),
    "node-high": (40, 25, 64, 6),
    "system": (30, 33, 64, 6),
    "workload-high": (40, 50, 128, 6),
    "workload-low": (100, 90, 128, 6),
}
_QUEUE_LENGTH = 50

# name > level : precedence : distinguisher : subjects : rules (verbs, group, resources, scope); no rules: everything
_SCHEMAS = """
catch-all > catch-all : 10000 : ByUser : Group/system:unauthenticated Group/system:authenticated
endpoint-controller > workload-high : 150 : ByUser : User/system:kube-controller-manager ServiceAccount/endpoint-controller
  ServiceAccount/endpointslicemirroring-controller : get,create,update - endpoints *
exempt > exempt : 1 : - : Group/system:masters
global-default > global-default : 9900 : ByUser : Group/system:unauthenticated Group/system:authenticated
kube-controller-manager > workload-high : 800 : ByNamespace : User/system:kube-controller-manager
kube-scheduler > workload-high : 800 : ByNamespace : User/system:kube-scheduler
kube-system-service-accounts > workload-high : 900 : ByNamespace : ServiceAccount/*
probes > exempt : 2 : - : Group/system:unauthenticated Group/system:authenticated : get /healthz,/readyz,/livez
service-accounts > workload-low : 9000 : ByUser : Group/system:serviceaccounts
system-leader-election > leader-election : 100 : ByUser : User/system:kube-controller-manager User/system:kube-scheduler
  ServiceAccount/* : get,create,update coordination.k8s.io leases *
system-node-high > node-high : 400 : ByUser : Group/system:nodes : * - nodes,nodes/status cluster+* : * coordination.k8s.io leases *
system-nodes > system : 500 : ByUser : Group/system:nodes
workload-leader-election > leader-election : 200 : ByUser : ServiceAccount/* : get,create,update coordination.k8s.io leases *
"""


def objects() -> Iterator[Object]:
    """All of them, priority levels first."""
    exempt = {"nominalConcurrencyShares": 0, "lendablePercent": 0}
    yield _object("PriorityLevelConfiguration", "exempt", {"type": "Exempt", "exempt": exempt})
    for name, figures in _LEVELS.items():
        yield _object("PriorityLevelConfiguration", name, {"type": "Limited", "limited": _limited(*figures)})
    for line in _SCHEMAS.strip().replace("\n  ", " ").splitlines():
        name, _, rest = line.partition(" > ")
        yield _object("FlowSchema", name, _schema(*rest.split(" : ")))


def _object(kind: str, name: str, spec: Object) -> Object:
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name, "annotations": {AUTOUPDATE: "true"}}, "spec": spec}


def _limited(shares: int, lendable: int, queues: int = 0, hand: int = 0) -> Object:
    response: Object = {"type": "Reject"}
    if queues:
        response = {"type": "Queue", "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": _QUEUE_LENGTH}}
    return {"nominalConcurrencyShares": shares, "limitResponse": response, "lendablePercent": lendable}


def _schema(level: str, precedence: str, method: str, subjects: str, *rules: str) -> Object:
    spec: Object = {"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": int(precedence)}
    if method != "-":
        spec["distinguisherMethod"] = {"type": method}
    rule: Object = {"subjects": [_subject(*text.split("/")) for text in subjects.split()]}
    for text in rules or ("* * * cluster+*", "* *"):
        verbs, *what = text.split(" ")
        rule.setdefault("nonResourceRules" if len(what) == 1 else "resourceRules", []).append(_matched(verbs.split(","), *what))
    return {**spec, "rules": [rule]}


def _subject(kind: str, name: str) -> Object:
    if kind == "ServiceAccount":
        return {"kind": kind, "serviceAccount": {"namespace": "kube-system", "name": name}}
    return {"kind": kind, kind.lower(): {"name": name}}


def _matched(verbs: list[str], first: str, resources: str = "", scope: str = "") -> Object:
    """A rule on URLs (`first` only), or on resources of a group in all namespaces ("*"), also with cluster-scoped ones ("cluster+*")."""
    if not resources:
        return {"verbs": verbs, "nonResourceURLs": first.split(",")}
    rule: Object = {"verbs": verbs, "apiGroups": ["" if first == "-" else first], "resources": resources.split(",")}
    return {**rule, **({"clusterScope": True} if scope != "*" else {}), "namespaces": ["*"]}


def dangling(name: str, exists: bool) -> Object:
    """The Dangling condition of a FlowSchema that refers to the priority level `name`."""
    end = "and it exists" if exists else "but there is no such object"
    return {
        "type": "Dangling", "status": str(not exists), "reason": "Found" if exists else "NotFound",
        "message": f'This FlowSchema references the PriorityLevelConfiguration object named "{name}" {end}',
    }  # fmt: skip
