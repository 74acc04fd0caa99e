"""`python -m tests.e2e.stranger UID DIRECTORY`: what a user without a credential finds of the cluster in a directory, a line each.

As root it looks for the cluster's processes (all those whose command line names the directory, and their children) and where they listen;
then it becomes the user and tries: every file, every TCP port by plain HTTP and by TLS, every UDP port, every Unix socket.
"""

import encodings.idna  # noqa: F401  the user may not read Python's own files when a connection asks for it
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from tests import listening

_SECONDS = 2.0
_LISTENING = 0x00010000
"""__SO_ACCEPTCON in the flags of /proc/net/unix."""
PATHS = (*listening.PATHS, "/healthz", "/livez", "/readyz", "/version")


def pids(directory: Path) -> list[int]:
    """The cluster's processes and whatever they started, this one left out."""
    found: set[int] = {os.getpid()}
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            line, facts = (path / "cmdline").read_bytes(), (path / "stat").read_text()
        except OSError:  # it has ended
            continue
        parents[int(path.name)] = int(facts.rpartition(")")[2].split()[1])
        if os.fsencode(directory) in line and b"tests.e2e.stranger" not in line:
            found.add(int(path.name))
    while more := {pid for pid, parent in parents.items() if parent in found and pid not in found}:
        found |= more
    return sorted(found - {os.getpid()})


def inodes(of: list[int]) -> set[str]:
    out = set()
    for pid in of:
        try:
            out |= set(listening.inodes(pid))
        except OSError:
            continue
    return out


def sockets(own: set[str]) -> Iterator[str]:
    """Unix sockets that are listened on, also abstract ones, as /proc names them."""
    for line in Path("/proc/net/unix").read_text(errors="surrogateescape").splitlines()[1:]:
        words = line.split(maxsplit=7)
        if len(words) == 8 and words[6] in own and int(words[3], 16) & _LISTENING:
            yield words[7]


def udp(own: set[str]) -> Iterator[str]:
    for name in ("udp", "udp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            words = line.split()
            if words[9] in own:
                host, port = listening.address(words[1])
                yield f"{host}:{port}"


def readable(path: str) -> Iterator[str]:
    """What of a tree may be listed, read or written."""
    if os.access(path, os.R_OK) or os.access(path, os.W_OK):
        yield path
    try:
        names = sorted(os.listdir(path)) if os.path.isdir(path) and not os.path.islink(path) else []
    except OSError:
        return
    for name in names:
        yield from readable(os.path.join(path, name))


def known(path: Path) -> list[str]:
    """Every path below a directory, so that those in closed directories are tried by name."""
    return [str(path), *(os.path.join(above, name) for above, some, others in os.walk(path) for name in (*some, *others))]


def answers(host: str, port: int) -> Iterator[str]:
    """Paths that are answered with success, by HTTP or by TLS."""
    for encrypted in (False, True):
        for path in PATHS:
            try:
                code = listening.status(host, port, path, encrypted=encrypted)
            except (OSError, ValueError, IndexError):
                continue
            print("asked", host, port, path)
            if 100 <= code < 400:
                yield f"{path} {code} {host}:{port}"


def connects(name: str) -> bool:
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(_SECONDS)
        try:
            line.connect("\0" + name[1:] if name.startswith("@") else name)
        except OSError:
            return False
        return True


def main(uid: int, directory: Path) -> None:
    running = pids(directory)
    own = inodes(running)
    tcp, unix, datagrams, names = listening.listening(running), [*sockets(own)], [*udp(own)], known(directory)
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    print("user", os.geteuid())
    for path in dict.fromkeys(path for name in names for path in readable(name)):
        print("files", path)
    for name in unix:
        if connects(name):
            print("connects", name)
    for name in datagrams:
        print("datagrams", name)
    for address, port in tcp:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(str(address), str(address))
        print("port", f"{address}:{port}")
        for answer in answers(host, port):
            print("answers", port, answer)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
