"""Kubernetes in Python: API server, controllers, scheduler, proxy. The rooms and their floors are in ARCHITECTURE.md."""

__version__ = "0.1.0"
