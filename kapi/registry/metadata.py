"""The rules of ObjectMeta, the same for every kind: what the server fills in, what may be sent, what may change.

Source: apimachinery's ValidateObjectMeta and ValidateObjectMetaUpdate (v1.36), in their order.
"""

import os
import re
from collections.abc import Callable
from functools import lru_cache
from random import choices

from kapi import limits
from kapi.objects import causes, errors, names, time
from kapi.objects.caching import kept
from kapi.objects.errors import Cause, Causes
from kapi.objects.meta import Object
from kapi.objects.quoting import go_quote

ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"
STANDARD_FINALIZERS = frozenset({"kubernetes", ORPHAN, FOREGROUND})
_ANNOTATIONS_LIMIT = 256 * 1024
_DIGITS = re.compile("[0-9]{1,20}")
_SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_LONGEST_BASE = 58
"""generateName keeps 58 of 63 characters in front of its 5 random ones."""


def generate_name(base: str) -> str:
    """'web-' -> 'web-x7k2p'."""
    return base[:_LONGEST_BASE] + "".join(choices(_SUFFIX_ALPHABET, k=5))


_VARIANTS = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))


def new_uid() -> str:
    """A random UUID, version 4: str(uuid.uuid4()) without the object, which takes three times as long."""
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{_VARIANTS[digits[16]]}{digits[17:20]}-{digits[20:]}"


def revision(text: str) -> int:
    """The number a resourceVersion is; 0 for any other text, and for what no 64 bits hold."""
    digits = text.lstrip("0")
    return int(digits) if _DIGITS.fullmatch(digits) and int(digits) < 1 << 64 else 0


def version_of(meta: Object) -> int:
    """The resourceVersion of an update, 0 for none. Raises StatusError in the words of Go for what is no number."""
    text = meta.get("resourceVersion") or "0"
    number = revision(text)
    if not number and text.strip("0"):
        why = "value out of range" if text.isascii() and text.isdigit() else "invalid syntax"
        raise errors.StatusError(f"strconv.ParseUint: parsing {go_quote(text)}: {why}", reason="")
    return number


def check_namespace(meta: Object, namespaced: bool, namespace: str) -> None:
    """Set the object's namespace to the request's. Raises BadRequest for another one."""
    sent = meta.get("namespace")
    if sent == namespace and namespaced:
        return
    if not namespaced:
        meta.pop("namespace", None)
    elif not sent:
        meta["namespace"] = namespace
    else:
        raise errors.BadRequest("the namespace of the provided object does not match the namespace sent on the request")


def check_name(meta: Object, name: str) -> None:
    """Raises BadRequest when the object's name is not the URL's."""
    sent = meta.get("name")
    if not sent:
        raise errors.BadRequest(f"the name of the object ({name} based on URL) was undeterminable: name must be provided")
    if sent != name:
        raise errors.BadRequest(f"the name of the object ({sent}) does not match the name on the URL ({name})")


def fill_system_fields(meta: Object) -> None:
    """Set uid, creationTimestamp and a generated name on create."""
    meta["uid"] = new_uid()
    meta["creationTimestamp"] = time.stamp()
    for field in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"):
        meta.pop(field, None)
    if not meta.get("name") and meta.get("generateName"):
        meta["name"] = generate_name(meta["generateName"])


def restore_immutable(meta: Object, old: Object) -> None:
    """Restore what an update cannot change, before validation."""
    meta.setdefault("uid", old["uid"])
    for field in ("creationTimestamp", "generation", "deletionTimestamp"):
        if field in old:
            meta[field] = old[field]
        elif field == "generation":
            meta.pop(field, None)
    if "deletionGracePeriodSeconds" in old:
        meta.setdefault("deletionGracePeriodSeconds", old["deletionGracePeriodSeconds"])


