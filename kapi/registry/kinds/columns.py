"""The columns of the tables of pods, workloads, jobs, nodes and namespaces; `COLUMNS["pods"]`.

The fields whose documentation describes them, or a few words: see rules.columns.
"""

from kapi.registry.validation import rules

_TEMPLATE = ("Containers+: Names of each container in the template.", "Images+: Images referenced by each container in the template.")
_READY = "Ready: Number of the pod with ready state"

COLUMNS = {
    "pods": rules.columns(
        "Name", "Ready: The aggregate readiness state of this pod for accepting traffic.",
        "Status: The aggregate status of the containers in this pod.",
        "Restarts: The number of times the containers in this pod have been restarted and when the last container in this pod "
        "has restarted.",
        "Age", "IP+=core.v1.PodStatus.podIP", "Node+=core.v1.PodSpec.nodeName", "Nominated Node+=core.v1.PodStatus.nominatedNodeName",
        "Readiness Gates+=core.v1.PodSpec.readinessGates",
    ),
    "podtemplates": rules.columns(
        "Name", "Containers: Names of each container in the template.", "Images: Images referenced by each container in the template.",
        "Pod Labels: The labels for the pod template.",
    ),
    "replicationcontrollers": rules.columns(
        "Name", "Desired#=core.v1.ReplicationControllerSpec.replicas", "Current#=core.v1.ReplicationControllerStatus.replicas",
        "Ready#=core.v1.ReplicationControllerStatus.readyReplicas", "Age", *_TEMPLATE,
        "Selector+=core.v1.ReplicationControllerSpec.selector",
    ),
    "replicasets": rules.columns(
        "Name", "Desired#=apps.v1.ReplicaSetSpec.replicas", "Current#=apps.v1.ReplicaSetStatus.replicas",
        "Ready#=apps.v1.ReplicaSetStatus.readyReplicas", "Age", *_TEMPLATE, "Selector+=apps.v1.ReplicaSetSpec.selector",
    ),
    "deployments": rules.columns(
        "Name", _READY, "Up-to-date=apps.v1.DeploymentStatus.updatedReplicas", "Available=apps.v1.DeploymentStatus.availableReplicas",
        "Age", *_TEMPLATE, "Selector+=apps.v1.DeploymentSpec.selector",
    ),
    "statefulsets": rules.columns("Name", _READY, "Age", *_TEMPLATE),
    "daemonsets": rules.columns(
        "Name", "Desired#=apps.v1.DaemonSetStatus.desiredNumberScheduled", "Current#=apps.v1.DaemonSetStatus.currentNumberScheduled",
        "Ready#=apps.v1.DaemonSetStatus.numberReady", "Up-to-date#=apps.v1.DaemonSetStatus.updatedNumberScheduled",
        "Available#=apps.v1.DaemonSetStatus.numberAvailable", "Node Selector=core.v1.PodSpec.nodeSelector", "Age", *_TEMPLATE,
        "Selector+=apps.v1.DaemonSetSpec.selector",
    ),
    "controllerrevisions": rules.columns(
        "Name", "Controller: Controller of the object", "Revision=apps.v1.ControllerRevision.revision", "Age",
    ),
    "jobs": rules.columns(
        "Name", "Status: Status of the job.", "Completions=batch.v1.JobStatus.succeeded", "Duration: Time required to complete the job.",
        "Age", *_TEMPLATE, "Selector+=batch.v1.JobSpec.selector",
    ),
    "cronjobs": rules.columns(
        "Name", "Schedule=batch.v1.CronJobSpec.schedule", "Timezone=batch.v1.CronJobSpec.timeZone",
        "Suspend!=batch.v1.CronJobSpec.suspend", "Active#=batch.v1.CronJobStatus.active",
        "Last Schedule=batch.v1.CronJobStatus.lastScheduleTime", "Age", *_TEMPLATE, "Selector+=batch.v1.JobSpec.selector",
    ),
    "nodes": rules.columns(
        "Name", "Status: The status of the node", "Roles: The roles of the node", "Age", "Version@status.nodeInfo.kubeletVersion",
        "Internal-IP+=core.v1.NodeStatus.addresses", "External-IP+=core.v1.NodeStatus.addresses",
        "OS-Image+@status.nodeInfo.osImage|<unknown>",
        "Kernel-Version+@status.nodeInfo.kernelVersion|<unknown>",
        "Container-Runtime+@status.nodeInfo.containerRuntimeVersion|<unknown>",
        of="core.v1.Node",
    ),
    "namespaces": rules.columns("Name", "Status@status.phase: The status of the namespace", "Age"),
}  # fmt: skip
