"""The storage.k8s.io group: StorageClass, CSIDriver, CSINode, VolumeAttachment, CSIStorageCapacity, VolumeAttributesClass."""

from typing import Any

from kapi.objects import names, quantity
from kapi.objects.errors import Cause
from kapi.registry.kinds import rules
from kapi.registry.kinds.rules import Errors
from kapi.registry.strategy import Strategy

Object = dict[str, Any]

DEFAULT_CLASS = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")
MOST_PARAMETERS, LARGEST_PARAMETERS = 512, 256 * 1024
FS_GROUP_POLICIES = ("File", "None", "ReadWriteOnceWithFSType")
LONGEST_NODE_ID, LONGEST_DRIVER = 192, 63
SHORTEST_TOKEN, LONGEST_TOKEN = 600, 1 << 32
ONE_SOURCE = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
NO_TOKENS_IN_SECRETS = (
    "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in "
    "volume attributes"
)
DRIVER_DEFAULTS: Object = {
    "attachRequired": True, "podInfoOnMount": False, "storageCapacity": False, "requiresRepublish": False, "seLinuxMount": False,
    "fsGroupPolicy": "ReadWriteOnceWithFSType",
}  # fmt: skip


def provisioner(e: Errors, field: str, name: str) -> None:
    """A driver's name: qualified, whatever its case."""
    if e.need(field, name):
        e.qualified(field, name.lower())


def driver_name(e: Errors, field: str, name: str) -> None:
    """A CSI driver's: a subdomain, whatever its case, of at most 63 bytes."""
    if not e.need(field, name):
        return
    if len(name) > LONGEST_DRIVER:
        e.too_long(field, LONGEST_DRIVER)
    for message in names.dns_subdomain(name.lower()):
        e.invalid(field, name, message)


def _parameters(e: Errors, field: str, values: dict[str, str], *, needed: bool = False) -> None:
    if needed and not values:
        e.required(field, "must contain at least one key/value pair")
    if len(values) > MOST_PARAMETERS:
        e.too_long(field, MOST_PARAMETERS)
        return
    for key in values:
        if not key:
            e.invalid(field, key, "field can not be empty.")
    if sum(len(k) + len(v) for k, v in values.items()) > LARGEST_PARAMETERS:
        e.too_long(field, LARGEST_PARAMETERS)


class StorageClassStrategy(Strategy):
    """storage.k8s.io/v1 StorageClass."""

    returns_deleted = True
    status = False
    generation = False
    columns = rules.columns(
        "Name", "Provisioner=storage.v1.StorageClass.provisioner", "ReclaimPolicy=storage.v1.StorageClass.reclaimPolicy",
        "VolumeBindingMode=storage.v1.StorageClass.volumeBindingMode", "AllowVolumeExpansion=storage.v1.StorageClass.allowVolumeExpansion",
        "Age",
    )  # fmt: skip

    def default(self, obj: Object) -> None:
        obj.setdefault("provisioner", "")
        obj.setdefault("reclaimPolicy", "Delete")
        obj.setdefault("volumeBindingMode", "Immediate")

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        provisioner(e, "provisioner", new.get("provisioner") or "")
        _parameters(e, "parameters", new.get("parameters") or {})
        if new.get("reclaimPolicy"):
            e.enum("reclaimPolicy", new["reclaimPolicy"], ("Delete", "Retain"))
        e.enum("volumeBindingMode", new.get("volumeBindingMode"), ("Immediate", "WaitForFirstConsumer"))
        _validate_topologies(e, new.get("allowedTopologies") or [])
        for field in ("parameters", "provisioner", "reclaimPolicy", "volumeBindingMode") if old is not None else ():
            one, other = new.get(field), (old or {}).get(field)
            if (one or None) != (other or None):
                e.invalid(field, one, rules.IMMUTABLE)
        return e

    def row(self, obj: Object, now: float) -> list[Any]:
        annotations = obj["metadata"].get("annotations") or {}
        name = obj["metadata"]["name"] + (" (default)" if any(annotations.get(key) == "true" for key in DEFAULT_CLASS) else "")
        grows = bool(obj.get("allowVolumeExpansion"))
        return [name, obj.get("provisioner", ""), obj.get("reclaimPolicy", "Delete"), obj.get("volumeBindingMode", "Immediate"),
                rules.shown(grows), rules.age(obj, now)]  # fmt: skip


