"""`kapi up`, `down`, `status`, `reset` and the small ones: one machine's cluster, its processes and its directory.

With containers: containerd, API server, control (controllers, scheduler, proxy) and kubelet are a process each. With --simulate one
process is everything, and no container runs.
"""

import asyncio
import contextlib
import os
import shlex
import shutil
import signal
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kapi.access import token_file
from kapi.cli import advice, checks, cleanup, components, contexts, datadir, deletion, foreground, layout, locks, processes, startup
from kapi.cli.checks import programs
from kapi.cli.processes import Process
from kapi.cli.progress import Progress, say
from kapi.client import config
from kapi.objects import errors, names, resource
from kapi.process import Failure, private, reason
from kapi.settings import abbreviated, types
from kapi.settings.logs import Verbosity
from kubelet import containerd, images

PROCESS_NAMES = layout.COMPONENTS
"""Every process a cluster may have, in the order they are stopped."""
_KUBELET_PORT = 10250
_NETWORKING = ("nftables", "iproute2", "conntrack")
"""Packages of the service proxy, which are needed with any container runtime."""
DIRECTORY = advice.default_directory()


@dataclass(frozen=True)
class ClusterSettings:
    """The cluster a command is about."""

    data_dir: Path = DIRECTORY
    """Directory of the cluster."""

    def __post_init__(self) -> None:
        """Messages name the directory by its whole path, also one that was given relative to another."""
        try:
            types.check_place(self.data_dir)
        except ValueError as why:
            raise ValueError(f"argument --data-dir: invalid value {abbreviated(str(self.data_dir))}: {why}") from None
        object.__setattr__(self, "data_dir", self.data_dir.absolute())

    def directory_exists(self, command: str, *options: str) -> bool:
        """Whether its directory exists. Raises Failure when it belongs to another user, with the command to run then."""
        return datadir.exists(self.data_dir, command, *options)

    @property
    def admin(self) -> Path:
        """The administrator's kubeconfig."""
        return self.data_dir / "pki" / "admin.conf"


@dataclass(frozen=True)
class Up(Verbosity, ClusterSettings):
    """A cluster on this machine."""

    simulate: bool = False
    """Run no containers: pods only pretend to run."""
    nodes: types.Count = 1
    """Number of nodes (more than one only with --simulate)."""
    port: types.Port = 6443
    """Port of the API server."""
    bind_address: types.Address = ""
    """Address the API server listens on, beside 127.0.0.1; empty: that of the default route, where pods reach it, and with --simulate none;
    0.0.0.0: all there are."""
    node_name: types.NodeName = ""
    """Name of the node; empty: the host's name. Of simulated nodes: NAME, or of several NAME-0 and so on; empty: node-0 and so on."""
    container_runtime_endpoint: types.Endpoint = ""
    """Socket of a running CRI runtime, unix:///run/containerd/containerd.sock for instance; empty: start an own containerd."""
    pod_cidr: types.CIDR = "10.244.0.0/24"
    """Addresses of the node's pods."""
    foreground: bool = False
    """Stay, and stop the cluster with ctrl-C."""
    kubeconfig: bool = True
    """Add the cluster's context to the user's kubeconfig and make it the current one."""
    context: types.ContextName = ""
    """Name of that context; empty: kapi for the default directory's cluster, kapi-NAME for one in a directory NAME."""

    def __post_init__(self) -> None:
        super().__post_init__()
        types.check_pod_ranges(self.pod_cidr, self.nodes)
        if not self.simulate and names.dns_subdomain(self.name):
            raise ValueError(f"the host's name {self.name!r} can't be a node's: give one with --node-name")

    @property
    def name(self) -> str:
        return self.node_name or socket.gethostname().lower()


def _processes(settings: ClusterSettings) -> list[Process]:
    return [Process(name, settings.data_dir) for name in PROCESS_NAMES]


def _running(settings: ClusterSettings) -> list[Process]:
    return [p for p in _processes(settings) if p.pid]


# up ---------------------------------------------------------------------------------------------------------------------------------


