"""Load: processes with connections that ask one thing after the other, and what came of it. As little Python a request as can be."""

import multiprocessing
import socket
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection as Pipe

PROCESSES = 2
_BLOCK = 1 << 18


@dataclass(frozen=True)
class Target:
    """A server and the right to ask it."""

    port: int
    token: str


@dataclass(frozen=True)
class Load:
    """What to ask: `@` in a body stands for something unique."""

    path: str
    method: str = "GET"
    body: str = ""
    media: str = "application/json"
    accept: str = "application/json"
    connections: int = 16
    seconds: float = 4.0

    def request(self, target: Target, unique: str) -> bytes:
        body = self.body.replace("@", unique).encode()
        head = f"{self.method} {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {target.token}\r\n"
        head += f"Accept: {self.accept}\r\n"
        if body:
            head += f"Content-Type: {self.media}\r\nContent-Length: {len(body)}\r\n"
        return head.encode() + b"\r\n" + body


@dataclass
class Outcome:
    """What came of a load."""

    done: int = 0
    failed: int = 0
    seconds: float = 0.0
    times: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Successful requests a second."""
        return self.done / self.seconds

    def percentile(self, share: float) -> float:
        """Milliseconds that so great a share of the requests did not exceed."""
        return 1e3 * sorted(self.times)[int(share * (len(self.times) - 1))]


class Connection:
    """One TLS connection; one request under way on it at most."""

    def __init__(self, target: Target) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        plain = socket.create_connection(("127.0.0.1", target.port), timeout=60)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = context.wrap_socket(plain)
        self._buffer = bytearray(_BLOCK)

    def send(self, request: bytes) -> None:
        self._socket.sendall(request)

    def receive(self) -> tuple[int, bytes]:
        """Status and body of the answer; of a long one only as much as came with its head."""
        data = self._socket.recv(_BLOCK)
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._socket.recv(_BLOCK)
        head, body = data[:end].lower(), data[end + 4 :]
        if (at := head.find(b"content-length:")) < 0:
            tail = body
            while not tail.endswith(b"\r\n0\r\n\r\n"):
                got = self._socket.recv(_BLOCK)
                if not got:
                    raise ConnectionResetError("cut off")
                tail = (tail if len(got) < 7 else b"")[-7:] + got
            return int(data[9:12]), body[body.find(b"{") : body.rfind(b"}") + 1]
        left = int((head[at + 15 :] + b"\r").partition(b"\r")[0]) - len(body)
        while left > 0:
            size = self._socket.recv_into(self._buffer)
            if not size:
                raise ConnectionResetError("cut off")
            left -= size
        return int(data[9:12]), body

    def ask(self, request: bytes) -> tuple[int, bytes]:
        self.send(request)
        return self.receive()

    def read(self) -> bytes:
        """Whatever comes next, of an answer that does not end."""
        return self._socket.recv(_BLOCK)

    def close(self) -> None:
        self._socket.close()


def _work(target: Target, load: Load, name: str, pipe: Pipe) -> None:
    """One process: every connection always has a request under way."""
    connections = load.connections
    lines = [Connection(target) for _ in range(connections)]
    fixed = b"" if "@" in load.body else load.request(target, "")
    out, number = Outcome(), 0
    pipe.send(None)
    pipe.recv()
    started = time.perf_counter()
    sent = [0.0] * connections

    def send(index: int) -> None:
        nonlocal number
        number += 1
        sent[index] = time.perf_counter()
        lines[index].send(fixed or load.request(target, f"{name}-{number}"))

    for index in range(connections):
        send(index)
    open_ = connections
    while open_:
        for index, line in enumerate(lines):
            if not sent[index]:
                continue
            code, _ = line.receive()
            now = time.perf_counter()
            out.times.append(now - sent[index])
            out.done, out.failed = (out.done + 1, out.failed) if code < 300 else (out.done, out.failed + 1)
            if now - started < load.seconds:
                send(index)
            else:
                sent[index], open_ = 0.0, open_ - 1
    out.seconds = time.perf_counter() - started
    for line in lines:
        line.close()
    pipe.send(out)


def run(target: Target, load: Load) -> Outcome:
    """Put the load on the server; everything it answered, together."""
    processes = min(PROCESSES, load.connections)
    parts = mixed(target, [replace(load, connections=load.connections // processes)] * processes)
    whole = Outcome(sum(p.done for p in parts), sum(p.failed for p in parts), max(p.seconds for p in parts))
    whole.times = [t for p in parts for t in p.times]
    return whole


def mixed(target: Target, loads: Sequence[Load]) -> list[Outcome]:
    """Put several loads on the server at once, a process for each; what came of each."""
    pipes: list[Pipe] = []
    workers = []
    for index, load in enumerate(loads):
        ours, theirs = multiprocessing.Pipe()
        worker = multiprocessing.Process(target=_work, args=(target, load, f"{index}-{time.time_ns() // 1000 % 10**9}", theirs))
        worker.start()
        pipes.append(ours)
        workers.append(worker)
    for pipe in pipes:
        pipe.recv()
    for pipe in pipes:
        pipe.send(None)
    parts: list[Outcome] = [pipe.recv() for pipe in pipes]
    for worker in workers:
        worker.join()
    return parts


def _follow(target: Target, path: str, watchers: int, events: int, pipe: Pipe) -> None:
    """One process of watchers that read in turn until each has seen all events."""
    lines = [Connection(target) for _ in range(watchers)]
    for line in lines:
        line.send(Load(path).request(target, ""))
        while b"\r\n\r\n" not in line.read():
            pass
    pipe.send(None)
    seen, rest = [0] * watchers, [b""] * watchers
    mark = b'"type":"ADDED"'
    while min(seen) < events:
        for index, line in enumerate(lines):
            if seen[index] < events:
                piece = rest[index] + line.read()
                seen[index] += piece.count(mark)
                rest[index] = piece[-len(mark) + 1 :]
    pipe.send(None)


def fan_out(target: Target, path: str, load: Load, watchers: int, events: int) -> float:
    """Events delivered a second when `load` is put on the server until each watcher of `path` has seen so many."""
    ours, theirs = multiprocessing.Pipe()
    following = multiprocessing.Process(target=_follow, args=(target, path, watchers, events, theirs))
    following.start()
    ours.recv()
    line = Connection(target)
    started = time.perf_counter()
    for number in range(events):
        code, _ = line.ask(load.request(target, f"f-{number}"))
        if code != 201:
            raise RuntimeError(f"a create was answered {code}")
    ours.recv()
    seconds = time.perf_counter() - started
    line.close()
    following.join()
    return watchers * events / seconds