def dedupe_owners(meta: Object) -> bool:
    """Drop duplicate owner references (same uid); True when there were any."""
    owners = meta.get("ownerReferences")
    if not owners or len(owners) < 2:
        return False
    seen: dict[str, Object] = {}
    for owner in owners:
        if seen.setdefault(owner.get("uid", ""), owner) != owner:
            seen[repr(owner)] = owner
    if len(seen) == len(owners):
        return False
    meta["ownerReferences"] = list(seen.values())
    return True


def validate(meta: Object, namespaced: bool, name_check: Callable[[str, bool], list[str]], loose: bool = False) -> list[Cause]:
    """Causes of a new object's metadata; `loose`: its finalizers need no domain."""
    out: list[Cause] = []
    if generate := meta.get("generateName"):
        out += [causes.invalid("metadata.generateName", generate, m) for m in name_check(generate, True)]
    name = meta.get("name")
    if not name:
        out.append(causes.required("metadata.name", "name or generateName is required"))
    else:
        out += [causes.invalid("metadata.name", name, m) for m in name_check(name, False)]
    namespace = meta.get("namespace")
    if namespaced:
        if not namespace:
            out.append(causes.required("metadata.namespace"))
        else:
            out += [causes.invalid("metadata.namespace", namespace, m) for m in names.dns_label(namespace, False)]
    elif namespace:
        out.append(causes.forbidden("metadata.namespace", "not allowed on this type"))
    if meta.get("generation", 0) < 0:
        out.append(causes.invalid("metadata.generation", meta["generation"], causes.NON_NEGATIVE))
    return out + _common(meta) + _finalizers(meta, loose)


CHECKS: dict[str, tuple[int, int]] = {
    **dict.fromkeys(
        (
            "/core/configmaps/", "/core/secrets/", "/core/pods/", "/apps/controllerrevisions/",
            "/networking.k8s.io/ingressclasses/", "/networking.k8s.io/ipaddresses/", "/rbac.authorization.k8s.io/roles/",
            "/rbac.authorization.k8s.io/rolebindings/", "/rbac.authorization.k8s.io/clusterroles/",
            "/rbac.authorization.k8s.io/clusterrolebindings/", "/storage.k8s.io/storageclasses/",
            "/storage.k8s.io/volumeattributesclasses/", "/certificates.k8s.io/certificatesigningrequests/",
            "/resource.k8s.io/deviceclasses/", "/resource.k8s.io/resourceclaims/", "/resource.k8s.io/resourceclaimtemplates/",
        ),
        (1, 1),
    ),
    **dict.fromkeys(
        (
            "/batch/jobs/", "/core/limitranges/", "/discovery.k8s.io/endpointslices/", "/flowcontrol.apiserver.k8s.io/flowschemas/",
            "/flowcontrol.apiserver.k8s.io/prioritylevelconfigurations/",
        ),
        (0, 1),
    ),
    "/core/persistentvolumes/": (0, 2),
    "/core/events/": (0, 0),
}  # fmt: skip
"""Collection -> (update checks, create checks) stock's validation of the kind runs on changed metadata. Others: (1, 0).

The pipeline itself checks once before them; each check lists its causes again.
"""


def validate_update(meta: Object, old: Object, collection: str, loose: bool = False) -> list[Cause]:
    """Causes of a change of metadata, each as often as stock lists it."""
    immutable = _immutable(meta, old)
    common, finalizers = _common(meta), _finalizer_names(meta, loose)
    if not immutable and not common and not finalizers:
        return []
    changed, anew = CHECKS.get(collection, (1, 0))
    return immutable + common + common + (immutable + common + finalizers) * changed + (common + finalizers) * anew


def validate_change(meta: Object, old: Object) -> list[Cause]:
    """The check of changed metadata alone, for a kind that lists it between its own causes."""
    return _immutable(meta, old) + _common(meta) + _finalizer_names(meta)


def _immutable(meta: Object, old: Object) -> list[Cause]:
    return _added_finalizers(meta, old) + [
        causes.invalid(f"metadata.{field}", meta.get(field), "field is immutable")
        for field in ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")
        if meta.get(field) != old.get(field)
    ]


