"""Peers that an API server asks and that answer as badly as a test wants: in threads of the test's own process, over TCP or TLS."""

import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from certs import making
from certs.spec import CertificateSpec

Say = Callable[[socket.socket], None]
MEGABYTE = b"x" * (1 << 20)


def own_address() -> str:
    """An address of this machine that is none of loopback: a proxy goes nowhere else. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            pytest.skip("this machine has no address but loopback")


class Peer:
    """Listens; `say` is called with every connection once a request's head has come."""

    def __init__(self, say: Say, host: str, tls: ssl.SSLContext | None) -> None:
        self.say = say
        self._tls = tls
        self._socket = socket.create_server((host, 0), backlog=128)
        self.port = int(self._socket.getsockname()[1])
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._listen)]
        self._threads[0].start()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                accepted, _ = self._socket.accept()
                self._threads.append(threading.Thread(target=self._serve, args=(accepted,)))
                self._threads[-1].start()

    def _serve(self, accepted: socket.socket) -> None:
        with suppress(OSError):  # the server hangs up in the middle, which is what it should do
            line = self._tls.wrap_socket(accepted, server_side=True) if self._tls else accepted
            self._open.add(line)
            with line:
                head = b""
                while b"\r\n\r\n" not in head and (data := line.recv(1 << 16)):
                    head += data
                self.heard(head, line)

    def heard(self, head: bytes, line: socket.socket) -> None:
        """A request's head has come."""
        self.say(line)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for line in list(self._open):
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive(), "a peer of a test goes on"


@contextmanager
def answering(say: Say, host: str, tls: ssl.SSLContext | None = None) -> Iterator[Peer]:
    peer = Peer(say, host, tls)
    try:
        yield peer
    finally:
        peer.close()


def saying(*parts: bytes, times: int = 1, again: bytes = b"") -> Say:
    """Says the parts, then `again` so many times."""

    def say(line: socket.socket) -> None:
        line.sendall(b"".join(parts))
        for _ in range(times if again else 0):
            line.sendall(again)

    return say


def silent(line: socket.socket) -> None:
    """Says nothing and reads nothing, until the other side is gone or the test is over."""
    hung_up = select.poll()
    hung_up.register(line, select.POLLRDHUP)
    hung_up.poll()


def read(line: socket.socket, size: int) -> None:
    """So many bytes of a connection."""
    while size > 0:
        data = line.recv(1 << 18)
        assert data
        size -= len(data)


def authority(directory: Path, *hosts: str) -> tuple[ssl.SSLContext, bytes]:
    """A TLS context for peers of these names, and the CA they are known by."""
    now, ca_key, key = time.time(), making.new_key(), making.new_key()
    ca = making.authority(CertificateSpec("ca", "peers", issuer=""), ca_key, now)
    spec = CertificateSpec("peer", "peer", usages=("server",), hosts=hosts)
    (directory / "peer.crt").write_bytes(making.certificate(spec, key, ca, ca_key, now))
    (directory / "peer.key").write_bytes(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "peer.crt", directory / "peer.key")
    return context, ca
