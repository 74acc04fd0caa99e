"""`python -m tests.route 'GET /api/v1/namespaces/default/pods'`: the way of a request through the files, as it was taken.

An API server in this process (objects in memory, a free port) is asked by its administrator; every function of ours that runs from the
first byte to the last is written down once, in the order of its first call. A line is a file with the functions that ran there; with
--all it is what ran there before another file had its turn, helpers included. A body is the second argument, JSON:

    python -m tests.route 'POST /api/v1/namespaces/default/configmaps' '{"metadata": {"name": "a"}}'
"""

import argparse
import asyncio
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import groupby
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

from kapi.api.app import immediate
from kapi.apiserver import assembly
from kapi.apiserver.settings import Settings, certificates
from kapi.http import server
from tests.house import ROOT, TOPS

HELPERS = (
    "kapi/objects/", "kapi/limits.py", "kapi/logs.py", "kapi/api/metrics.py", "kapi/http/connections.py", "kapi/http/heads.py",
    "kapi/registry/kind.py", "kapi/registry/call.py", "kapi/schema/schema.py", "kapi/schema/empties.py", "kapi/storage/entry.py",
)  # fmt: skip
"""What is asked or carried along by many, and decides nothing of the route."""
WIDTH = 140
"""Of a line, unless everything is shown."""


class Passed(NamedTuple):
    """A function that ran."""

    file: str
    line: int
    name: str


@contextmanager
def recorded() -> Iterator[list[Passed]]:
    """Our functions that are called in the block, each once, in any thread that is started in it and in this one."""
    out: list[Passed] = []
    seen: set[CodeType] = set()
    tops = tuple(f"{ROOT / top}/" for top in TOPS)

    def note(frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if event == "call" and code not in seen and code.co_filename.startswith(tops):
            seen.add(code)
            out.append(Passed(code.co_filename.removeprefix(f"{ROOT}/"), code.co_firstlineno, code.co_qualname.replace(".<locals>", "")))

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield out
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[int, str]]:
    """An API server with nothing in it but what is there from the beginning: its port, without TLS, and its administrator's token."""
    with tempfile.TemporaryDirectory(prefix="kapi-route-") as directory:
        settings = Settings(data_dir=Path(directory), storage="memory:")
        made = await assembly.assemble(settings, certificates(settings))
        listen = server.Listen(("127.0.0.1",), 0)
        sockets = server.bound(listen)
        http = server.Server(made.app, listen, immediate)
        await http.start(sockets)
        try:
            yield sockets[0].getsockname()[1], (Path(directory) / "tokens.csv").read_text().partition(",")[0]
        finally:
            await http.stop()
            await made.app.rest.store.close()


async def asked(port: int, token: str, request: str, body: str) -> bytes:
    """The whole answer, to its end."""
    method, _, target = request.partition(" ")
    type_ = "application/strategic-merge-patch+json" if method == "PATCH" else "application/json"
    head = f"{method} {target} HTTP/1.1\r\nHost: kapi\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n"
    if body:
        head += f"Content-Type: {type_}\r\nContent-Length: {len(body.encode())}\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{head}\r\n{body}".encode())
    try:
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


async def route(request: str, body: str = "") -> tuple[bytes, list[Passed]]:
    """The answer, and what ran for it. What is only made once (tables of kinds, permissions) was made for a request before."""
    async with serving() as (port, token):
        await asked(port, token, "GET /api/v1/namespaces/default", "")
        with recorded() as passed:
            answer = await asked(port, token, request, body)
    return answer, passed


def lines(passed: list[Passed], *, everything: bool = False) -> Iterator[str]:
    """'kapi/api/app.py:88 App.__call__, App._handle': a line for each file, or for each turn of a file."""
    if everything:
        for _, turn in groupby(passed, key=lambda one: one.file):
            yield _line([*turn])
        return
    by_file: dict[str, list[Passed]] = {}
    for one in passed:
        if not one.file.startswith(HELPERS) and "<" not in one.name:
            by_file.setdefault(one.file, []).append(one)
    for found in by_file.values():
        line = _line(found)
        yield line if len(line) <= WIDTH else f"{line[: WIDTH - 3].rpartition(',')[0]}, …"


def _line(ran: list[Passed]) -> str:
    return f"{ran[0].file}:{ran[0].line}".ljust(44) + ", ".join(one.name for one in ran)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.route", description=(__doc__ or "").partition(":\n")[0])
    parser.add_argument("request", help="method and path, e.g. 'GET /api/v1/nodes'")
    parser.add_argument("body", nargs="?", default="", help="JSON")
    parser.add_argument("--all", action="store_true", help="helpers too")
    chosen = parser.parse_args()
    answer, passed = asyncio.run(route(chosen.request, chosen.body))
    print("\n".join(lines(passed, everything=chosen.all)))
    print(answer.partition(b"\r\n")[0].decode())


if __name__ == "__main__":
    main()