def _added_finalizers(meta: Object, old: Object) -> list[Cause]:
    """Finalizers may not be added to an object that is being deleted."""
    if not old.get("deletionTimestamp"):
        return []
    known = set(old.get("finalizers") or ())
    extra = sorted(f for f in meta.get("finalizers") or () if f not in known)
    if not extra:
        return []
    found = ", ".join(go_quote(f) for f in extra)
    text = f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{found}}}"
    return [causes.forbidden("metadata.finalizers", text)]


def _common(meta: Object) -> list[Cause]:
    out: list[Cause] = []
    if labels := meta.get("labels"):
        out += label_causes(labels, "metadata.labels")
    if annotations := meta.get("annotations"):
        out += annotation_causes(annotations, "metadata.annotations")
    if owners := meta.get("ownerReferences"):
        out += _owners(owners)
    return out


@lru_cache(maxsize=4096)
def _label(key: str, value: str, field: str) -> tuple[Cause, ...]:
    bad_keys = tuple(causes.invalid(field, key, m) for m in names.qualified_name(key))
    return bad_keys + tuple(causes.invalid(field, value, m) for m in names.label_value(value))


def label_causes(labels: dict[str, str], field: str) -> list[Cause]:
    """Causes of a label map at `field`."""
    out = Causes()
    for key, value in labels.items():
        known = len(key) + len(value) <= limits.KEPT_TEXT
        out += _label(key, value, field) if known else _label.__wrapped__(key, value, field)
    return out


@kept(4096)
def _annotation_key(key: str) -> tuple[str, ...]:
    return tuple(names.qualified_name(key.lower()))


def annotation_causes(annotations: dict[str, str], field: str) -> list[Cause]:
    """Causes of an annotation map at `field`: its keys, and its size as a whole (256 KiB)."""
    out = Causes()
    for key in annotations:
        out += [causes.invalid(field, key, m) for m in _annotation_key(key)]
    if sum(len(k) + len(v) for k, v in annotations.items()) > _ANNOTATIONS_LIMIT:
        out.append(causes.too_long(field, _ANNOTATIONS_LIMIT))
    return out


def _owners(owners: list[Object]) -> list[Cause]:
    field = "metadata.ownerReferences"
    out = Causes()
    controller = ""
    for owner in owners:
        version = owner.get("apiVersion", "")
        if not version.rpartition("/")[2]:
            out.append(causes.invalid(f"{field}.apiVersion", version, "version must not be empty"))
        out += [causes.invalid(f"{field}.{key}", "", "must not be empty") for key in ("kind", "name", "uid") if not owner.get(key)]
        if (version, owner.get("kind")) == ("v1", "Event"):
            out.append(causes.invalid(field, owner, "/v1, Kind=Event is disallowed from being an owner"))
        if owner.get("controller"):
            named = f"{owner.get('kind', '')}/{owner.get('name', '')}"
            if controller and not out.full:
                found = f'Found "true" in references for {controller} and {named}'
                text = f"Only one reference can have Controller set to true. {found}"
                out.append(causes.invalid(field, owners, text))
            controller = controller or named
    return out


def _finalizers(meta: Object, loose: bool) -> list[Cause]:
    finalizers = meta.get("finalizers")
    if not finalizers:
        return []
    out = Causes()
    if ORPHAN in finalizers and FOREGROUND in finalizers:
        text = f"finalizer {ORPHAN} and {FOREGROUND} cannot be both set"
        out.append(causes.invalid("metadata.finalizers", finalizers, text))
    return out + _finalizer_names(meta, loose)


def _finalizer_names(meta: Object, loose: bool = False) -> list[Cause]:
    out = Causes()
    for i, name in enumerate(meta.get("finalizers") or ()):
        field = f"metadata.finalizers[{i}]"
        out += [causes.invalid(field, name, m) for m in names.qualified_name(name)]
        if not loose and "/" not in name and name not in STANDARD_FINALIZERS:
            out.append(causes.invalid(field, name, "name is neither a standard finalizer name nor is it fully qualified"))
    return out
