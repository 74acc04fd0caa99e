"""Error messages of Go's net and net/http for failed requests, and the errors of responses that exceed a limit."""

import socket
import ssl

from kapi import limits

_UNKNOWN_CA = "x509: certificate signed by unknown authority"
_CERTIFICATES = {
    10: "x509: certificate has expired or is not yet valid",
    18: _UNKNOWN_CA,
    19: _UNKNOWN_CA,
    20: _UNKNOWN_CA,
    21: _UNKNOWN_CA,
    62: "x509: certificate is not valid for any names, but wanted to match {host}",
    64: "x509: cannot validate certificate for {host} because it doesn't contain any IP SANs",
}
"""OpenSSL's verify code -> Go's message."""


class Refused(OSError):
    """A response that is not read to its end; the text says why."""


def head_too_large() -> Refused:
    why = f"net/http: server response headers exceeded {limits.PEER_HEAD_BYTES} bytes; aborted"
    return Refused(f"net/http: HTTP/1.x transport connection broken: {why}")


def body_too_large() -> Refused:
    return Refused("http: response body too large")


def address(host: str, port: int) -> str:
    """'10.0.0.1:80', '[fd00::1]:80'."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def message(why: BaseException, host: str, at: str) -> str:
    """Go's message for a failure below HTTP, while connecting to `host` or using the connection; `at` is its address."""
    tls = why if isinstance(why, ssl.SSLError) else why.__cause__
    if isinstance(tls, ssl.SSLCertVerificationError):
        known = _CERTIFICATES.get(tls.verify_code, f"x509: {tls.verify_message}")
        return "tls: failed to verify certificate: " + known.format(host=host)
    if isinstance(tls, ssl.SSLError):
        plain = "WRONG_VERSION_NUMBER" in str(tls) or "RECORD_LAYER_FAILURE" in str(tls)
        return "http: server gave HTTP response to HTTPS client" if plain else f"remote error: tls: {tls.reason or tls}"
    if isinstance(why, Refused):
        return str(why)
    if isinstance(why, TimeoutError):
        return f"dial tcp {at}: i/o timeout"
    if isinstance(why, socket.gaierror):
        return f"dial tcp: lookup {host}: no such host"
    if isinstance(why, ConnectionRefusedError):
        return f"dial tcp {at}: connect: connection refused"
    if isinstance(why, ConnectionError):
        return "EOF" if not why.errno else f"read tcp {at}: read: {why.strerror}".lower()
    return f"dial tcp {at}: connect: {getattr(why, 'strerror', None) or why}".lower()
