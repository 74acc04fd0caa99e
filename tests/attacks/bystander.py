"""`python -m tests.attacks.bystander PORT TOKEN PID`: another user who gets one object again and again until standard input ends.

Prints "ready" after the first answer, and in the end the milliseconds of every answer as a JSON list; one that is no 200 fails it. What the
server (PID) and this process waited for a processor, which others on the machine had, is no part of them.
"""

import json
import select
import sys
import time
from pathlib import Path

from bench.load import Connection, Load, Target

PAUSE = 0.005


def waited(*threads: Path) -> float:
    """Seconds for which these main threads could run and had no processor so far (/proc/PID/schedstat)."""
    return sum(int(thread.read_text().split()[1]) for thread in threads) / 1e9


def main() -> None:
    threads = [Path("/proc", pid, "schedstat") for pid in ("self", sys.argv[3])]
    target = Target(int(sys.argv[1]), sys.argv[2])
    line, request = Connection(target), Load("/api/v1/namespaces/default").request(target, "")
    took: list[float] = []
    while True:
        before, began = waited(*threads), time.perf_counter()
        code, _ = line.ask(request)
        seconds = time.perf_counter() - began
        took.append(1e3 * max(0.0, seconds - (waited(*threads) - before)))
        assert code == 200, code
        if len(took) == 1:
            print("ready", flush=True)
        if select.select([sys.stdin], [], [], PAUSE)[0]:
            break
    print(json.dumps(took[1:]))


if __name__ == "__main__":
    main()
