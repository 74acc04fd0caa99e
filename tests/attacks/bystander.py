"""`python -m tests.attacks.bystander PORT TOKEN`: another user who gets one object again and again until standard input ends.

Prints "ready" after the first answer, and in the end the milliseconds of every answer as a JSON list; one that is no 200 fails it.
"""

import json
import select
import sys
import time

from bench.load import Connection, Load, Target

PAUSE = 0.005


def main() -> None:
    target = Target(int(sys.argv[1]), sys.argv[2])
    line, request = Connection(target), Load("/api/v1/namespaces/default").request(target, "")
    took: list[float] = []
    while True:
        began = time.perf_counter()
        code, _ = line.ask(request)
        took.append(1e3 * (time.perf_counter() - began))
        assert code == 200, code
        if len(took) == 1:
            print("ready", flush=True)
        if select.select([sys.stdin], [], [], PAUSE)[0]:
            break
    print(json.dumps(took[1:]))


if __name__ == "__main__":
    main()
