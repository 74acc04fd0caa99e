"""Types of answers that OpenAPI does not describe: metadata alone, and aggregated discovery; in the notations of openapi's tables."""

META = "io.k8s.apimachinery.pkg.apis.meta.v1."
META_BETA = "io.k8s.apimachinery.pkg.apis.meta.v1beta1."
DISCOVERY = "io.k8s.api.apidiscovery.v2."

TYPES: dict[str, dict[str, str]] = {
    META + "PartialObjectMetadata": {"metadata": META + "ObjectMeta ?"},
    META + "PartialObjectMetadataList": {"metadata": META + "ListMeta ?", "items": f"[]{META}PartialObjectMetadata"},
    META_BETA + "PartialObjectMetadataList": {"metadata": META + "ListMeta ?", "items": f"[]{META}PartialObjectMetadata"},
    META + "GroupVersionKind": {"group": "string", "version": "string", "kind": "string"},
    DISCOVERY + "APIGroupDiscoveryList": {"metadata": META + "ListMeta ?", "items": f"[]{DISCOVERY}APIGroupDiscovery"},
    DISCOVERY + "APIGroupDiscovery": {"metadata": META + "ObjectMeta ?", "versions": f"[]{DISCOVERY}APIVersionDiscovery ?"},
    DISCOVERY + "APIVersionDiscovery": {
        "version": "string", "resources": f"[]{DISCOVERY}APIResourceDiscovery ?", "freshness": "string ?",
    },
    DISCOVERY + "APIResourceDiscovery": {
        "resource": "string", "responseKind": f"*{META}GroupVersionKind ?", "scope": "string", "singularResource": "string",
        "verbs": "[]string", "shortNames": "[]string ?", "categories": "[]string ?",
        "subresources": f"[]{DISCOVERY}APISubresourceDiscovery ?",
    },
    DISCOVERY + "APISubresourceDiscovery": {
        "subresource": "string", "responseKind": f"*{META}GroupVersionKind ?", "acceptedTypes": f"[]{META}GroupVersionKind ?",
        "verbs": "[]string",
    },
}  # fmt: skip
"""Definition name -> field -> notation (kapi.schema.builtin)."""

WIRE = {
    META + "PartialObjectMetadata": "metadata=1",
    META + "PartialObjectMetadataList": "metadata=1 items=2",
    META_BETA + "PartialObjectMetadataList": "metadata=2 items=1",
    META + "GroupVersionKind": "group=1 version=2 kind=3",
    DISCOVERY + "APIGroupDiscoveryList": "metadata=1 items=2",
    DISCOVERY + "APIGroupDiscovery": "metadata=1 versions=2",
    DISCOVERY + "APIVersionDiscovery": "version=1 resources=2 freshness=3",
    DISCOVERY + "APIResourceDiscovery": (
        "resource=1 responseKind=2 scope=3 singularResource=4 verbs=5 shortNames=6 categories=7 subresources=8"
    ),
    DISCOVERY + "APISubresourceDiscovery": "subresource=1 responseKind=2 acceptedTypes=3 verbs=4",
}
"""Definition name -> numbers of the protobuf encoding."""

KINDS = {
    ("meta.k8s.io/v1", "PartialObjectMetadata"): META + "PartialObjectMetadata",
    ("meta.k8s.io/v1beta1", "PartialObjectMetadata"): META + "PartialObjectMetadata",
    ("meta.k8s.io/v1", "PartialObjectMetadataList"): META + "PartialObjectMetadataList",
    ("meta.k8s.io/v1beta1", "PartialObjectMetadataList"): META_BETA + "PartialObjectMetadataList",
    ("apidiscovery.k8s.io/v2", "APIGroupDiscoveryList"): DISCOVERY + "APIGroupDiscoveryList",
    ("apidiscovery.k8s.io/v2", "APIGroupDiscovery"): DISCOVERY + "APIGroupDiscovery",
    ("apidiscovery.k8s.io/v2beta1", "APIGroupDiscoveryList"): DISCOVERY + "APIGroupDiscoveryList",
    ("apidiscovery.k8s.io/v2beta1", "APIGroupDiscovery"): DISCOVERY + "APIGroupDiscovery",
}
"""(apiVersion, kind) -> definition name; both versions of discovery are alike."""