def _validate_topologies(e: Errors, terms: list[Object]) -> None:
    known: list[dict[str, frozenset[str]]] = [{} for _ in terms]
    for i, term in enumerate(terms):
        at, found = f"allowedTopologies[{i}].matchLabelExpressions", dict[str, frozenset[str]]()
        for j, part in enumerate(term.get("matchLabelExpressions") or ()):
            key, values, seen = part.get("key") or "", part.get("values") or [], set[str]()
            e.need(f"{at}[{j}].values", values)
            for k, value in enumerate(values):
                e.unique(f"{at}[{j}].values[{k}]", value, seen)
            e.text(f"{at}[{j}].key", key, names.label_key)
            if key in found:
                e.duplicate(f"{at}[{j}].key", key)
            found[key] = frozenset(values)
        for other in known:
            if other == found:
                e.duplicate(at, "")
        known.append(found)


class CSIDriverStrategy(Strategy):
    """storage.k8s.io/v1 CSIDriver."""

    returns_deleted = True
    name_check = staticmethod(names.path_segment)
    status = False
    generation = False
    unconditional_update = False
    columns = rules.columns(
        "Name", "AttachRequired=storage.v1.CSIDriverSpec.attachRequired", "PodInfoOnMount=storage.v1.CSIDriverSpec.podInfoOnMount",
        "StorageCapacity=storage.v1.CSIDriverSpec.storageCapacity", "TokenRequests=storage.v1.CSIDriverSpec.tokenRequests",
        "RequiresRepublish=storage.v1.CSIDriverSpec.requiresRepublish", "Modes=storage.v1.CSIDriverSpec.volumeLifecycleModes", "Age",
    )  # fmt: skip

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        for field, value in DRIVER_DEFAULTS.items():
            spec.setdefault(field, value)
        if not spec.get("volumeLifecycleModes"):
            spec["volumeLifecycleModes"] = ["Persistent"]
        for request in spec.get("tokenRequests") or ():
            request.setdefault("audience", "")

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        spec = new["spec"]
        if new["metadata"].get("name"):
            driver_name(e, "metadata.name", new["metadata"]["name"])
        if "fsGroupPolicy" in spec:
            e.enum("spec.fsGroupPolicy", spec["fsGroupPolicy"], FS_GROUP_POLICIES)
        _validate_tokens(e, spec.get("tokenRequests") or [])
        for mode in spec.get("volumeLifecycleModes") or ():
            e.enum("spec.volumeLifecycleModes", mode, ("Ephemeral", "Persistent"))
        if "nodeAllocatableUpdatePeriodSeconds" in spec:
            text = "must be greater than or equal to 10 seconds"
            e.at_least("spec.nodeAllocatableUpdatePeriodSeconds", spec["nodeAllocatableUpdatePeriodSeconds"], 10, text)
        if old is not None:
            for field, shown in (("attachRequired", "attachedRequired"), ("volumeLifecycleModes", "volumeLifecycleModes")):
                e.immutable(f"spec.{shown}", spec.get(field), old["spec"].get(field))
        return e

    def warnings(self, new: Object, old: Object | None) -> list[str]:
        spec = new["spec"]
        unset = bool(spec.get("tokenRequests")) and spec.get("serviceAccountTokenInSecrets") is None
        return [NO_TOKENS_IN_SECRETS] if unset and old is None else []

    def row(self, obj: Object, now: float) -> list[Any]:
        spec = obj["spec"]
        flags = [rules.shown(spec.get(field), "<unset>") for field in ("attachRequired", "podInfoOnMount", "storageCapacity")]
        tokens = ",".join(request.get("audience", "") for request in spec.get("tokenRequests") or ()) or "<unset>"
        modes = ",".join(spec.get("volumeLifecycleModes") or ()) or "<none>"
        return [obj["metadata"]["name"], *flags, tokens, rules.shown(spec.get("requiresRepublish"), "<unset>"), modes, rules.age(obj, now)]