def _check(settings: Up) -> None:
    """Check the settings and the machine before anything is started. Raises Failure."""
    if settings.nodes > 1 and not settings.simulate:
        raise Failure(f"More than one node on one machine needs --simulate: {advice.up(replace(settings, simulate=True))}")
    if not settings.simulate:
        _check_machine(settings)
        _check_port(_KUBELET_PORT, "It is the kubelet's: one machine runs one cluster with containers.")
    _check_port(settings.port, "Choose another with --port.")
    if settings.kubeconfig:
        contexts.check(settings.data_dir, _context(settings))


def _context(settings: Up) -> str:
    return settings.context or contexts.name(settings.data_dir)


def _check_running(settings: Up, progress: Progress) -> None:
    """Raises Failure for a running cluster. What an interrupted start left is stopped."""
    if _start_marker(settings).exists():
        with progress.step("Stopping what an interrupted start left"):
            _stop(settings)
    elif running := _running(settings):
        stop = advice.command("down", settings.data_dir)
        raise Failure(f"A cluster is running from {settings.data_dir} ({', '.join(p.name for p in running)}). Stop it with: {stop}")


def _start_marker(settings: ClusterSettings) -> Path:
    """A file that exists while the cluster is starting, and after an interrupted start."""
    return settings.data_dir / "run" / "starting"


