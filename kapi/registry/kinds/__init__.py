"""The list of strategies: one line for every built-in resource, PlainStrategy where there is nothing to default or validate."""

from kapi.registry.kinds.admissionregistration.policies import (
    MutatingBindingStrategy,
    MutatingPolicyStrategy,
    ValidatingBindingStrategy,
    ValidatingPolicyStrategy,
)
from kapi.registry.kinds.admissionregistration.webhooks import MutatingWebhookStrategy, WebhookStrategy
from kapi.registry.kinds.apiextensions.definitions import CustomResourceDefinitionStrategy
from kapi.registry.kinds.apiregistration import APIServiceStrategy
from kapi.registry.kinds.apps.stateful_and_daemon_sets import DaemonSetStrategy, StatefulSetStrategy
from kapi.registry.kinds.apps.workloads import (
    ControllerRevisionStrategy,
    DeploymentStrategy,
    PodTemplateStrategy,
    ReplicaSetStrategy,
    ReplicationControllerStrategy,
)
from kapi.registry.kinds.authorization import (
    AccessReviewStrategy,
    LocalAccessReviewStrategy,
    SubjectAccessReviewStrategy,
)
from kapi.registry.kinds.autoscaling import AutoscalerStrategy
from kapi.registry.kinds.batch.cronjobs import CronJobStrategy
from kapi.registry.kinds.batch.jobs import JobStrategy
from kapi.registry.kinds.certificates import CertificateSigningRequestStrategy, ClusterTrustBundleStrategy, PodCertificateRequestStrategy
from kapi.registry.kinds.coordination import LeaseCandidateStrategy, LeaseStrategy
from kapi.registry.kinds.core.component_statuses import ComponentStatusStrategy
from kapi.registry.kinds.core.config import ConfigMapStrategy, SecretStrategy, ServiceAccountStrategy
from kapi.registry.kinds.core.endpoints import EndpointSliceStrategy, EndpointsStrategy
from kapi.registry.kinds.core.event import EventStrategy, NewEventStrategy
from kapi.registry.kinds.core.namespaces import NamespaceStrategy
from kapi.registry.kinds.core.node_strategy import NodeStrategy
from kapi.registry.kinds.core.persistent_volumes import PersistentVolumeClaimStrategy, PersistentVolumeStrategy
from kapi.registry.kinds.core.pods.pod_strategy import PodStrategy
from kapi.registry.kinds.core.quota import LimitRangeStrategy, ResourceQuotaStrategy
from kapi.registry.kinds.core.service import ServiceStrategy
from kapi.registry.kinds.flowcontrol import FlowSchemaStrategy, PriorityLevelStrategy
from kapi.registry.kinds.internal_apiserver import StorageVersionStrategy
from kapi.registry.kinds.networking.ingress import IngressClassStrategy, IngressStrategy
from kapi.registry.kinds.networking.network_policies import NetworkPolicyStrategy
from kapi.registry.kinds.networking.service_ranges import IPAddressStrategy, ServiceCIDRStrategy
from kapi.registry.kinds.node import RuntimeClassStrategy
from kapi.registry.kinds.policy import PodDisruptionBudgetStrategy
from kapi.registry.kinds.rbac import ClusterRoleBindingStrategy, ClusterRoleStrategy, RoleBindingStrategy, RoleStrategy
from kapi.registry.kinds.resource.devices import DeviceClassStrategy, ResourceClaimStrategy, ResourceClaimTemplateStrategy
from kapi.registry.kinds.resource.slices import ResourceSliceStrategy
from kapi.registry.kinds.resource.taints import DeviceTaintRuleStrategy
from kapi.registry.kinds.scheduling import PodGroupStrategy, PriorityClassStrategy, WorkloadStrategy
from kapi.registry.kinds.storage import (
    CSIDriverStrategy,
    CSINodeStrategy,
    CSIStorageCapacityStrategy,
    StorageClassStrategy,
    VolumeAttachmentStrategy,
    VolumeAttributesClassStrategy,
)
from kapi.registry.kinds.storagemigration import StorageVersionMigrationStrategy
from kapi.registry.strategy import Strategy
from kapi.registry.validation.part import PlainStrategy

