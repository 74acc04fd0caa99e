"""A container runtime that speaks CRI v1 over a unix socket (containerd, CRI-O): messages, calls, events."""
