"""`python -m tests.attacks.measured FILE options… [--limit NAME=VALUE]…`: an API server that notes in FILE how long its loop was held.

FILE holds two doubles: the longest time a turn of the loop took, as CPU seconds of its thread and as seconds of the clock. Whoever reads
them sets them back. CPU seconds do not count what other processes on the machine take.
"""

import argparse
import asyncio
import mmap
import struct
import sys
import time
from typing import Any

import uvloop

from kapi import limits, settings
from kapi.cli import components

PAIR = struct.Struct("dd")
TICK = 0.002


async def _watch_loop(file: int) -> None:
    with mmap.mmap(file, PAIR.size) as shared:
        loop = asyncio.get_running_loop()
        cpu, clock = time.thread_time(), loop.time()
        while True:
            await asyncio.sleep(TICK)
            now_cpu, now_clock = time.thread_time(), time.monotonic()
            worst = PAIR.unpack(shared[:])
            held = now_cpu - cpu, now_clock - clock - TICK
            if held[0] > worst[0] or held[1] > worst[1]:
                shared[:] = PAIR.pack(max(held[0], worst[0]), max(held[1], worst[1]))
            cpu, clock = now_cpu, now_clock


async def _serve(file: int, parsed_settings: Any) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(_watch_loop(file))
        group.create_task(components.apiserver(parsed_settings))


def main() -> int:
    path, *arguments = sys.argv[1:]
    parser = argparse.ArgumentParser()
    cls, _ = components.command("apiserver")
    settings.add_arguments(parser, cls)
    parser.add_argument("--limit", action="append", default=[], help="NAME=VALUE: of kapi.limits, so that no test waits 32 seconds")
    parsed = parser.parse_args(arguments)
    for name, _, value in (limit.partition("=") for limit in parsed.limit):
        setattr(limits, name, type(getattr(limits, name))(value))
    parsed_settings = settings.from_arguments(cls, parsed)
    with open(path, "r+b") as file:
        return components.supervise("apiserver", parsed_settings, _serve(file.fileno(), parsed_settings), uvloop.run)


if __name__ == "__main__":
    sys.exit(main())