def _check_port(port: int, advice: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError as why:
            raise Failure(f"Port {port} can't be used: {why.strerror}. {advice}") from None


def _check_machine(settings: Up) -> None:
    if os.geteuid() != 0:
        simulated = advice.up(replace(settings, simulate=True))
        raise Failure(f"Real containers need root: {advice.up(settings, for_root=True)}, or without containers: {simulated}")
    own = not settings.container_runtime_endpoint
    if own and (wrong := containerd.long_path(cleanup.runtime(settings.data_dir))):
        raise Failure(f"The data directory {settings.data_dir} can't be used: {wrong}. Name another with --data-dir.")
    needed = {program: package for program, package in programs.PACKAGES.items() if own or package in _NETWORKING}
    missing = {package for program, package in needed.items() if shutil.which(program) is None}
    if own and not containerd.has_plugins():
        missing.add(programs.PLUGINS)
    if missing:
        listed = sorted(missing)
        raise Failure(f"Missing: {', '.join(listed)}. Install with: apt-get install --no-install-recommends {' '.join(listed)}")


def up(settings: Up) -> int:
    """Start the cluster and return when every node is Ready."""
    settings = replace(settings, data_dir=settings.data_dir.resolve())
    progress = Progress()
    processes.interrupt_on_end()
    with private(), datadir.locked(settings.data_dir, "up", *advice.options(settings)):
        _check_running(settings, progress)
        _check(settings)
        with _undo_on_failure(settings, progress):
            for note in datadir.prepare(settings.data_dir):
                progress.note(note)
            datadir.record_options(settings.data_dir, advice.options(settings))
            _start_marker(settings).parent.mkdir(exist_ok=True, mode=0o700)
            _start_marker(settings).touch(mode=0o600)
            _start(settings, progress)
            started = foreground.hold(_started(settings)) if settings.foreground else []
    progress.done("The cluster is up.")
    print(f"\nNext: {_next_command(settings)}")
    return _wait_in_foreground(settings, started) if settings.foreground else 0


def _started(settings: Up) -> list[Process]:
    """The processes that `kapi up` has started."""
    absent = {"simulated", *(["containerd"] if settings.container_runtime_endpoint else [])}
    return [p for p in _processes(settings) if (p.name == "simulated" if settings.simulate else p.name not in absent)]


@contextlib.contextmanager
def _undo_on_failure(settings: Up, progress: Progress) -> Iterator[None]:
    """Undo a failed start. A new directory is emptied again, unless the reason is in a log there. Raises Failure."""
    new, mode = not os.listdir(settings.data_dir), stat.S_IMODE(settings.data_dir.stat().st_mode)
    try:
        yield
    except BaseException as why:
        with processes.deferred_signals():
            _stop(settings)
            if settings.kubeconfig and not isinstance(why, Failure):  # a Failure comes before the context is in
                contexts.remove(settings.data_dir, progress)
            if new and not isinstance(why, processes.FailureInLog):
                with contextlib.suppress(OSError):
                    deletion.clear(settings.data_dir)
                    settings.data_dir.chmod(mode)
        if isinstance(why, KeyboardInterrupt):
            print("Interrupted: what was started is stopped again.", file=sys.stderr)
        if isinstance(why, OSError):
            raise datadir.unusable(settings.data_dir, why) from None
        if isinstance(why, Failure) and (few := checks.few_files()):
            raise Failure(f"{why}\n{few}") from None
        raise


def _start(settings: Up, progress: Progress) -> None:
    """All of `kapi up` that has to be undone when it fails."""
    (startup.simulated if settings.simulate else startup.real)(settings, progress)
    with progress.step("Waiting for the node to be Ready" if settings.nodes == 1 else f"Waiting for {settings.nodes} nodes to be Ready"):
        asyncio.run(_nodes_ready(settings.admin, settings.nodes))
    if settings.kubeconfig:
        context = _context(settings)
        with progress.step(f"Context {context} in your kubeconfig"):
            contexts.add(settings.data_dir, context, progress)
    _start_marker(settings).unlink()
    if settings.foreground:
        signal.pthread_sigmask(signal.SIG_BLOCK, processes.end_signals())  # from now on they are waited for


def _next_command(settings: Up) -> str:
    """The first kubectl command to run."""
    where = ["--context", _context(settings)] if settings.kubeconfig else ["--kubeconfig", str(settings.admin)]
    own_images = settings.simulate or not settings.container_runtime_endpoint
    first = f"create deployment web --image={images.BUSYBOX} -- httpd -f -p 8080" if own_images else "get nodes"
    return f"{shlex.join(['kubectl', *where])} {first}"


def _wait_in_foreground(settings: Up, started: list[foreground.Started]) -> int:
    """Wait for a signal and stop the cluster, or for its end. Raises Failure when a process ended although the cluster was not stopped."""
    say("Press ctrl-C to stop.")
    ended = asyncio.run(foreground.wait(started))
    processes.interrupt_on_end()
    if ended is None:
        return down(ClusterSettings(settings.data_dir))
    if locks.holders(settings.data_dir) or (ended.ended_well and not any(one.runs for one in started)):
        print("The cluster was stopped from elsewhere.")
        return 0
    _stop_rest(settings, started)
    raise Failure(f"{ended.process.name} (pid {ended.pid}) ended unasked, and with it the cluster. Its log: {ended.process.log_file}")


def _stop_rest(settings: Up, started: list[foreground.Started]) -> None:
    """Stop what is left of the cluster, unless another command has taken it over."""
    own = {one.pid for one in started if one.runs}
    if not settings.directory_exists("down"):
        if own.issuperset(pid for p in _running(settings) for pid in p.pids):
            _down_without_directory(settings)
        return
    progress = Progress()
    with datadir.locked(settings.data_dir, "down"):
        if own.issuperset(pid for p in _running(settings) for pid in p.pids):
            if own or cleanup.has_marker(settings.data_dir):
                with progress.step("Stopping what else was started"):
                    _stop(settings)
            contexts.remove(settings.data_dir, progress)


async def _nodes_ready(kubeconfig: Path, count: int, seconds: float = 60.0) -> None:
    """Return when `count` nodes are Ready."""
    client = config.connect(config.from_kubeconfig(kubeconfig), agent="kapi-up")
    ready: set[str] = set()
    try:
        async with asyncio.timeout(seconds):
            nodes = await client.list(resource.NODES)
            ready |= {n["metadata"]["name"] for n in nodes["items"] if _is_ready(n)}
            if len(ready) >= count:
                return
            async for _, node in client.watch(resource.NODES, version=nodes["metadata"]["resourceVersion"]):
                if _is_ready(node):
                    ready.add(node["metadata"]["name"])
                if len(ready) >= count:
                    return
    except TimeoutError:
        raise processes.FailureInLog(
            f"{len(ready)} of {count} nodes were Ready after {seconds:.0f} seconds. See the logs in {kubeconfig.parents[1] / 'log'}."
            + processes.full_disk(kubeconfig.parent)
        ) from None
    finally:
        await client.close()


def _is_ready(node: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in (node.get("status") or {}).get("conditions") or ())


# down and the others ------------------------------------------------------------------------------------------------------------------


def _stop(settings: ClusterSettings) -> None:
    """Stop everything of the cluster but keep its data: processes, pods, mounts, network."""
    by_name = {p.name: p for p in _processes(settings)}
    for name in ("simulated", "kubelet", "control"):
        by_name[name].stop()
    if cleanup.has_marker(settings.data_dir):
        asyncio.run(cleanup.remove_pods(settings.data_dir, running=bool(by_name["containerd"].pid)))
    by_name["apiserver"].stop()
    by_name["containerd"].stop()
    cleanup.clean_machine(settings.data_dir)
    if _start_marker(settings).exists():  # on a read-only file system not even a file that is missing can be unlinked
        _start_marker(settings).unlink()


def down(settings: ClusterSettings) -> int:
    """Stop the cluster; `kapi up` finds its data again."""
    settings = replace(settings, data_dir=settings.data_dir.resolve())
    if not settings.directory_exists("down"):
        if not _down_without_directory(settings):
            print(f"No cluster is running from {settings.data_dir}.")
        return 0
    if not datadir.is_cluster(settings.data_dir):
        print(f"No cluster is running from {settings.data_dir}.")
        return 0
    with datadir.locked(settings.data_dir, "down"):
        _down(settings)
    return 0


def _down_without_directory(settings: ClusterSettings) -> bool:
    """Stop a cluster whose data directory was deleted and that may still run. Returns whether there was anything of it."""
    progress, running = Progress(), _running(settings)
    if running:
        with progress.step(f"Stopping what ran from {settings.data_dir}, which is gone"):
            for process in running:
                process.stop()
            if any(process.name in ("kubelet", "containerd") for process in running):
                cleanup.clean_machine(settings.data_dir, force=True)
    forgotten = contexts.forget(settings.data_dir, progress)
    for context in forgotten:
        progress.note(f"The context {context} of {settings.data_dir}, which is gone, was taken out of your kubeconfig.")
    return bool(running or forgotten)


def _down(settings: ClusterSettings) -> None:
    """`down` of a cluster whose directory is locked."""
    progress = Progress()
    if _running(settings):
        with progress.step("Stopping pods and processes"):
            _stop(settings)
        contexts.remove(settings.data_dir, progress)
        progress.done("The cluster is down.")
        return
    say(f"No cluster is running from {settings.data_dir}.")
    if cleanup.has_marker(settings.data_dir) or _start_marker(settings).exists():
        with progress.step("Removing what it left on this machine"):
            _stop(settings)
    for context in contexts.remove(settings.data_dir, progress):
        progress.note(f"Its context {context} was taken out of your kubeconfig.")


@dataclass(frozen=True)
class Reset(ClusterSettings):
    """Forget a cluster."""

    yes: bool = False
    """Do not ask."""


def reset(settings: Reset) -> int:
    """Stop the cluster and delete its directory: what kapi made in it, and only when there is nothing else."""
    named = settings.data_dir.absolute()
    if not settings.directory_exists("reset"):
        if os.path.lexists(named):
            raise Failure(f"{named} is not a directory. Nothing was deleted.")
        if not _down_without_directory(replace(settings, data_dir=named.resolve())):
            print(f"There is nothing at {named}.")
        return 0
    datadir.check_removable(named)
    settings = replace(settings, data_dir=named.resolve())
    if not settings.yes and not _confirm(f"Delete everything in {settings.data_dir}?"):
        return 1
    with datadir.locked(settings.data_dir, "reset"):
        _down(settings)
        datadir.check_removable(settings.data_dir)
        try:
            deletion.delete(settings.data_dir)
        except OSError as why:
            again = advice.command("reset", settings.data_dir)
            raise Failure(f"{why.filename} can't be deleted: {why.strerror or why}. Mend that and go on with: {again}") from None
    print(f"{settings.data_dir} is gone.")
    return 0


def _confirm(question: str) -> bool:
    if not sys.stdin.isatty():
        raise Failure("Nobody is there to confirm: say it with --yes.")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def status(settings: ClusterSettings) -> int:
    """Print the processes with their memory, and the nodes; 1 when none runs."""
    settings = replace(settings, data_dir=settings.data_dir.resolve())
    settings.directory_exists("status")
    running = _running(settings)
    for process in running:
        memory = f"{processes.resident(process.pid) / 2**20:6.1f} MB"
        print(f"{process.name:12} pid {process.pid:<8} {memory}   log: {process.written_log or 'its standard error'}")
    if not running:
        if not datadir.may_hold_cluster(settings.data_dir):
            raise Failure(datadir.absence(settings.data_dir))
        start, end = datadir.start_command(settings.data_dir), advice.command("down", settings.data_dir)
        left = cleanup.pods_left(settings.data_dir)
        what = f", but {left} of its pods still run. End them with: {end}" if left else f". Start one with: {start}"
        print(f"No cluster is running from {settings.data_dir}{what}")
        return 1
    if _start_marker(settings).exists() and not locks.holders(settings.data_dir):
        print(f"Its start was interrupted. Stop it with: {advice.command('down', settings.data_dir)}")
    print(f"{'all':12}              {sum(processes.resident(p.pid) for p in running) / 2**20:6.1f} MB")
    for line in asyncio.run(_node_lines(settings.admin)):
        print(line)
    return 0


async def _node_lines(kubeconfig: Path, seconds: float = 5.0) -> list[str]:
    """A line for each node, or one with the reason why there is none."""
    try:
        client = config.connect(config.from_kubeconfig(kubeconfig), agent="kapi-status")
    except (OSError, config.ConfigError) as why:
        return [f"The API server can't be asked: {reason(why)}"]
    try:
        async with asyncio.timeout(seconds):
            nodes = (await client.list(resource.NODES))["items"]
    except (TimeoutError, OSError, errors.StatusError) as why:
        return [f"The API server does not answer: {reason(why) or 'it takes too long'}"]
    finally:
        await client.close()
    return [f"node {n['metadata']['name']:20} {'Ready' if _is_ready(n) else 'NotReady'}" for n in nodes] or ["There is no node."]


def _read_of_cluster(settings: ClusterSettings, command: str, read: Callable[[Path], str]) -> str:
    """The result of `read` for the cluster's directory. Raises Failure."""
    missing = Failure(datadir.absence(settings.data_dir))
    if not settings.directory_exists(command) or not datadir.is_cluster(settings.data_dir):
        raise missing
    try:
        return read(settings.data_dir)
    except (FileNotFoundError, NotADirectoryError):
        raise missing from None
    except (OSError, ValueError) as why:
        raise Failure(f"The {command} of the cluster in {settings.data_dir} can't be read: {reason(why)}.") from None


def kubeconfig(settings: ClusterSettings) -> int:
    print(_read_of_cluster(settings, "kubeconfig", contexts.rendered), end="")
    return 0


def token(settings: ClusterSettings) -> int:
    print(_read_of_cluster(settings, "token", _administrator))
    return 0


def _administrator(directory: Path) -> str:
    path = directory / "tokens.csv"
    path.stat()
    try:
        return token_file.administrator(path)
    except token_file.Malformed as why:
        raise Failure(components.sentence(str(why))) from None


COMMANDS: dict[str, tuple[type[Any], Callable[[Any], int]]] = {
    "up": (Up, up),
    "down": (ClusterSettings, down),
    "status": (ClusterSettings, status),
    "kubeconfig": (ClusterSettings, kubeconfig),
    "token": (ClusterSettings, token),
    "reset": (Reset, reset),
}
