"""The storage.k8s.io group: StorageClass, CSIDriver, CSINode, VolumeAttachment, CSIStorageCapacity, VolumeAttributesClass."""

from typing import Any

from kapi.objects import names, quantity
from kapi.objects.meta import Object
from kapi.registry.kinds.core.pods.projections import token_life
from kapi.registry.validation import internal, rules
from kapi.registry.validation.part import Part, PlainStrategy, RuledStrategy
from kapi.registry.validation.rules import Errors

DEFAULT_CLASS = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")
MOST_PARAMETERS, LARGEST_PARAMETERS = 512, 256 * 1024
FS_GROUP_POLICIES = ("File", "None", "ReadWriteOnceWithFSType")
LONGEST_NODE_ID, LONGEST_DRIVER = 192, 63
ONE_SOURCE = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
NO_TOKENS_IN_SECRETS = (
    "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in "
    "volume attributes"
)


def provisioner(e: Errors, field: str, name: str) -> None:
    """A driver's name: a qualified name in any case."""
    if e.need(field, name):
        e.qualified(field, name.lower())


def driver_name(e: Errors, field: str, name: str) -> None:
    """The name of a CSI driver: a DNS subdomain in any case, at most 63 bytes."""
    if not e.need(field, name):
        return
    if len(name) > LONGEST_DRIVER:
        e.too_long(field, LONGEST_DRIVER)
    for message in names.dns_subdomain(name.lower()):
        e.invalid(field, name, message)


def _parameters(new: Part, *, needed: bool = False) -> None:
    values: dict[str, str] = new.get("parameters") or {}
    if needed:
        new.need("parameters", "must contain at least one key/value pair")
    if len(values) > MOST_PARAMETERS:
        new.e.too_long("parameters", MOST_PARAMETERS)
        return
    if "" in values:
        new.e.invalid("parameters", "", "field can not be empty.")
    if sum(len(k) + len(v) for k, v in values.items()) > LARGEST_PARAMETERS:
        new.e.too_long("parameters", LARGEST_PARAMETERS)


class StorageClassStrategy(PlainStrategy):
    """storage.k8s.io/v1 StorageClass."""

    returns_deleted = True
    columns = rules.columns(
        "Name", "Provisioner@provisioner", "ReclaimPolicy@reclaimPolicy|Delete",
        "VolumeBindingMode@volumeBindingMode|Immediate", "AllowVolumeExpansion@allowVolumeExpansion|false",
        "Age",
        of="storage.v1.StorageClass",
    )  # fmt: skip
    defaults = {"reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"}
    immutable = ("parameters", "provisioner", "reclaimPolicy", "volumeBindingMode")

    def check(self, new: Part, old: Object | None) -> None:
        provisioner(new.e, "provisioner", new.text("provisioner"))
        _parameters(new)
        if new.get("reclaimPolicy"):
            new.enum("reclaimPolicy", ("Delete", "Retain"))
        new.enum("volumeBindingMode", ("Immediate", "WaitForFirstConsumer"))
        _check_topologies(new)

    def row(self, obj: Object, now: float) -> list[Any]:
        annotations = obj["metadata"].get("annotations") or {}
        name, *cells = super().row(obj, now)
        return [name + (" (default)" if any(annotations.get(key) == "true" for key in DEFAULT_CLASS) else ""), *cells]


def _check_topologies(new: Part) -> None:
    known: list[dict[str, frozenset[str]]] = [{} for _ in new.items("allowedTopologies")]
    for term in new.parts("allowedTopologies"):
        values: dict[str, frozenset[str]] = {}
        for part in term.parts("matchLabelExpressions"):
            seen: set[str] = set()
            part.need("values")
            part.each("values", seen=seen)
            part.checked("key", names.label_key)
            if (key := part.text("key")) in values:
                part.e.duplicate(part.path("key"), key)
            values[key] = frozenset(seen)
        for other in known:
            if other == values:
                term.e.duplicate(term.path("matchLabelExpressions"), "")
        known.append(values)


