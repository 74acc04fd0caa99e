"""Whole structures in messages as stock prints them: the internal type as JSON, every field named as in Go, absent ones as null or zero.

`to_internal("PodResourceClaim", {"name": "x"})` is {"Name": "x", "ResourceClaimName": None, "ResourceClaimTemplateName": None}.
Only what such a message can hold is listed here; the types mirror Kubernetes v1.36's internal API (facts, in field order).

A type is a line of fields: `A` text, `A#` number, `A!` flag, `A?` pointer or anything, `A~` quantity, `A:T` a T, `A?T` pointer to a T,
`A[T]` list of T, `A[]` list, `+T` the fields of an embedded T, `^A` a field the wire form keeps one level up, `A=json` another wire name.
Types written in lower case are those whose JSON form has its own names and leaves empty fields out (metav1).
"""

import re
from functools import lru_cache
from typing import Any, NamedTuple

from kapi.objects.meta import Object

_TYPES = {
    "ResourceClaimTemplateSpec": "Spec:ResourceClaimSpec",
    "ResourceClaimSpec": "Devices:DeviceClaim",
    "DeviceClaim": "Requests[DeviceRequest] Constraints[DeviceConstraint] Config[DeviceClaimConfiguration]",
    "DeviceRequest": "Name Exactly?ExactDeviceRequest FirstAvailable[DeviceSubRequest]",
    "ExactDeviceRequest": "DeviceClassName Selectors[DeviceSelector] AllocationMode Count# AdminAccess? Tolerations[Toleration]"
    " Capacity?CapacityRequirements",
    "DeviceSubRequest": "Name DeviceClassName Selectors[DeviceSelector] AllocationMode Count# Tolerations[Toleration]"
    " Capacity?CapacityRequirements",
    "DeviceSelector": "CEL?CELSelector=cel",
    "CELSelector": "Expression",
    "DeviceConstraint": "Requests[] MatchAttribute? DistinctAttribute?",
    "DeviceClaimConfiguration": "Requests[] Opaque?OpaqueConfiguration",
    "OpaqueConfiguration": "Driver Parameters?",
    "PodTemplateSpec": "Spec:PodSpec",
    "PodSpec": "Volumes[Volume] InitContainers[Container] Containers[Container] EphemeralContainers[EphemeralContainer] RestartPolicy"
    " TerminationGracePeriodSeconds? ActiveDeadlineSeconds? DNSPolicy=dnsPolicy NodeSelector? ServiceAccountName"
    " AutomountServiceAccountToken? NodeName SecurityContext:PodSecurityContext ImagePullSecrets[LocalReference] Hostname Subdomain"
    " SetHostnameAsFQDN? Affinity?Affinity SchedulerName Tolerations[Toleration] HostAliases[HostAlias] PriorityClassName Priority?"
    " PreemptionPolicy? DNSConfig?DNSConfig=dnsConfig ReadinessGates[ReadinessGate] RuntimeClassName? Overhead? EnableServiceLinks?"
    " TopologySpreadConstraints[TopologySpread] OS?Named=os SchedulingGates[Named] ResourceClaims[PodResourceClaim]"
    " Resources?Resources HostnameOverride? SchedulingGroup?SchedulingGroup",
    "PodSecurityContext": "^HostNetwork! ^HostPID!=hostPID ^HostIPC!=hostIPC ^ShareProcessNamespace? ^HostUsers?"
    " SELinuxOptions?SELinux=seLinuxOptions WindowsOptions?Windows RunAsUser? RunAsGroup? RunAsNonRoot? SupplementalGroups[]"
    " SupplementalGroupsPolicy? FSGroup?=fsGroup FSGroupChangePolicy?=fsGroupChangePolicy Sysctls[NameValue] SeccompProfile?Profile"
    " AppArmorProfile?Profile SELinuxChangePolicy?=seLinuxChangePolicy",
    "SecurityContext": "Capabilities?Capabilities Privileged? SELinuxOptions?SELinux=seLinuxOptions WindowsOptions?Windows RunAsUser?"
    " RunAsGroup? RunAsNonRoot? ReadOnlyRootFilesystem? AllowPrivilegeEscalation? ProcMount? SeccompProfile?Profile"
    " AppArmorProfile?Profile",
    "Capabilities": "Add[] Drop[]",
    "SELinux": "User Role Type Level",
    "Windows": "GMSACredentialSpecName?=gmsaCredentialSpecName GMSACredentialSpec?=gmsaCredentialSpec RunAsUserName? HostProcess?",
    "Profile": "Type LocalhostProfile?",
    "NameValue": "Name Value",
    "Named": "Name",
    "LocalReference": "Name",
    "HostAlias": "IP=ip Hostnames[]",
    "ReadinessGate": "ConditionType",
    "PodResourceClaim": "Name ResourceClaimName? ResourceClaimTemplateName?",
    "SchedulingGroup": "PodGroupName?",
    "DNSConfig": "Nameservers[] Searches[] Options[DNSOption]",
    "DNSOption": "Name Value?",
    "Toleration": "Key Operator Value Effect TolerationSeconds?",
    "TopologySpread": "MaxSkew# TopologyKey WhenUnsatisfiable LabelSelector?selector MinDomains? NodeAffinityPolicy? NodeTaintsPolicy?"
    " MatchLabelKeys[]",
    "Affinity": "NodeAffinity?NodeAffinity PodAffinity?PodAffinity PodAntiAffinity?PodAffinity",
    "NodeAffinity": "RequiredDuringSchedulingIgnoredDuringExecution?NodeSelector"
    " PreferredDuringSchedulingIgnoredDuringExecution[Preferred]",
    "NodeSelector": "NodeSelectorTerms[NodeSelectorTerm]",
    "NodeSelectorTerm": "MatchExpressions[NodeRequirement] MatchFields[NodeRequirement]",
    "NodeRequirement": "Key Operator Values[]",
    "Preferred": "Weight# Preference:NodeSelectorTerm",
    "PodAffinity": "RequiredDuringSchedulingIgnoredDuringExecution[AffinityTerm] PreferredDuringSchedulingIgnoredDuringExecution[Weighted]",
    "AffinityTerm": "LabelSelector?selector Namespaces[] TopologyKey NamespaceSelector?selector MatchLabelKeys[] MismatchLabelKeys[]",
    "Weighted": "Weight# PodAffinityTerm:AffinityTerm",
    "Container": "Name Image Command[] Args[] WorkingDir Ports[Port] EnvFrom[EnvFrom] Env[EnvVar] Resources:Resources"
    " ResizePolicy[ResizePolicy] RestartPolicy? RestartPolicyRules[RestartRule] VolumeMounts[VolumeMount] VolumeDevices[VolumeDevice]"
    " LivenessProbe?Probe ReadinessProbe?Probe StartupProbe?Probe Lifecycle?Lifecycle TerminationMessagePath TerminationMessagePolicy"
    " ImagePullPolicy SecurityContext?SecurityContext Stdin! StdinOnce! TTY!=tty",
    "EphemeralContainer": "+Container TargetContainerName",
    "Resources": "Limits? Requests? Claims[Claim]",
    "Claim": "Name Request",
    "ResizePolicy": "ResourceName RestartPolicy",
    "RestartRule": "Action ExitCodes?RestartExitCodes",
    "RestartExitCodes": "Operator Values[]",
    "Port": "Name HostPort# ContainerPort# Protocol HostIP=hostIP",
    "EnvFrom": "Prefix ConfigMapRef?OptionalName SecretRef?OptionalName",
    "OptionalName": "Name Optional?",
    "EnvVar": "Name Value ValueFrom?EnvVarSource",
    "EnvVarSource": "FieldRef?FieldRef ResourceFieldRef?ResourceFieldRef ConfigMapKeyRef?KeyRef SecretKeyRef?KeyRef FileKeyRef?FileKeyRef",
    "FieldRef": "APIVersion=apiVersion FieldPath",
    "ResourceFieldRef": "ContainerName Resource Divisor~",
    "KeyRef": "Name Key Optional?",
    "FileKeyRef": "VolumeName Path Key Optional?",
    "VolumeMount": "Name ReadOnly! RecursiveReadOnly? MountPath SubPath MountPropagation? SubPathExpr",
    "VolumeDevice": "Name DevicePath",
    "Probe": "Exec?Exec HTTPGet?HTTPGet=httpGet TCPSocket?TCPSocket=tcpSocket GRPC?GRPC=grpc InitialDelaySeconds# TimeoutSeconds#"
    " PeriodSeconds# SuccessThreshold# FailureThreshold# TerminationGracePeriodSeconds?",
    "Exec": "Command[]",
    "HTTPGet": "Path Port? Host Scheme HTTPHeaders[NameValue]=httpHeaders",
    "TCPSocket": "Port? Host",
    "GRPC": "Port# Service?",
    "Lifecycle": "PostStart?Handler PreStop?Handler StopSignal?",
    "Handler": "Exec?Exec HTTPGet?HTTPGet=httpGet TCPSocket?TCPSocket=tcpSocket Sleep?Sleep",
    "Sleep": "Seconds#",
    "Volume": "Name HostPath?HostPath EmptyDir?EmptyDir GCEPersistentDisk?GCE=gcePersistentDisk"
    " AWSElasticBlockStore?AWS=awsElasticBlockStore GitRepo?GitRepo Secret?SecretVolume NFS?NFS=nfs ISCSI?=iscsi Glusterfs?"
    " PersistentVolumeClaim?ClaimVolume RBD?=rbd Quobyte? FlexVolume? Cinder? CephFS?=cephfs Flocker?"
    " DownwardAPI?DownwardVolume=downwardAPI FC?=fc AzureFile?"
    " ConfigMap?ConfigMapVolume VsphereVolume? AzureDisk? PhotonPersistentDisk? Projected?Projected"
    " PortworxVolume? ScaleIO?=scaleIO StorageOS?=storageos CSI?CSI=csi Ephemeral? Image?ImageVolume",
    "HostPath": "Path Type?",
    "EmptyDir": "Medium SizeLimit?",
    "GCE": "PDName=pdName FSType=fsType Partition# ReadOnly!",
    "AWS": "VolumeID=volumeID FSType=fsType Partition# ReadOnly!",
    "GitRepo": "Repository Revision Directory",
    "SecretVolume": "SecretName Items[KeyToPath] DefaultMode? Optional?",
    "KeyToPath": "Key Path Mode?",
    "NFS": "Server Path ReadOnly!",
    "ClaimVolume": "ClaimName ReadOnly!",
    "DownwardVolume": "Items[DownwardFile] DefaultMode?",
    "DownwardFile": "Path FieldRef?FieldRef ResourceFieldRef?ResourceFieldRef Mode?",
    "ConfigMapVolume": "Name Items[KeyToPath] DefaultMode? Optional?",
    "Projected": "Sources[Projection] DefaultMode?",
    "Projection": "Secret?SecretProjection DownwardAPI?DownwardProjection=downwardAPI ConfigMap?SecretProjection"
    " ServiceAccountToken?TokenProjection ClusterTrustBundle?TrustBundle PodCertificate?",
    "SecretProjection": "Name Items[KeyToPath] Optional?",
    "DownwardProjection": "Items[DownwardFile]",
    "TokenProjection": "Audience ExpirationSeconds# Path",
    "TrustBundle": "Name? SignerName? LabelSelector?selector Optional? Path",
    "CSI": "Driver ReadOnly? FSType?=fsType VolumeAttributes? NodePublishSecretRef?LocalReference",
    "ImageVolume": "Reference PullPolicy",
    "Taint": "Key Value Effect TimeAdded?",
    "NodeAddress": "Type Address",
    "ObjectReference": "Kind Namespace Name UID=uid APIVersion=apiVersion ResourceVersion FieldPath",
    "EventSource": "Component Host",
    "NodeConfigSource": "ConfigMap?NodeConfigMap",
    "NodeConfigMap": "Namespace Name UID=uid ResourceVersion KubeletConfigKey",
    "DeploymentStrategy": "Type RollingUpdate?RollingUpdate",
    "RollingUpdate": "MaxUnavailable# MaxSurge#",
    "StatefulSetStrategy": "Type RollingUpdate?StatefulRolling",
    "StatefulRolling": "Partition# MaxUnavailable?",
    "PodFailurePolicy": "Rules[PodFailureRule]",
    "PodFailureRule": "Action OnExitCodes?FailureExitCodes OnPodConditions[FailureCondition]",
    "FailureExitCodes": "ContainerName? Operator Values[]",
    "FailureCondition": "Type Status",
    "SuccessPolicy": "Rules[SuccessRule]",
    "SuccessRule": "SucceededIndexes? SucceededCount?",
    "PodIP": "IP=ip",
    "VolumeAttachmentSpec": "Attacher Source:VolumeAttachmentSource NodeName",
    "VolumeAttachmentSource": "PersistentVolumeName? InlineVolumeSpec?",
    "CapacityRequirements": "Requests?",
    "meta": "name? generateName? namespace? selfLink? uid? resourceVersion? generation? creationTimestamp? deletionTimestamp?"
    " deletionGracePeriodSeconds? labels? annotations? ownerReferences? finalizers? managedFields?",
    "selector": "matchLabels? matchExpressions[requirement]",
    "requirement": "key! operator! values?",
}

