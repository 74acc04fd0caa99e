"""Every bound on what a client, a peer or a file may cost, in one table: the constant is the value, the string behind it says the rest.

The string has three parts parted by `|`: what is bounded, stock Kubernetes' own value, what happens beyond it. `python -m kapi.limits`
prints the table of docs/limits.md; which modules use a limit is read from their source.
"""

import ast
import itertools
from dataclasses import dataclass
from pathlib import Path

REQUEST_BODY_BYTES = 3 << 20
"""Bytes of a request's body, also once unpacked | 3 MiB (limitedReadBody) | 413 RequestEntityTooLarge"""

# connections (kapi.http): what anybody may do, also before authentication -----------------------------------------------------------

CONNECTIONS = 65_536
"""Connections of a server in all; fewer where the process may open fewer files | none
| the oldest unauthenticated ones are closed, then the longest idle"""
RESERVED_FILES = 128
"""Files of a process that connections never take | none | the oldest unauthenticated ones are closed, then the longest idle"""
UNAUTHENTICATED_CONNECTIONS = 1000
"""Connections whose caller is not authenticated yet; half of it from one address | none | the oldest are closed"""
UNAUTHENTICATED_SECONDS = 0.5
"""Seconds an unauthenticated connection has before newer ones of its address may take its place | none
| the newer ones wait to be accepted"""
ACCEPT_PAUSE_SECONDS = 0.05
"""Seconds until accepting is tried again when there is no file or no room | 5 ms to 1 s (net/http) | -"""
TCP_KEEPALIVE_SECONDS = 15
"""Seconds between two signs of life of a peer's system | 15 s (net.ListenConfig) | the connection is broken after nine unanswered"""
HANDSHAKE_SECONDS = 32.0
"""Seconds for a TLS handshake | 32 s (ReadHeaderTimeout) | the connection is closed"""
SHUTDOWN_SECONDS = 30.0
"""Seconds for what is left to write, and TLS's farewell, of a connection that is closed | 5 s (crypto/tls) | it is cut"""
REFUSED_SECONDS = 0.5
"""Seconds for a client that was refused to read why | 0.5 s (rstAvoidanceDelay) | the connection is cut"""
HEADER_SECONDS = 32.0
"""Seconds from the first byte of a request to the end of its headers | 32 s (ReadHeaderTimeout) | the connection is closed"""
BODY_SECONDS = 60.0
"""Seconds for a request's body, of requests that are not long-running | 60 s (--request-timeout) | 504 Timeout"""
IDLE_SECONDS = 90.0
"""Seconds between two requests | 90 s (IdleTimeout) | the connection is closed"""
WRITE_SECONDS = 60.0
"""Seconds in which a client reads nothing of an answer | 60 s (--request-timeout) | the connection is cut"""
HEADER_BYTES = (1 << 20) + 4096
"""Bytes of a request's first line and headers | 1 MiB and 4 KiB (MaxHeaderBytes) | 431"""
HEADER_LINES = 2000
"""Headers of a request | none but their bytes | 431"""
PATH_BYTES = 8 * 1024
"""Bytes of a URL's path, without the query | 1 MiB (MaxHeaderBytes) | 414"""
QUERY_PARAMETERS = 10_000
"""Parameters of a URL | 10,000 (urlmaxqueryparams) | 400"""
CHUNK_OVERHEAD_BYTES = 16 * 1024
"""Bytes of a request that are neither headers nor data (chunk extensions, trailers), beside eight for every byte of data
| 16 KiB, beside 16 a chunk and two for every byte of data | 400"""
UNREAD_BODY_BYTES = 16 << 20
"""Bytes of a body that are thrown away once its request is answered | 256 KiB | the connection is closed"""
PARSED_BYTES = 32 * 1024
"""Bytes that are parsed before requests found in them are answered | 4 KiB (bufio) | the rest waits"""
UPGRADE_EARLY_BYTES = 64 * 1024
"""Bytes a client may send behind a request to upgrade before that is answered | 4 KiB (bufio) | the rest waits"""
REQUESTS_IN_FLIGHT = 400
"""Requests under way that read; not watches and streams, nor those of system:masters (--max-requests-inflight) | 400
| 429 with Retry-After: 1"""
MUTATING_REQUESTS_IN_FLIGHT = 200
"""Requests under way that write (--max-mutating-requests-inflight) | 200 | 429 with Retry-After: 1"""
HEALTH_CONNECTIONS = 64
"""Connections of a health port in all | none | the oldest are closed"""
HEALTH_REQUEST_SECONDS = 5.0
"""Seconds for a request at a health port and its answer | 32 s (ReadHeaderTimeout) | the connection is closed"""
HEALTH_HEADER_BYTES = 64 * 1024
"""Bytes of a request at a health port | 1 MiB (MaxHeaderBytes) | the connection is closed"""