class CSIDriverStrategy(PlainStrategy):
    """storage.k8s.io/v1 CSIDriver."""

    returns_deleted = True
    name_check = staticmethod(names.path_segment)
    unconditional_update = False
    columns = rules.columns(
        "Name", "AttachRequired@spec.attachRequired|<unset>", "PodInfoOnMount@spec.podInfoOnMount|<unset>",
        "StorageCapacity@spec.storageCapacity|<unset>", "TokenRequests=storage.v1.CSIDriverSpec.tokenRequests",
        "RequiresRepublish@spec.requiresRepublish|<unset>", "Modes@spec.volumeLifecycleModes|<none>", "Age",
        of="storage.v1.CSIDriver",
    )  # fmt: skip
    defaults = {
        "spec.attachRequired": True, "spec.podInfoOnMount": False, "spec.storageCapacity": False, "spec.requiresRepublish": False,
        "spec.seLinuxMount": False, "spec.fsGroupPolicy": "ReadWriteOnceWithFSType",
    }  # fmt: skip
    defaults_of_empty = {"spec.volumeLifecycleModes": ["Persistent"]}

    def check(self, new: Part, old: Object | None) -> None:
        spec = new.part("spec")
        if name := new.part("metadata").text("name"):
            driver_name(new.e, "metadata.name", name)
        spec.choice("fsGroupPolicy", FS_GROUP_POLICIES)
        _check_tokens(spec)
        for mode in spec.items("volumeLifecycleModes"):
            new.e.enum("spec.volumeLifecycleModes", mode, ("Ephemeral", "Persistent"))
        if "nodeAllocatableUpdatePeriodSeconds" in spec:
            spec.at_least("nodeAllocatableUpdatePeriodSeconds", 10, "must be greater than or equal to 10 seconds")
        if old is not None:
            new.e.immutable("spec.attachedRequired", spec.get("attachRequired"), old["spec"].get("attachRequired"))
            spec.immutable(old["spec"], "volumeLifecycleModes")

    def warnings(self, new: Object, old: Object | None) -> list[str]:
        spec = new["spec"]
        unset = bool(spec.get("tokenRequests")) and spec.get("serviceAccountTokenInSecrets") is None
        return [NO_TOKENS_IN_SECRETS] if unset and old is None else []

    def cells(self, obj: Object) -> list[Any]:
        return [rules.shown([request.get("audience", "") for request in obj["spec"].get("tokenRequests") or ()], "<unset>")]


def _check_tokens(spec: Part) -> None:
    seen: set[str] = set()
    for request in spec.parts("tokenRequests"):
        request.unique("audience", seen)
        if "expirationSeconds" in request:
            token_life(request)


class CSINodeStrategy(PlainStrategy):
    """storage.k8s.io/v1 CSINode."""

    returns_deleted = True
    unconditional_update = False
    columns = rules.columns("Name", "Drivers#@spec.drivers: Drivers indicates the number of CSI drivers registered on the node", "Age")

    def check(self, new: Part, old: Object | None) -> None:
        seen: set[str] = set()
        for driver in new.part("spec").parts("drivers"):
            _check_driver(driver, seen)


def _check_driver(driver: Part, seen: set[str]) -> None:
    driver_name(driver.e, driver.path("name"), driver.text("name"))
    driver.need("nodeID")
    if len(driver.text("nodeID")) > LONGEST_NODE_ID:
        driver.invalid("nodeID", f"must be {LONGEST_NODE_ID} characters or less")
    driver.part("allocatable").at_least("count", 0)
    driver.unique("name", seen)
    keys: set[str] = set()
    for key in driver.items("topologyKeys"):
        driver.e.need(driver.at, key)
        driver.e.unique(driver.at, key, keys)
        driver.e.qualified(driver.at, key)


class VolumeAttachmentStrategy(RuledStrategy):
    """storage.k8s.io/v1 VolumeAttachment."""

    returns_deleted = True
    generation = False
    unconditional_update = False
    columns = rules.columns(
        "Name", "Attacher@spec.attacher", "PV@spec.source.persistentVolumeName",
        "Node@spec.nodeName", "Attached@status.attached|false", "Age",
        of="storage.v1.VolumeAttachment",
    )  # fmt: skip

    def check(self, new: Part, old: Object | None) -> None:
        spec = new.part("spec")
        driver_name(new.e, "spec.attacher", spec.text("attacher"))
        source = spec.part("source")
        if ("inlineVolumeSpec" in source) and ("persistentVolumeName" in source):
            spec.forbidden("source", ONE_SOURCE)
        elif "persistentVolumeName" in source:
            source.named("persistentVolumeName", names.dns_subdomain, "must specify non empty persistentVolumeName")
        elif "inlineVolumeSpec" not in source:
            spec.required("source", ONE_SOURCE)
        spec.checked("nodeName", names.dns_subdomain)
        if old is not None and spec.obj != old["spec"]:
            new.e.invalid("spec", internal.to_internal("VolumeAttachmentSpec", spec.obj), rules.IMMUTABLE)


class CSIStorageCapacityStrategy(PlainStrategy):
    """storage.k8s.io/v1 CSIStorageCapacity."""

    immutable = ("nodeTopology", "storageClassName")
    unconditional_update = False

    def check(self, new: Part, old: Object | None) -> None:
        new.checked("storageClassName", names.dns_subdomain)
        new.selector("nodeTopology")
        if "capacity" in new and quantity.parse(new.get("capacity")).nano < 0:
            new.invalid("capacity", "must be greater than or equal to 0")


class VolumeAttributesClassStrategy(PlainStrategy):
    """storage.k8s.io/v1 VolumeAttributesClass."""

    returns_deleted = True
    columns = rules.columns("Name", "DriverName@driverName", "Age", of="storage.v1.VolumeAttributesClass")

    def check(self, new: Part, old: Object | None) -> None:
        for field in ("driverName", "parameters"):
            if old is not None and new.get(field) != old.get(field):
                new.forbidden(field, f"updates to {field} are forbidden.")
        provisioner(new.e, "driverName", new.text("driverName"))
        _parameters(new, needed=True)