def _validate_tokens(e: Errors, requests: list[Object]) -> None:
    seen: set[str] = set()
    for i, request in enumerate(requests):
        at, seconds = f"spec.tokenRequests[{i}]", request.get("expirationSeconds")
        e.unique(f"{at}.audience", request.get("audience") or "", seen)
        if seconds is not None and seconds < SHORTEST_TOKEN:
            e.invalid(f"{at}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
        if seconds is not None and seconds > LONGEST_TOKEN:
            e.invalid(f"{at}.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds")


class CSINodeStrategy(Strategy):
    """storage.k8s.io/v1 CSINode."""

    returns_deleted = True
    status = False
    generation = False
    unconditional_update = False
    columns = rules.columns("Name", "Drivers#: Drivers indicates the number of CSI drivers registered on the node", "Age")

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("drivers", None)
        for driver in spec["drivers"] or ():
            driver.setdefault("name", "")
            driver.setdefault("nodeID", "")
            driver.setdefault("topologyKeys", None)

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        seen: set[str] = set()
        for i, driver in enumerate(new["spec"].get("drivers") or ()):
            _validate_driver(e, f"spec.drivers[{i}]", driver, seen)
        return e

    def row(self, obj: Object, now: float) -> list[Any]:
        return [obj["metadata"]["name"], len(obj["spec"].get("drivers") or ()), rules.age(obj, now)]


def _validate_driver(e: Errors, at: str, driver: Object, seen: set[str]) -> None:
    name, node = driver.get("name") or "", driver.get("nodeID") or ""
    driver_name(e, f"{at}.name", name)
    e.need(f"{at}.nodeID", node)
    if len(node) > LONGEST_NODE_ID:
        e.invalid(f"{at}.nodeID", node, f"must be {LONGEST_NODE_ID} characters or less")
    e.non_negative(f"{at}.allocatable.count", (driver.get("allocatable") or {}).get("count"))
    e.unique(f"{at}.name", name, seen)
    keys: set[str] = set()
    for key in driver.get("topologyKeys") or ():
        if not key:
            e.required(at)
        e.unique(at, key, keys)
        e.qualified(at, key)


class VolumeAttachmentStrategy(Strategy):
    """storage.k8s.io/v1 VolumeAttachment."""

    returns_deleted = True
    generation = False
    unconditional_update = False
    columns = rules.columns(
        "Name", "Attacher=storage.v1.VolumeAttachmentSpec.attacher", "PV=storage.v1.VolumeAttachmentSource.persistentVolumeName",
        "Node=storage.v1.VolumeAttachmentSpec.nodeName", "Attached=storage.v1.VolumeAttachmentStatus.attached", "Age",
    )  # fmt: skip

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {}).setdefault("source", {})

    def prepare(self, new: Object, old: Object | None) -> None:
        new["status"] = (old or {}).get("status") or {"attached": False}

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        spec = new["spec"]
        driver_name(e, "spec.attacher", spec.get("attacher") or "")
        source = spec.get("source") or {}
        inline, volume = source.get("inlineVolumeSpec"), source.get("persistentVolumeName")
        if inline is None and volume is None:
            e.required("spec.source", ONE_SOURCE)
        elif inline is not None and volume is not None:
            e.forbidden("spec.source", ONE_SOURCE)
        elif volume is not None:
            e.named("spec.source.persistentVolumeName", volume, names.dns_subdomain, "must specify non empty persistentVolumeName")
        e.text("spec.nodeName", spec.get("nodeName") or "", names.dns_subdomain)
        if old is not None:
            e.immutable("spec", spec, old["spec"])
        return e

    def row(self, obj: Object, now: float) -> list[Any]:
        spec, status = obj["spec"], obj.get("status") or {}
        volume = spec.get("source", {}).get("persistentVolumeName", "")
        attached = rules.shown(bool(status.get("attached")))
        return [obj["metadata"]["name"], spec.get("attacher", ""), volume, spec.get("nodeName", ""), attached, rules.age(obj, now)]


class CSIStorageCapacityStrategy(Strategy):
    """storage.k8s.io/v1 CSIStorageCapacity."""

    status = False
    generation = False
    unconditional_update = False

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        e.text("storageClassName", new.get("storageClassName") or "", names.dns_subdomain)
        rules.label_selector(e, "nodeTopology", new.get("nodeTopology"))
        if new.get("capacity") is not None and quantity.parse(new["capacity"]).nano < 0:
            e.invalid("capacity", new["capacity"], "must be greater than or equal to 0")
        if old is not None:
            for field in ("nodeTopology", "storageClassName"):
                e.immutable(field, new.get(field), old.get(field))
        return e


class VolumeAttributesClassStrategy(Strategy):
    """storage.k8s.io/v1 VolumeAttributesClass."""

    returns_deleted = True
    status = False
    generation = False
    columns = rules.columns("Name", "DriverName=storage.v1.VolumeAttributesClass.driverName", "Age")

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        for field in ("driverName", "parameters") if old is not None else ():
            if (new.get(field) or None) != ((old or {}).get(field) or None):
                e.forbidden(field, f"updates to {field} are forbidden.")
        provisioner(e, "driverName", new.get("driverName") or "")
        _parameters(e, "parameters", new.get("parameters") or {}, needed=True)
        return e

    def row(self, obj: Object, now: float) -> list[Any]:
        return [obj["metadata"]["name"], obj.get("driverName", ""), rules.age(obj, now)]
