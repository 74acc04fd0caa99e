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

# logs ---------------------------------------------------------------------------------------------------------------------------------

LOG_FILE_BYTES = 10 << 20
"""Bytes of a component's log file | none (left to whoever redirects it) | it becomes FILE.1 and a new one begins"""
LOG_FILES = 3
"""Files kept of a component's log | none | the oldest is deleted"""
LOG_VALUE_CHARS = 2048
"""Characters of a message or a value in a log line | none | cut, its length is said"""
LOG_TRACE_CHARS = 16 << 10
"""Characters of a traceback in a log | none | cut, its length is said"""
LOG_LINES_A_MINUTE = 30
"""Lines a minute from one place in the source, debugging aside | none | counted, the next line says how many were left out"""
LOG_KEYS = 1024
"""Different lines whose repetitions are counted | none | the count of the one longest not seen is forgotten"""
SLOW_REQUEST_SECONDS = 1.0
"""Seconds after which a request that is no watch or stream is logged | 0.5 s (its trace) | it is logged"""

# health of components -----------------------------------------------------------------------------------------------------------------

COMPONENT_HEALTH_BYTES = 10 << 10
"""Bytes of what a component's health port says (componentstatuses) | 10 KiB | cut"""
COMPONENT_HEALTH_SECONDS = 20.0
"""Seconds a component's health port may take | 20 s | the component is Unhealthy"""

# storage ------------------------------------------------------------------------------------------------------------------------------

HISTORY_SECONDS = 300.0
"""Seconds that steps are kept for watches and lists in pages | 5 min (--etcd-compaction-interval) | 410 Expired, clients list again"""
HISTORY_EVENTS = 100_000
"""Steps that are kept | none; the watch cache keeps 102,400 of a resource at most | the oldest go first"""
HISTORY_BYTES = 24 << 20
"""Bytes of replaced and deleted states that are kept | none | the oldest go first"""
WATCHES_UNSENT_BYTES = 16 << 20
"""Bytes that watchers' clients have yet to take, of all together: of events half written, and in buffers | none
| large events, and what watches begin with, wait; the clients that are stalled are cut off"""
WATCH_STALLED_SECONDS = 2.0
"""Seconds a watcher's client may take nothing while there are too many bytes that clients have yet to take
| 100 ms (the watch cache's time budget) | it is cut off, the one stalled for longest first"""
INDEXED_LABELS = 16
"""Label keys indexed per resource | none are | lists by others look at every object"""
WAL_BYTES = 16 << 20
"""Bytes of the database's journal | 64 MB (etcd's segments) | it is written back, commits wait meanwhile"""
REPAIR_SPARE_BYTES = 16 << 20
"""Bytes that a repair leaves free on the disk | none | the repair is refused"""

# credentials --------------------------------------------------------------------------------------------------------------------------

TOKEN_BYTES = 64 << 10
"""Bytes of a bearer token | none of its own: 1 MiB of headers | 401 Unauthorized"""
TOKENS_REMEMBERED = 4096
"""Bearer tokens whose meaning is kept | 131,072, for 10 s (token cache) | all are forgotten, and read again as they come"""
TOKEN_REMEMBERED_BYTES = 4 << 10
"""Bytes of a bearer token whose meaning is kept | none | its signature is checked each time"""
CERTIFICATES_REMEMBERED = 4096
"""Client certificates whose subject is kept | none: read once a connection | the one not used for longest is forgotten"""
LEGACY_TOKEN_WRITES = 64
"""Secrets at a time that are labelled with the day their token was used | none | labelled when the token comes again"""
USERS_REMEMBERED = 2048
"""Users whose roles are gathered | none: gathered for each request | all are forgotten, and gathered again as they ask"""
USER_REMEMBERED_CHARACTERS = 4096
"""Length of a user's name and groups together whose roles are kept gathered | none | they are gathered each time"""
DECISIONS_REMEMBERED = 32768
"""Answers of the RBAC authorizer that are kept, of all users | none: none is kept | all are forgotten, and worked out again"""
DECISION_REMEMBERED_CHARACTERS = 512
"""Length of a question to the RBAC authorizer whose answer is kept | none | it is worked out each time"""
SPECS_REMEMBERED = 128
"""Specs whose managed fields are kept | none | the oldest is forgotten"""
SPEC_REMEMBERED_BYTES = 16 << 10
"""Bytes of a spec whose managed fields are kept | none | they are worked out each time"""
REMEMBERED_CALLERS = 1024
"""Answers of the API server about who may use a kubelet's port | 10,000 for 5 min (authorized), 30 s (not) | asked again"""

