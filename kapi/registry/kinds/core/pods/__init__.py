"""Pods: their spec at any path, defaults, updates, warnings, and the table that `kubectl get pods` shows."""
