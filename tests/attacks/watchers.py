"""`python -m tests.attacks.watchers PORT TOKEN PATH COUNT EVENTS`: so many watchers of a path.

Prints "ready" once all watch. They then read until each has seen so many events, and it prints the bytes the
one with the fewest got; with 0 events they read nothing until standard input ends.
"""

import select
import ssl
import sys

from bench.load import Connection, Load, Target


class Watcher(Connection):
    """One that reads what there is."""

    def __init__(self, target: Target, path: str) -> None:
        super().__init__(target)
        self.send(Load(path).request(target, ""))
        while b"\r\n\r\n" not in self.read():
            pass
        self._socket.setblocking(False)
        self._end = b""
        self.seen = self.bytes = 0

    def fileno(self) -> int:
        return self._socket.fileno()

    def take(self) -> None:
        """Raises ConnectionResetError when the server hangs up."""
        try:
            while size := self._socket.recv_into(self._buffer):
                self.bytes += size
                data = self._end + self._buffer[:size]
                self.seen += data.count(b"}\n")
                self._end = bytes(data[-1:])
        except ssl.SSLWantReadError:
            return
        raise ConnectionResetError


def main() -> None:
    port, token, path, count, events = sys.argv[1:]
    target = Target(int(port), token)
    watchers = {watcher.fileno(): watcher for watcher in (Watcher(target, path) for _ in range(int(count)))}
    print("ready", flush=True)
    if not int(events):
        sys.stdin.read()
        return
    poll = select.poll()
    for number in watchers:
        poll.register(number, select.POLLIN)
    waiting = set(watchers)
    while waiting:
        for number, _ in poll.poll():
            watchers[number].take()
            if watchers[number].seen >= int(events):
                waiting.discard(number)
    print(min(watcher.bytes for watcher in watchers.values()), flush=True)


if __name__ == "__main__":
    main()