# peers: kubelets, pods, services, webhooks, whatever a probe asks ---------------------------------------------------------------------

PEER_CONNECT_SECONDS = 10.0
"""Seconds to connect to a peer, TLS included | 30 s to connect, 10 s for TLS | 503, or 500 where a connection is upgraded"""
PEER_HEAD_BYTES = 256 << 10
"""Bytes of an answer that are no body: its head with all 1xx answers before it, trailers, chunk extensions between two pieces of the body
| 10 MiB (http.Transport's MaxResponseHeaderBytes) | 503 `server response headers exceeded`; a body under way is cut off"""
PEER_TEXT_BYTES = 16 << 10
"""Bytes of an error text of a peer that are shown or looked into | 50,000 for the logs of a pod, else none | the rest is left out"""
LINK_TAG_BYTES = 8 << 10
"""Bytes of an HTML tag whose links a proxy changes, until its end has come | none (the whole page) | it passes as it is"""
PEER_BUFFER_BYTES = 256 << 10
"""Bytes of one way of a proxied answer or stream that wait for the other side | a few pieces of 32 KiB | the sender is read no further"""
UPGRADE_EARLY_BYTES = 64 << 10
"""Bytes a client sends behind an upgrade that is not answered yet | 4 KiB (bufio) | the client is read no further until it is"""
CLOSE_SECONDS = 10.0
"""Seconds in which some of the last bytes of a spliced connection have to be taken | none | the connection is cut"""
WEBHOOK_ANSWER_BYTES = 4 << 20
"""Bytes of a webhook's answer | none | the call failed: `http: response body too large`; failurePolicy decides"""
WEBHOOK_ANSWERS_BYTES = 12 << 20
"""Bytes of all webhooks' answers that are being read | none | as above, for the answer that goes beyond"""
WEBHOOK_ANSWER_VALUES = 250_000
"""Values in a webhook's answer or in its patch, counted as brackets and commas | none | the answer is invalid; failurePolicy decides"""
CONVERSION_BATCH_BYTES = 256 << 10
"""Bytes of objects a conversion webhook is asked for at once, unless one is larger | one object | a list or watch goes on with the next"""
CONVERSION_LINE_BYTES = 2 << 20
"""Bytes of objects one definition's conversion webhook works on at once, each review as 64 KiB at least; a larger one alone | none
| further ones wait in order, 30 s at most"""
CONVERSION_HELD_BYTES = 2 << 20
"""Bytes of objects to be written that wait for one definition's conversion webhook; a larger one alone | none | 429"""
CONVERSION_KEPT_BYTES = 1 << 20
"""Bytes of converted objects of one definition that are kept for further watchers | all of them | it is converted again"""
CONVERSION_SECONDS = 30
"""Seconds a conversion webhook has for a review, waiting for its turn included | 30 s | 500: context deadline exceeded"""
CONVERSIONS_OF_A_WRITE = 64
"""Conversions of an object for the managers in other versions of one write; those in 16 versions take no more | one for each version
| 500: the write fails"""
CONVERSION_LIST_BYTES = 16 << 20
"""Bytes of a list that are converted before the answer begins | all of it | what fails after that cuts the answer off"""
AGGREGATED_SECONDS = 60.0
"""Seconds for a request that is passed on to another API server and is no watch or stream | 60 s (--request-timeout) | 504 Timeout"""
AGGREGATED_CHECKS = 5
"""APIServices whose servers are asked at once whether they are there | 5 (workers) | the others wait"""
AGGREGATED_FETCHES = 4
"""Documents of other API servers that are fetched at once | 2 (workers) | the others wait"""
AGGREGATED_FETCH_SECONDS = 5.0
"""Seconds to ask another API server for its discovery | 5 s | the check failed, its group version is stale"""
AGGREGATED_OPENAPI_SECONDS = 60.0
"""Seconds to get the OpenAPI document of another API server | 60 s (specDownloadTimeout) | it is left out, and tried again later"""
AGGREGATED_DISCOVERY_BYTES = 1 << 20
"""Bytes of a discovery document or OpenAPI index of another API server | none | its group version is stale; its documents are not listed"""
AGGREGATED_OPENAPI_BYTES = 4 << 20
"""Bytes of the OpenAPI 2 document of another API server | none | it is left out"""
AGGREGATED_URL_CHARS = 1024
"""Characters of the URL of an OpenAPI 3 document of another API server | none | it is not listed"""
AGGREGATED_VALUES = 100_000
"""Values in one of these documents, counted as brackets and commas | none | as above"""
AGGREGATED_BYTES = 6 << 20
"""Bytes that are kept of all these documents | none | what comes beyond is left out"""
PROBE_OUTPUT_BYTES = 10 << 10
"""Bytes of what a probe or hook said that are read and shown | 10 KiB | the rest is left out"""
METRIC_SERIES = 4_000
"""Kinds of requests metrics tell apart, each with a code | none | they count together, without labels"""

