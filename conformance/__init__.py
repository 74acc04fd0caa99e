"""Conformance tests over the wire, against any API server, kapi's or a stock one."""
