"""ServiceAccount: checks that a pod's account exists, mounts its token, and adds its imagePullSecrets."""

import random
from collections.abc import Iterator

from kapi.admission.plugin import CREATE, UPDATE, ReadingPlugin, forbidden, spec_containers
from kapi.objects import references
from kapi.objects.meta import Object
from kapi.objects.quoting import go_quote
from kapi.objects.references import is_mirror
from kapi.objects.resource import SERVICE_ACCOUNTS
from kapi.registry.admission import AdmissionAttributes

MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
TOKEN_SECONDS = 3607
"""An hour; the seven seconds mark tokens whose client may not reload them, as in stock."""
ENFORCE_SECRETS = "kubernetes.io/enforce-mountable-secrets"
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
"""The alphabet of stock's name generator: no vowels and no digits that look like letters."""

def token_volume(name: str) -> Object:
    """The projected volume with token, CA and namespace."""
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    sources = [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [namespace]}},
    ]
    return {"name": name, "projected": {"sources": sources, "defaultMode": 420}}


class ServiceAccount(ReadingPlugin):
    name = "ServiceAccount"
    handled = {CREATE: ("pods",), UPDATE: ("pods/ephemeralcontainers",)}

    def mutate(self, attrs: AdmissionAttributes) -> None:
        pod = attrs.new or {}
        if attrs.operation == CREATE and not is_mirror(pod):
            spec = pod["spec"]
            if not spec.get("serviceAccountName"):
                spec["serviceAccountName"] = "default"
            spec["serviceAccount"] = spec["serviceAccountName"]
            account = self._account(attrs, spec["serviceAccountName"])
            if _automounts_token(account, spec):
                _mount_token(spec)
            if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
                spec["imagePullSecrets"] = [{"name": ref.get("name", "")} for ref in account["imagePullSecrets"]]

    def validate(self, attrs: AdmissionAttributes) -> None:
        pod = attrs.new or {}
        spec = pod["spec"]
        if is_mirror(pod) and attrs.operation == CREATE:
            self._check_mirror(attrs, spec)
            return
        name = spec.get("serviceAccountName")
        if not name:
            raise forbidden(attrs, f"no service account specified for pod {attrs.namespace}/{attrs.name}")
        account = self._account(attrs, name)
        annotations = account["metadata"].get("annotations") or {}
        if annotations.get(ENFORCE_SECRETS) == "true":
            self._check_secrets(attrs, spec, account)

    def _account(self, attrs: AdmissionAttributes, name: str) -> Object:
        account = self.reader.get(SERVICE_ACCOUNTS, attrs.namespace, name)
        if account is None:
            where = f"{attrs.namespace}/{name}"
            raise forbidden(attrs, f"error looking up service account {where}: serviceaccount {go_quote(name)} not found")
        return account

    def _check_mirror(self, attrs: AdmissionAttributes, spec: Object) -> None:
        if spec.get("serviceAccountName"):
            raise forbidden(attrs, "a mirror pod may not reference service accounts")
        if any(True for _ in references.in_spec(spec, references.SECRETS)):
            raise forbidden(attrs, "a mirror pod may not reference secrets")
        for volume in spec.get("volumes") or ():
            sources = (volume.get("projected") or {}).get("sources") or ()
            if any("serviceAccountToken" in source for source in sources):
                raise forbidden(attrs, "a mirror pod may not use ServiceAccountToken volume projections")

    def _check_secrets(self, attrs: AdmissionAttributes, spec: Object, account: Object) -> None:
        allowed = {ref.get("name") for ref in account.get("secrets") or ()}
        name = account["metadata"]["name"]
        for where, secret in _secret_references(spec):
            if secret not in allowed:
                why = f'{where} secret.secretName="{secret}" is not allowed because service account {name} does not reference that secret'
                raise forbidden(attrs, why)
        pull = {ref.get("name") for ref in account.get("imagePullSecrets") or ()}
        for i, ref in enumerate(spec.get("imagePullSecrets") or ()):
            if ref.get("name") not in pull:
                subject = f'imagePullSecrets[{i}].name="{ref.get("name")}"'
                raise forbidden(attrs, f"{subject} is not allowed because service account {name} does not reference that imagePullSecret")


_CONTAINERS = {"initContainers": "init container", "containers": "container", "ephemeralContainers": "ephemeral container"}


def _secret_references(spec: Object) -> Iterator[tuple[str, str]]:
    """(where, name) of each secret that comes into a pod's containers, in stock's order."""
    for secret in references.in_spec({"volumes": spec.get("volumes")}, references.SECRETS):
        yield "volume with", secret
    for field, kind in _CONTAINERS.items():
        for container in spec.get(field) or ():
            for variable in container.get("env") or ():
                if ref := (variable.get("valueFrom") or {}).get("secretKeyRef"):
                    yield f"{kind} {container.get('name')} with envVar {variable.get('name')} referencing", ref.get("name", "")
            for source in container.get("envFrom") or ():
                if ref := source.get("secretRef"):
                    yield f"{kind} {container.get('name')} with envFrom referencing", ref.get("name", "")


def _automounts_token(account: Object, spec: Object) -> bool:
    for holder in (spec, account):
        chosen = holder.get("automountServiceAccountToken")
        if chosen is not None:
            return bool(chosen)
    return True


def _mount_token(spec: Object) -> None:
    """Mount the token where nothing is mounted yet; the volume comes last."""
    name = "kube-api-access-" + "".join(random.choices(_SUFFIX, k=5))
    mounted = False
    for container in spec_containers(spec):
        mounts = container.setdefault("volumeMounts", [])
        if all(mount.get("mountPath") != MOUNT_PATH for mount in mounts):
            mounts.append({"name": name, "readOnly": True, "mountPath": MOUNT_PATH})
            mounted = True
    if mounted:
        spec["volumes"] = [*(spec.get("volumes") or ()), token_volume(name)]