# connections (kapi.http): what anybody may do, also before authentication -------------------------------------------------------------

CONNECTIONS = 65_536
"""Connections of a server in all; fewer where the process may open fewer files | none
| the oldest unauthenticated ones are closed, then the longest idle, then those of a user beyond its share"""
RESERVED_FILES = 128
"""Files of a process that connections never take | none | the oldest unauthenticated ones are closed, then the longest idle"""
USERS_SHARING = 4
"""The part of all connections that a user keeps when there are too many and all are busy with watches, streams and requests: one in so many
| none | of the user with the most connections the oldest beyond it are closed"""
UNAUTHENTICATED_CONNECTIONS = 1000
"""Connections whose caller is not authenticated yet; half of it from one address | none | the oldest are closed"""
UNAUTHENTICATED_SECONDS = 0.5
"""Seconds an unauthenticated connection has before newer ones of its address may take its place | none
| the newer ones wait to be accepted"""
ACCEPT_PAUSE_SECONDS = 0.05
"""Seconds until accepting is tried again when there is no file or no room | 5 ms to 1 s (net/http) | -"""
TCP_KEEPALIVE_SECONDS = 15
"""Seconds between two signs of life of a peer's system | 15 s (net.ListenConfig) | the connection is broken after nine unanswered"""
SOCKET_RECEIVE_BYTES = 64 << 10
"""Bytes of a connection that the system keeps until they are read, so that not much of it is read in one turn of the event loop
| 128 KiB and more (tcp_rmem) | the sender waits"""
BODY_RECEIVE_BYTES = 256 << 10
"""The same once an authenticated caller, 5 ms or more away, sends a body beyond 64 KiB | as above | the sender waits"""
STREAM_RECEIVE_BYTES = 256 << 10
"""The same of an upgraded connection (exec, port-forward) | as above | the sender waits"""
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
WAITING_BYTES = 128 << 20
"""Bytes that wait for all connections of a server: unfinished heads, bodies and messages, bodies that wait for their turn, answers that
are not read, TLS's buffers of long ones, old states of objects that answers list; beside 64 KiB a connection
| none: 3 MiB for each of 600 requests, and buffers
| of the user with most of them the largest: 429 with Retry-After: 1, of a WebSocket 1009; what is not read is cut"""
WAITING_BYTES_OF_STRANGERS = 16 << 20
"""Bytes of these that wait for connections whose callers are not authenticated | none | the connections with most of them are closed"""
FREED_CONNECTIONS = 100
"""Connections that have ended, after which freed memory is given back to the system | none: Go's runtime does so all the time | -"""
HEADER_LINES = 2000
"""Headers of a request | none but their bytes | 431"""
PATH_BYTES = 8 * 1024
"""Bytes of a URL's path, without the query | 1 MiB (MaxHeaderBytes) | 414"""
TARGET_BYTES = 192 * 1024
"""Bytes of a URL's path and query | 1 MiB (MaxHeaderBytes) | 414"""
ACCEPT_CHARACTERS = 8 << 10
"""Characters of the Accept headers that are looked at | none of its own: 1 MiB of headers | the clauses behind them count for nothing"""
IMPERSONATION_BYTES = 64 << 10
"""Bytes of the values of Impersonate headers | none of its own: 1 MiB of headers | 400 BadRequest"""
QUERY_PARAMETERS = 10_000
"""Parameters of a URL | 10,000 (urlmaxqueryparams) | 400"""
CHUNK_OVERHEAD_BYTES = 16 * 1024
"""Bytes of a request that are neither headers nor data (chunk extensions, trailers), beside eight for every byte of data
| 16 KiB, beside 16 a chunk and two for every byte of data | 400"""
UNREAD_BODY_BYTES = 16 << 20
"""Bytes of a body that are thrown away once its request is answered | 256 KiB | the connection is closed"""
BODIES_READ = 32
"""Bodies beyond 64 KiB that are read at once, of clients that do send | none | the others wait for a piece of it, or 20 ms"""
PARSED_BYTES = 32 * 1024
"""Bytes that are parsed before requests found in them are answered | 4 KiB (bufio) | the rest waits"""
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

