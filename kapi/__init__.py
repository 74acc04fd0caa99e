"""Kubernetes in Python: API server, controllers, scheduler, proxy. The rooms and their floors are in ARCHITECTURE.md."""
