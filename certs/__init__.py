"""A small CA: the keys, certificates and kubeconfigs of one cluster."""

from certs.checking import Unusable
from certs.cluster import Settings, ensure

__all__ = ["Settings", "Unusable", "ensure"]
