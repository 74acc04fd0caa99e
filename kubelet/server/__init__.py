"""The kubelet's own server, port 10250: logs, exec, attach, port-forward, stats, pods, health. TLS with client certificates or tokens.

Streams run through the runtime's streaming server; what is translated here are only the protocols in front of it.
"""