# streams: frames of WebSocket and SPDY (kapi.http, kubelet.server) --------------------------------------------------------------------

WEBSOCKET_MESSAGE_BYTES = 8 << 20
"""Bytes of a WebSocket message | 32 MiB (x/net/websocket) | the WebSocket is closed with 1009"""
WEBSOCKET_MESSAGE_FRAMES = 100_000
"""Frames of a WebSocket message | none | the WebSocket is closed with 1009"""
WEBSOCKET_CLOSING_BYTES = 1 << 20
"""Bytes that may still come on a WebSocket that says goodbye | none | the connection is cut"""
SPDY_FRAME_BYTES = 1 << 20
"""Bytes of a SPDY frame | 16 MiB, the format's own | the connection is closed"""
SPDY_WAITING_FRAMES = 16
"""Frames of a SPDY stream that wait to be read | none | the connection is read no further"""
FORWARDED_PORTS = 128
"""Ports forwarded on one WebSocket: two channels each, of 256 | none | 400"""
STREAM_SECONDS = 30.0
"""Seconds for the other side to upgrade, and to take each stream | 30 s (DefaultStreamCreationTimeout)
| 500, or the connection is closed"""

# data directory -----------------------------------------------------------------------------------------------------------------------

IDENTITY_BYTES = 4096
"""Bytes read of a data directory's kapi.json | no counterpart | the file counts as broken"""

# image archives -----------------------------------------------------------------------------------------------------------------------

IMAGE_INDEX_BYTES = 4 << 20
"""Bytes of the index of an image archive (index.json, manifest.json) | 8 MiB for a manifest (containerd) | `kapi image load` refuses it"""
IMAGE_ARCHIVE_FILES = 20_000
"""Files in an image archive | none | `kapi image load` refuses it"""
IMAGE_PIECE_BYTES = 1 << 20
"""Bytes read of an image archive at once, and of one of its headers | none | a longer header is refused"""

# what a body, a patch or a selector may make the server do ----------------------------------------------------------------------------