# streams: frames of WebSocket and SPDY (kapi.http, kubelet.server) ------------------------------------------------------------------------

WEBSOCKET_MESSAGE_BYTES = 8 << 20
"""Bytes of a WebSocket message | 32 MiB (x/net/websocket) | the WebSocket is closed with 1009"""
WEBSOCKET_CLOSING_BYTES = 1 << 20
"""Bytes that may still come on a WebSocket that says goodbye | none | the connection is cut"""
SPDY_FRAME_BYTES = 1 << 20
"""Bytes of a SPDY frame | 16 MiB, the format's own | the connection is closed"""
SPDY_WAITING_FRAMES = 16
"""Frames of a SPDY stream that wait to be read | none | the connection is read no further"""
FORWARDED_PORTS = 128
"""Ports forwarded on one WebSocket: two channels each, of 256 | none | 400"""
REMEMBERED_CALLERS = 1000
"""What callers of a kubelet's port may, remembered for two minutes | 10,000 (authorization cache) | all is forgotten and asked again"""
STREAM_SECONDS = 30.0
"""Seconds for the other side to upgrade, and to take each stream | 30 s (DefaultStreamCreationTimeout)
| 500, or the connection is closed"""


@dataclass(frozen=True)
class Limit:
    """A row of the table. `users` are the modules that apply it."""

    name: str
    value: int | float
    what: str
    stock: str
    beyond: str
    users: tuple[str, ...]


def table() -> list[Limit]:
    """All limits in the order of this file. Raises ValueError for one that is not described in three parts."""
    body = ast.parse(Path(__file__).read_text()).body
    sources = _sources()
    rows = []
    for place, text in itertools.pairwise(body):
        if not (isinstance(place, ast.Assign) and isinstance(place.targets[0], ast.Name)):
            continue
        name = place.targets[0].id
        said = text.value.value if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) else ""
        try:
            what, stock, beyond = (" ".join(part.split()) for part in str(said).split("|"))
        except ValueError:
            raise ValueError(f"{name}: what is bounded | stock's value | what happens beyond") from None
        users = tuple(sorted(module for module, source in sources.items() if f"limits.{name}" in source))
        rows.append(Limit(name, globals()[name], what, stock, beyond, users))
    return rows


def _sources() -> dict[str, str]:
    """Module -> source of every module beside this one and of the kubelet."""
    root = Path(__file__).parent.parent
    files = [path for top in ("kapi", "kubelet", "certs") for path in (root / top).rglob("*.py")]
    return {".".join(path.relative_to(root).with_suffix("").parts): path.read_text() for path in files if path != Path(__file__)}


def markdown() -> str:
    """The table as docs/limits.md holds it."""
    lines = [
        "# Limits", "", "Made by `python -m kapi.limits > docs/limits.md` from `kapi/limits.py`; a test holds the two together.", "",
        "| what | limit | stock v1.36 | beyond it | where |", "|---|---|---|---|---|",
    ]  # fmt: skip
    lines += [
        f"| {row.what} | {row.value:,} (`{row.name}`) | {row.stock} | {row.beyond} | {', '.join(f'`{u}`' for u in row.users)} |"
        for row in table()
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
