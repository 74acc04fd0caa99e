"""Pods: their spec at any path, defaults, updates, warnings, and the columns of `kubectl get pods`."""
