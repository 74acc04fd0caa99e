"""The kubelet's own server, port 10250: logs, exec, attach, port-forward, stats, pods, health. TLS with client certificates or tokens.

Streams are relayed to the runtime's streaming server; only the client's protocol is translated here.
"""