_TOKEN = re.compile(r"(\^?)(\w+)([#!?~:]?)(\w*)(?:\[(\w*)\])?(?:=(\w+))?$")
_ZERO = {"": "", "#": 0, "!": False, "?": None, "~": "0"}


class _Field(NamedTuple):
    name: str
    wire: str
    mark: str
    type: str
    list: bool
    above: bool


@lru_cache(maxsize=256)
def _fields(type_name: str) -> tuple[_Field, ...]:
    out: list[_Field] = []
    for token in _TYPES[type_name].split():
        if token.startswith("+"):
            out += _fields(token[1:])
            continue
        match = _TOKEN.match(token)
        if match is None:
            raise ValueError(token)
        above, name, mark, inner, item, wire = match.groups()
        wire = wire or name[0].lower() + name[1:]
        out.append(_Field(name, wire, mark, inner or item or "", item is not None, bool(above)))
    return tuple(out)


def _value(field: _Field, value: Any, parent: Object) -> Any:
    if field.list:
        return None if value is None else [to_internal(field.type, v) if field.type else v for v in value]
    if field.type:
        if value is None and field.mark == "?":
            return None
        return to_internal(field.type, value or {}, parent)
    if isinstance(value, dict):
        return {key: value[key] for key in sorted(value)}
    return _ZERO[field.mark] if value is None else value


def to_internal(type_name: str, obj: Object, parent: Object | None = None) -> Object:
    """The wire form turned into what stock's internal type would print."""
    lower, parent, out = type_name[0].islower(), parent or {}, {}
    for field in _fields(type_name):
        value = parent.get(field.wire) if field.above else obj.get(field.wire)
        meta = field.name[0].islower()
        if meta and not value and not (lower and field.mark == "!"):
            continue
        out[field.name] = (value or "") if meta and field.mark == "!" else _value(field, value, obj)
    if type_name == "PodTemplateSpec":
        return {**to_internal("meta", obj.get("metadata") or {}), **out}
    return out


def pointer(type_name: str, obj: Object | None) -> Object | None:
    """The same of what need not be there."""
    return None if obj is None else to_internal(type_name, obj)

