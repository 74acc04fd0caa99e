"""The node agent: runs the pods of one node through a container runtime, or pretends to. `kubelet` is the wiring."""
