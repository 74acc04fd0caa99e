"""The columns of the tables of pods, workloads, jobs, nodes and namespaces, with the texts stock describes them by.

`COLUMNS["pods"]`. "Desired#" is an integer, "Suspend!" a boolean, "IP+" shows with -o wide only; Name comes first everywhere.
"""

from kapi.registry.strategy import AGE_COLUMN, NAME_COLUMN, Column

_CONTAINERS = (
    ("Containers+", "Names of each container in the template."),
    ("Images+", "Images referenced by each container in the template."),
)
_READY = ("Ready", "Number of the pod with ready state")
_ADDRESSES = (
    "List of addresses reachable to the node. Queried from cloud provider, if available. More info: "
    "https://kubernetes.io/docs/reference/node/node-status/#addresses Note: This field is declared as mergeable, but the "
    "merge key is not sufficiently unique, which can cause data corruption when it is merged. Callers should instead use a "
    "full-replacement patch. See https://pr.k8s.io/79391 for an example. Consumers should assume that addresses can change "
    "during the lifetime of a Node. However, there are some exceptions where this may not be possible, such as Pods that "
    "inherit a Node's address in its own status or consumers of the downward API (status.hostIP)."
)
_JOB_SELECTOR = (
    "A label query over pods that should match the pod count. Normally, the system sets this field for you. More info: "
    "https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors"
)
_TEXTS: dict[str, tuple[tuple[str, str], ...]] = {
    "pods": (
        ("Ready", "The aggregate readiness state of this pod for accepting traffic."),
        ("Status", "The aggregate status of the containers in this pod."),
        (
            "Restarts",
            "The number of times the containers in this pod have been restarted and when the last container in this pod has "
            "restarted.",
        ),
        ("Age", ""),
        ("IP+", "podIP address allocated to the pod. Routable at least within the cluster. Empty if not yet allocated."),
        (
            "Node+",
            "NodeName indicates in which node this pod is scheduled. If empty, this pod is a candidate for scheduling by the "
            "scheduler defined in schedulerName. Once this field is set, the kubelet for this node becomes responsible for the "
            "lifecycle of this pod. This field should not be used to express a desire for the pod to be scheduled on a specific "
            "node. https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#nodename",
        ),
        (
            "Nominated Node+",
            "nominatedNodeName is set only when this pod preempts other pods on the node, but it cannot be scheduled right away as "
            "preemption victims receive their graceful termination periods. This field does not guarantee that the pod will be "
            "scheduled on this node. Scheduler may decide to place the pod elsewhere if other nodes become available sooner. "
            "Scheduler may also decide to give the resources on this node to a higher priority pod that is created after preemption. "
            "As a result, this field may be different than PodSpec.nodeName when the pod is scheduled.",
        ),
        (
            "Readiness Gates+",
            "If specified, all readiness gates will be evaluated for pod readiness. A pod is ready when all its containers are ready "
            'AND all conditions specified in the readiness gates have status equal to "True" More info: '
            "https://git.k8s.io/enhancements/keps/sig-network/580-pod-readiness-gates",
        ),
    ),
    "podtemplates": (
        ("Containers", "Names of each container in the template."),
        ("Images", "Images referenced by each container in the template."),
        ("Pod Labels", "The labels for the pod template."),
    ),
    "replicationcontrollers": (
        (
            "Desired#",
            "Replicas is the number of desired replicas. This is a pointer to distinguish between explicit zero and unspecified. "
            "Defaults to 1. More info: "
            "https://kubernetes.io/docs/concepts/workloads/controllers/replicationcontroller#what-is-a-replicationcontroller",
        ),
        (
            "Current#",
            "Replicas is the most recently observed number of replicas. More info: "
            "https://kubernetes.io/docs/concepts/workloads/controllers/replicationcontroller#what-is-a-replicationcontroller",
        ),
        ("Ready#", "The number of ready replicas for this replication controller."),
        ("Age", ""),
        *_CONTAINERS,
        (
            "Selector+",
            "Selector is a label query over pods that should match the Replicas count. If Selector is empty, it is defaulted to the "
            "labels present on the Pod template. Label keys and values that must match in order to be controlled by this replication "
            "controller, if empty defaulted to labels on Pod template. More info: "
            "https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors",
        ),
    ),
    "replicasets": (
        (
            "Desired#",
            "Replicas is the number of desired pods. This is a pointer to distinguish between explicit zero and unspecified. "
            "Defaults to 1. More info: https://kubernetes.io/docs/concepts/workloads/controllers/replicaset",
        ),
        (
            "Current#",
            "Replicas is the most recently observed number of non-terminating pods. More info: "
            "https://kubernetes.io/docs/concepts/workloads/controllers/replicaset",
        ),
        ("Ready#", "The number of non-terminating pods targeted by this ReplicaSet with a Ready Condition."),
        ("Age", ""),
        *_CONTAINERS,
        (
            "Selector+",
            "Selector is a label query over pods that should match the replica count. Label keys and values that must match in order "
            "to be controlled by this replica set. It must match the pod template's labels. More info: "
            "https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors",
        ),
    ),
    "deployments": (
        _READY,
        ("Up-to-date", "Total number of non-terminating pods targeted by this deployment that have the desired template spec."),
        ("Available", "Total number of available non-terminating pods (ready for at least minReadySeconds) targeted by this deployment."),
        ("Age", ""),
        *_CONTAINERS,
        (
            "Selector+",
            "Label selector for pods. Existing ReplicaSets whose pods are selected by this will be the ones affected by this "
            "deployment. It must match the pod template's labels.",
        ),
    ),
    "statefulsets": (
        _READY,
        ("Age", ""),
        *_CONTAINERS,
    ),
    "daemonsets": (
        (
            "Desired#",
            "The total number of nodes that should be running the daemon pod (including nodes correctly running the daemon pod). "
            "More info: https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/",
        ),
        (
            "Current#",
            "The number of nodes that are running at least 1 daemon pod and are supposed to run the daemon pod. More info: "
            "https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/",
        ),
        (
            "Ready#",
            "numberReady is the number of nodes that should be running the daemon pod and have one or more of the daemon pod running "
            "with a Ready Condition.",
        ),
        ("Up-to-date#", "The total number of nodes that are running updated daemon pod"),
        (
            "Available#",
            "The number of nodes that should be running the daemon pod and have one or more of the daemon pod running and available "
            "(ready for at least spec.minReadySeconds)",
        ),
        (
            "Node Selector",
            "NodeSelector is a selector which must be true for the pod to fit on a node. Selector which must match a node's labels "
            "for the pod to be scheduled on that node. More info: https://kubernetes.io/docs/concepts/configuration/assign-pod-node/",
        ),
        ("Age", ""),
        *_CONTAINERS,
        (
            "Selector+",
            "A label query over pods that are managed by the daemon set. Must match in order to be controlled. It must match the pod "
            "template's labels. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors",
        ),
    ),
    "controllerrevisions": (
        ("Controller", "Controller of the object"),
        ("Revision", "Revision indicates the revision of the state represented by Data."),
        ("Age", ""),
    ),
    "jobs": (
        ("Status", "Status of the job."),
        (
            "Completions",
            "The number of pods which reached phase Succeeded. The value increases monotonically for a given spec. However, it may "
            "decrease in reaction to scale down of elastic indexed jobs.",
        ),
        ("Duration", "Time required to complete the job."),
        ("Age", ""),
        *_CONTAINERS,
        ("Selector+", _JOB_SELECTOR),
    ),
    "cronjobs": (
        ("Schedule", "The schedule in Cron format, see https://en.wikipedia.org/wiki/Cron."),
        (
            "Timezone",
            "The time zone name for the given schedule, see https://en.wikipedia.org/wiki/List_of_tz_database_time_zones. If not "
            "specified, this will default to the time zone of the kube-controller-manager process. The set of valid time zone names "
            "and the time zone offset is loaded from the system-wide time zone database by the API server during CronJob validation "
            "and the controller manager during execution. If no system-wide time zone database can be found a bundled version of the "
            "database is used instead. If the time zone name becomes invalid during the lifetime of a CronJob or due to a change in "
            "host configuration, the controller will stop creating new new Jobs and will create a system event with the reason "
            "UnknownTimeZone. More information can be found in "
            "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#time-zones",
        ),
        (
            "Suspend!",
            "This flag tells the controller to suspend subsequent executions, it does not apply to already started executions.  "
            "Defaults to false.",
        ),
        ("Active#", "A list of pointers to currently running jobs."),
        ("Last Schedule", "Information when was the last time the job was successfully scheduled."),
        ("Age", ""),
        *_CONTAINERS,
        ("Selector+", _JOB_SELECTOR),
    ),
    "nodes": (
        ("Status", "The status of the node"),
        ("Roles", "The roles of the node"),
        ("Age", ""),
        ("Version", "Kubelet Version reported by the node."),
        ("Internal-IP+", _ADDRESSES),
        ("External-IP+", _ADDRESSES),
        ("OS-Image+", "OS Image reported by the node from /etc/os-release (e.g. Debian GNU/Linux 7 (wheezy))."),
        ("Kernel-Version+", "Kernel Version reported by the node from 'uname -r' (e.g. 3.16.0-0.bpo.4-amd64)."),
        ("Container-Runtime+", "ContainerRuntime Version reported by the node through runtime remote API (e.g. containerd://1.4.2)."),
    ),
    "namespaces": (
        ("Status", "The status of the namespace"),
        ("Age", ""),
    ),
}
_TYPES = {"#": "integer", "!": "boolean"}


def _column(title: str, text: str) -> Column:
    if title == "Age":
        return AGE_COLUMN
    return Column(title.rstrip("+#!"), _TYPES.get(title[-1], "string"), text, int(title.endswith("+")))


COLUMNS = {kind: (NAME_COLUMN, *(_column(*pair) for pair in pairs)) for kind, pairs in _TEXTS.items()}
