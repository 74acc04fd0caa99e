"""`make bench`: start an API server on a fresh directory, load it, print its figures beside their targets. About a minute.

Load and server share the machine, so the figures are lower than with a load generator elsewhere. A target that is missed shows as ✗.
"""

import json
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.load import Connection, Load, Outcome, Target, fan_out, mixed, run
from kapi.cli import processes
from kapi.cli.processes import Process
from kapi.settings import Parser, add_arguments, parse
from kapi.settings.types import Count, Seconds

PODS = "/api/v1/namespaces/bench/pods"
MAPS = "/api/v1/namespaces/bench/configmaps"
POD = json.dumps({
    "apiVersion": "v1", "kind": "Pod",
    "metadata": {"name": "p-@", "labels": {"app": "bench", "tier": "web"}, "annotations": {"note": "x" * 64}},
    "spec": {
        "schedulerName": "nobody", "terminationGracePeriodSeconds": 0,
        "containers": [{
            "name": "web", "image": "busybox:1", "command": ["httpd", "-f", "-p", "8080"],
            "ports": [{"containerPort": 8080, "name": "http"}],
            "env": [{"name": "A", "value": "1"}, {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
            "readinessProbe": {"httpGet": {"path": "/", "port": "http"}},
        }],
    },
})  # fmt: skip
MAP = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m-@"}, "data": {"k": "v" * 500}})
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
WATCHERS, EVENTS = 50, 400


EXAMPLES = ("python -m bench --seconds 0.2 --objects 500",)


@dataclass(frozen=True)
class Settings:
    """How much."""

    seconds: Seconds = 4.0
    """How long each sort of request is sent."""
    objects: Count = 10_000
    """Pods there are in the end."""


class Server:
    """An API server of its own in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self._process = Process("apiserver", directory)
        self._directory = directory
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    def start(self) -> float:
        """Seconds until it answers that it is ready."""
        started = time.perf_counter()
        command = processes.python("kapi", "apiserver", "--data-dir", str(self._directory), "--port", str(self.port))
        self._process.start(command).wait(60)
        line = Connection(self.target)
        code, _ = line.ask(Load("/readyz").request(self.target, ""))
        line.close()
        assert code == 200
        return time.perf_counter() - started

    def stop(self) -> None:
        self._process.stop()

    @property
    def target(self) -> Target:
        return Target(self.port, (self._directory / "tokens.csv").read_text().partition(",")[0])

    @property
    def megabytes(self) -> float:
        return processes.resident(self._process.pid) / 2**20


def show(name: str, figure: float, unit: str, target: float = 0.0, *, most: bool = False, more: str = "") -> None:
    """One line of the table. `most`: the target is an upper bound."""
    met = not target or (figure <= target if most else figure >= target)
    shown = f"{figure:,.2f}" if figure < 10 and figure % 1 else f"{figure:,.0f}"
    bound = f"{'≤' if most else '≥'} {target:,g}" if target else ""
    print(f"{' ' if not target else '✓' if met else '✗'} {name:38}{shown:>10} {unit:10}{bound:>12}   {more}", flush=True)


def times(outcome: Outcome) -> str:
    failed = f", {outcome.failed} failed" if outcome.failed else ""
    return f"p50 {outcome.percentile(0.5):.1f} ms, p99 {outcome.percentile(0.99):.1f} ms{failed}"


def fetch(target: Target, path: str) -> bytes:
    """The whole answer to a GET."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    request = urllib.request.Request(f"https://127.0.0.1:{target.port}{path}", headers={"Authorization": f"Bearer {target.token}"})
    with urllib.request.urlopen(request, context=context) as answer:
        body: bytes = answer.read()
    return body


def prepare(target: Target) -> None:
    """A namespace in which pods can be created."""
    line = Connection(target)
    for path, body in (("/api/v1/namespaces", '{"metadata": {"name": "bench"}}'),
                       ("/api/v1/namespaces/bench/serviceaccounts", '{"metadata": {"name": "default"}}')):  # fmt: skip
        code, said = line.ask(Load(path, "POST", body).request(target, ""))
        assert code == 201, said
    line.close()


def fill(target: Target, path: str, body: str, count: int) -> None:
    """Create until there are `count` objects."""
    have = total(target, path)
    while have < count:
        run(target, Load(path, "POST", body, seconds=min(4.0, (count - have) / 1500)))
        have = total(target, path)


def first(target: Target, path: str) -> str:
    """The name of an object in a list."""
    return str(json.loads(fetch(target, f"{path}?limit=1"))["items"][0]["metadata"]["name"])


def held(target: Target) -> float:
    """How often the server's event loop was held longer than 50 ms since it started."""
    lines = fetch(target, "/metrics").decode().splitlines()
    found = dict(line.rsplit(" ", 1) for line in lines if line.startswith("kapi_event_loop_lag_seconds"))
    return float(found["kapi_event_loop_lag_seconds_count"]) - float(found['kapi_event_loop_lag_seconds_bucket{le="0.05"}'])


def total(target: Target, path: str) -> int:
    """How many objects there are."""
    listed = json.loads(fetch(target, f"{path}?limit=1"))
    return len(listed["items"]) + int(listed["metadata"].get("remainingItemCount", 0))


def measure(server: Server, settings: Settings) -> None:
    """The figures of a server that runs."""
    target, load = server.target, partial(Load, seconds=settings.seconds)
    prepare(target)
    show("memory, idle", server.megabytes, "MB")
    created = run(target, load(PODS, "POST", POD))
    show("create pod, 16 connections", created.rate, "/s", 1200, more=times(created))
    fill(target, PODS, POD, min(4000, settings.objects))
    one = f"{PODS}/{first(target, PODS)}"
    got = run(target, load(one))
    show("get pod, 16 connections", got.rate, "/s", 6000, more=times(got))
    packed = run(target, load(one, accept=PROTOBUF))
    show("get pod as protobuf, 16 connections", packed.rate, "/s", got.rate, more=times(packed))
    measure_writes(target, one, load)
    measure_lists(target, load)
    events = fan_out(target, f"{MAPS}?watch=1&resourceVersion=0", Load(MAPS, "POST", MAP), WATCHERS, EVENTS)
    show(f"watch, {WATCHERS} watchers of {EVENTS} creates", events, "events/s", 40_000)
    measure_mixed(target, one, load)
    fill(target, PODS, POD, settings.objects)
    show(f"memory, {total(target, PODS):,} pods", server.megabytes, "MB", 150, most=True)
    show("event loop held longer than 50 ms", held(target), "times")


def measure_writes(target: Target, one: str, load: Callable[..., Load]) -> None:
    """Changes of one pod, one after the other."""
    patched = run(target, load(one, "PATCH", '{"metadata": {"annotations": {"n": "@"}}}', STRATEGIC, connections=1))
    show("patch a pod, 1 connection", patched.rate, "/s", 350, more=times(patched))
    apply = load(f"{PODS}/applied?fieldManager=bench", "PATCH", POD.replace("p-@", "applied"), APPLY, connections=1)
    applied = run(target, apply)
    show("apply an unchanged pod, 1 connection", applied.rate, "/s", 400, more=times(applied))


def measure_lists(target: Target, load: Callable[..., Load]) -> None:
    pods = total(target, PODS)
    listed = run(target, load(f"{PODS}?resourceVersion=0", connections=2))
    show(f"list all {pods} pods, 2 connections", listed.rate * pods, "pods/s", 120_000, more=times(listed))
    packed = run(target, load(f"{PODS}?resourceVersion=0", connections=2, accept=PROTOBUF))
    show("the same as protobuf", packed.rate * pods, "pods/s", 150_000, more=times(packed))
    paged = run(target, load(f"{PODS}?limit=500", connections=4))
    show("list 500 of them, 4 connections", paged.rate, "/s", more=times(paged))
    none = run(target, load(f"{PODS}?resourceVersion=0&labelSelector=app%3Dother", connections=4))
    show("list with a label none has", none.rate, "/s", 5000, more=times(none))


def measure_mixed(target: Target, one: str, load: Callable[..., Load]) -> None:
    """How long one that gets waits while 8 write and 8 list."""
    loads = load(one, connections=1), load(PODS, "POST", POD, connections=8), load(f"{PODS}?limit=500", connections=8)
    got, written, listed = mixed(target, loads)
    beside = f"p50 {got.percentile(0.5):.1f} ms, beside {written.rate:,.0f} creates and {listed.rate:,.0f} lists a second"
    show("get beside 8 writers and 8 listers, p99", got.percentile(0.99), "ms", 25, most=True, more=beside)


@contextmanager
def fresh() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="kapi-bench-") as directory:
        server = Server(Path(directory))
        try:
            yield server
        finally:
            server.stop()


def parser() -> Parser:
    out = Parser("python -m bench", __doc__ or "", EXAMPLES)
    add_arguments(out, Settings)
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    settings = parse(parser(), Settings, arguments)
    with fresh() as server:
        show("start on a fresh directory to ready", server.start(), "s", 2, most=True)
        measure(server, settings)
        server.stop()
        show(f"restart with {settings.objects:,} objects to ready", server.start(), "s", 3, most=True)
        show("memory after that", server.megabytes, "MB", 200, most=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, subprocess.SubprocessError) as why:
        print(f"bench: {why}", file=sys.stderr)
        sys.exit(1)