BODY_VALUES = 90_000
"""Values in a request's body: scalars, and objects and lists twice | none | 413 RequestEntityTooLarge"""
OBJECT_BYTES = 3 << 20
"""Bytes of an object as it is stored, in JSON | 1.5 MiB, of built-in kinds in protobuf (etcd --max-request-bytes) | 500, as by stock"""
YAML_NODES = 100_000
"""Values in a YAML body | none | 413 RequestEntityTooLarge"""
JSON_DEPTH = 10_000
"""Levels of a JSON body of a custom object; of others 254 | 10,000 | 400 BadRequest"""
PROTOBUF_KEPT_BYTES = 32 << 20
"""Bytes of objects in protobuf that are kept for the next who asks | the newest events of each kind, by number (watch cache)
| they are encoded each time"""
PROTOBUF_DEPTH = 254
"""Levels of the object in a protobuf body, as of JSON that is no custom object | none (gogo/protobuf) | 400 BadRequest"""
YAML_DEPTH = 500
"""Levels of a YAML body | 10,000 (go-yaml) | 400 BadRequest, as for JSON that is nested too deeply"""
YAML_ALIASED_VALUES = 1_000_000
"""Values a YAML body stands for, its aliases spelled out | a share of the document that shrinks with its size (go-yaml)
| 400 BadRequest"""
STRICT_ERRORS = 100
"""Unknown and repeated fields told of a body | 100 (sigs.k8s.io/json) | further ones are not told"""
CAUSES = 1_000
"""Field errors told of an object | none | further ones are not looked for or not told"""
CAUSES_LENGTH = 1 << 20
"""Characters of field errors after which no more are told of an object | none | further ones are not looked for or not told"""
JSONPATH_VISITS = 100_000
"""Values a JSONPath of a printer column comes by | none | it finds nothing: the cell is empty"""
PATCH_OPERATIONS = 10_000
"""Operations of a JSON patch | 10,000 | 413 RequestEntityTooLarge"""
PATCH_COPY_BYTES = 3 << 20
"""Bytes all copy operations of a JSON patch make | 3 MiB (JSONPatchMaxCopyBytes) | 422 Invalid"""
POINTER_STEPS = 1_000
"""Steps of a JSON pointer, more than a document has levels | none | 422 Invalid: the path is missing"""
PODS_CHECKED = 3000
"""Pods that are checked when a namespace gets a stricter Pod Security Standard | 3,000, and 1 s | a warning says so"""
EXPRESSION_COST = 1_000_000
"""Cost units of one evaluation of an expression | 1,000,000 (PerCallLimit) | the evaluation is an error"""
RULES_COST = 10_000_000
"""Cost units of all rules of a custom object, or of the expressions of one policy | 10,000,000 (RuntimeCELCostBudget)
| no further ones are run"""
EXPRESSION_LENGTH = 100_000
"""Characters of an expression | 100,000 (cel-go) | it does not compile"""
MATCHES = 250_000
"""Matches of a pattern that an expression finds in a text | none | the evaluation is an error"""
CONDITIONS_COST = 2_500_000
"""Cost units of the match conditions of a webhook or policy | 2,500,000 (RuntimeCELCostBudgetMatchConditions)
| they cannot be evaluated"""
REVIEW_SELECTOR_CHARACTERS = 8 << 10
"""Characters of an access review's field selector that are read | none | it selects nothing: the review asks about all objects"""
QUOTED_TEXT = 32 << 10
"""Characters of a client's text that a message quotes | none | the rest is left out, an ellipsis stands for it"""
QUOTED_VALUE = 256 << 10
"""Bytes of an object or list, as JSON, or of a difference of two, that a message shows | none
| the rest is left out, an ellipsis stands for it"""
DIFFERENCE_LINES = 500
"""Lines of two objects, as indented JSON from the first that differs, in which a message shows what changed | none
| what differs behind them is not shown"""
QUANTITY_DIGITS = 1_000
"""Digits of a quantity | none | it is no quantity: 400 BadRequest"""
KEPT_TEXT = 1024
"""Characters of a text (selector, path, quantity, pattern …) whose reading is kept for the next time | none | it is read each time"""
OFFLOAD_QUERY = 2 << 10
"""Bytes of a query from which it is read, and its selectors are, beside the event loop | none | it goes to a worker thread"""
OFFLOAD_BYTES = 16 << 10
"""Bytes of a body or object from which it is worked on beside the event loop | none | it goes to a worker thread"""
OFFLOAD_COST = 16_000
"""Cost units the rules of a kind may need at worst on the event loop | none | its objects go to a worker thread"""
WORKED_BYTES = 3 << 20
"""Bytes of bodies and patched objects, each from OFFLOAD_BYTES, that are worked on at once; a larger one alone. As many again of requests
for which rules are evaluated or webhooks called | none | further ones wait in order"""
OFFLOAD_THREADS = 2
"""Threads that work beside the event loop; expressions take all but one | GOMAXPROCS | further work waits"""


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
    rows: list[Limit] = []
    for place, text in itertools.pairwise(body):
        if not (isinstance(place, ast.Assign) and isinstance(place.targets[0], ast.Name)):
            continue
        name = place.targets[0].id
        if any(row.name == name for row in rows):
            raise ValueError(f"{name} stands twice")
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
