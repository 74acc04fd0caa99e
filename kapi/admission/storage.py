"""DefaultStorageClass, DefaultIngressClass, StorageObjectInUseProtection and PersistentVolumeClaimResize."""

from kapi.admission.plugin import CREATE, UPDATE, Plugin, ReadingPlugin, forbidden
from kapi.objects import quantity
from kapi.objects.meta import Object
from kapi.objects.resource import STORAGE_CLASSES, Resource
from kapi.registry.admission import AdmissionAttributes

INGRESS_CLASSES = Resource("networking.k8s.io", "v1", "ingressclasses", "IngressClass", False)
_BETA_STORAGE_CLASS = "volume.beta.kubernetes.io/storage-class"
_FINALIZERS = {
    "persistentvolumeclaims": "kubernetes.io/pvc-protection",
    "persistentvolumes": "kubernetes.io/pv-protection",
    "volumeattributesclasses.storage.k8s.io": "kubernetes.io/vac-protection",
}


def default_class(classes: list[Object], annotations: tuple[str, ...]) -> str | None:
    """The name of the class marked as default: of several the newest, then the first by name."""
    marked = [c for c in classes if any((c["metadata"].get("annotations") or {}).get(a) == "true" for a in annotations)]
    marked.sort(key=lambda c: c["metadata"]["name"])
    marked.sort(key=lambda c: c["metadata"].get("creationTimestamp") or "", reverse=True)
    return marked[0]["metadata"]["name"] if marked else None


class DefaultClass(ReadingPlugin):
    """Sets the default class on objects without one."""

    classes: Resource
    marks: tuple[str, ...]
    """Annotations that make a class the default."""
    field: str
    """The field of spec that names the class."""
    annotation: str
    """The annotation that named the class before there was a field."""

    def mutate(self, attrs: AdmissionAttributes) -> None:
        obj = attrs.new or {}
        spec = obj.get("spec") or {}
        if spec.get(self.field) is not None or self.annotation in (obj["metadata"].get("annotations") or {}):
            return
        name = default_class(self.reader.list(self.classes), self.marks)
        if name is not None:
            obj["spec"] = {**spec, self.field: name}


class DefaultStorageClass(DefaultClass):
    name = "DefaultStorageClass"
    handled = {CREATE: ("persistentvolumeclaims",)}
    classes = STORAGE_CLASSES
    marks = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")
    field = "storageClassName"
    annotation = _BETA_STORAGE_CLASS


class DefaultIngressClass(DefaultClass):
    name = "DefaultIngressClass"
    handled = {CREATE: ("ingresses.networking.k8s.io",)}
    classes = INGRESS_CLASSES
    marks = ("ingressclass.kubernetes.io/is-default-class",)
    field = "ingressClassName"
    annotation = "kubernetes.io/ingress.class"


class StorageObjectInUseProtection(Plugin):
    """Adds the protection finalizer to new claims, volumes and attribute classes."""

    name = "StorageObjectInUseProtection"
    handled = {CREATE: tuple(_FINALIZERS)}

    def mutate(self, attrs: AdmissionAttributes) -> None:
        meta, finalizer = (attrs.new or {})["metadata"], _FINALIZERS[attrs.kind.resource.qualified]
        if finalizer not in (meta.get("finalizers") or ()):
            meta["finalizers"] = [*(meta.get("finalizers") or ()), finalizer]


class PersistentVolumeClaimResize(ReadingPlugin):
    """Only bound claims of a class with allowVolumeExpansion may grow."""

    name = "PersistentVolumeClaimResize"
    handled = {UPDATE: ("persistentvolumeclaims",)}

    def validate(self, attrs: AdmissionAttributes) -> None:
        new, old = attrs.new or {}, attrs.old or {}
        if quantity.compare(_requested(old), _requested(new)) >= 0:
            return
        if (old.get("status") or {}).get("phase") != "Bound":
            raise forbidden(attrs, "Only bound persistent volume claims can be expanded")
        annotations = old["metadata"].get("annotations") or {}
        name = annotations.get(_BETA_STORAGE_CLASS) or (old.get("spec") or {}).get("storageClassName") or ""
        chosen = self.reader.get(STORAGE_CLASSES, "", name) if name else None
        if not (chosen or {}).get("allowVolumeExpansion"):
            why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"
            raise forbidden(attrs, why)


def _requested(claim: Object) -> str | None:
    resources = (claim.get("spec") or {}).get("resources") or {}
    storage: str | None = (resources.get("requests") or {}).get("storage")
    return storage