STRATEGIES: dict[tuple[str, str], type[Strategy]] = {
    # (group, plural): strategy
    ("", "componentstatuses"): ComponentStatusStrategy,
    ("", "configmaps"): ConfigMapStrategy,
    ("", "endpoints"): EndpointsStrategy,
    ("", "events"): EventStrategy,
    ("", "limitranges"): LimitRangeStrategy,
    ("", "namespaces"): NamespaceStrategy,
    ("", "nodes"): NodeStrategy,
    ("", "persistentvolumeclaims"): PersistentVolumeClaimStrategy,
    ("", "persistentvolumes"): PersistentVolumeStrategy,
    ("", "pods"): PodStrategy,
    ("", "podtemplates"): PodTemplateStrategy,
    ("", "replicationcontrollers"): ReplicationControllerStrategy,
    ("", "resourcequotas"): ResourceQuotaStrategy,
    ("", "secrets"): SecretStrategy,
    ("", "serviceaccounts"): ServiceAccountStrategy,
    ("", "services"): ServiceStrategy,
    ("admissionregistration.k8s.io", "mutatingadmissionpolicies"): MutatingPolicyStrategy,
    ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings"): MutatingBindingStrategy,
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"): MutatingWebhookStrategy,
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"): ValidatingPolicyStrategy,
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"): ValidatingBindingStrategy,
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"): WebhookStrategy,
    ("apiextensions.k8s.io", "customresourcedefinitions"): CustomResourceDefinitionStrategy,
    ("apiregistration.k8s.io", "apiservices"): APIServiceStrategy,
    ("apps", "controllerrevisions"): ControllerRevisionStrategy,
    ("apps", "daemonsets"): DaemonSetStrategy,
    ("apps", "deployments"): DeploymentStrategy,
    ("apps", "replicasets"): ReplicaSetStrategy,
    ("apps", "statefulsets"): StatefulSetStrategy,
    ("authentication.k8s.io", "selfsubjectreviews"): PlainStrategy,
    ("authentication.k8s.io", "tokenreviews"): PlainStrategy,
    ("authorization.k8s.io", "localsubjectaccessreviews"): LocalAccessReviewStrategy,
    ("authorization.k8s.io", "selfsubjectaccessreviews"): AccessReviewStrategy,
    ("authorization.k8s.io", "selfsubjectrulesreviews"): PlainStrategy,
    ("authorization.k8s.io", "subjectaccessreviews"): SubjectAccessReviewStrategy,
    ("autoscaling", "horizontalpodautoscalers"): AutoscalerStrategy,
    ("batch", "cronjobs"): CronJobStrategy,
    ("batch", "jobs"): JobStrategy,
    ("certificates.k8s.io", "certificatesigningrequests"): CertificateSigningRequestStrategy,
    ("certificates.k8s.io", "clustertrustbundles"): ClusterTrustBundleStrategy,
    ("certificates.k8s.io", "podcertificaterequests"): PodCertificateRequestStrategy,
    ("coordination.k8s.io", "leasecandidates"): LeaseCandidateStrategy,
    ("coordination.k8s.io", "leases"): LeaseStrategy,
    ("discovery.k8s.io", "endpointslices"): EndpointSliceStrategy,
    ("events.k8s.io", "events"): NewEventStrategy,
    ("flowcontrol.apiserver.k8s.io", "flowschemas"): FlowSchemaStrategy,
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations"): PriorityLevelStrategy,
    ("internal.apiserver.k8s.io", "storageversions"): StorageVersionStrategy,
    ("networking.k8s.io", "ingressclasses"): IngressClassStrategy,
    ("networking.k8s.io", "ingresses"): IngressStrategy,
    ("networking.k8s.io", "ipaddresses"): IPAddressStrategy,
    ("networking.k8s.io", "networkpolicies"): NetworkPolicyStrategy,
    ("networking.k8s.io", "servicecidrs"): ServiceCIDRStrategy,
    ("node.k8s.io", "runtimeclasses"): RuntimeClassStrategy,
    ("policy", "poddisruptionbudgets"): PodDisruptionBudgetStrategy,
    ("rbac.authorization.k8s.io", "clusterrolebindings"): ClusterRoleBindingStrategy,
    ("rbac.authorization.k8s.io", "clusterroles"): ClusterRoleStrategy,
    ("rbac.authorization.k8s.io", "rolebindings"): RoleBindingStrategy,
    ("rbac.authorization.k8s.io", "roles"): RoleStrategy,
    ("resource.k8s.io", "deviceclasses"): DeviceClassStrategy,
    ("resource.k8s.io", "devicetaintrules"): DeviceTaintRuleStrategy,
    ("resource.k8s.io", "resourceclaims"): ResourceClaimStrategy,
    ("resource.k8s.io", "resourceclaimtemplates"): ResourceClaimTemplateStrategy,
    ("resource.k8s.io", "resourceslices"): ResourceSliceStrategy,
    ("scheduling.k8s.io", "podgroups"): PodGroupStrategy,
    ("scheduling.k8s.io", "priorityclasses"): PriorityClassStrategy,
    ("scheduling.k8s.io", "workloads"): WorkloadStrategy,
    ("storage.k8s.io", "csidrivers"): CSIDriverStrategy,
    ("storage.k8s.io", "csinodes"): CSINodeStrategy,
    ("storage.k8s.io", "csistoragecapacities"): CSIStorageCapacityStrategy,
    ("storage.k8s.io", "storageclasses"): StorageClassStrategy,
    ("storage.k8s.io", "volumeattachments"): VolumeAttachmentStrategy,
    ("storage.k8s.io", "volumeattributesclasses"): VolumeAttributesClassStrategy,
    ("storagemigration.k8s.io", "storageversionmigrations"): StorageVersionMigrationStrategy,
}
