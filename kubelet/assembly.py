"""Assembles a kubelet from its settings and runs it: one real node, or many simulated ones that share their watches."""

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace

from kapi import logs
from kapi.client.client import Client
from kapi.client.events import Recorder
from kapi.client.informer import Informer
from kapi.http import server
from kapi.objects import together
from kapi.objects.meta import Object
from kapi.objects.resource import NODES, PODS, SERVICES
from kubelet import machine, simulated
from kubelet.handlers import RealHandlers
from kubelet.housekeeping import Housekeeping
from kubelet.kubelet import Kubelet
from kubelet.manifests import Manifests
from kubelet.node import Node, Status
from kubelet.operations import Dependencies
from kubelet.pod_setup import NodeInfo, PodSetup, RealPodSetup
from kubelet.pulling import Puller
from kubelet.server.app import App, Nodes
from kubelet.settings import CONTROL_PLANE, POD_CIDR, Settings, simulated_names
from kubelet.sources import Sources
from kubelet.volumes.tokens import Tokens

log = logging.getLogger(__name__)


def real(settings: Settings, client: Client, recorder: Recorder, services: Informer) -> Kubelet:
    """The kubelet of this machine."""
    from kubelet.cri.client import Cri  # gRPC: 15 MB that simulated nodes do not need

    runtime = Cri(settings.container_runtime_endpoint)
    known = machine.facts(settings.root_dir)
    addresses = settings.node_ip or (machine.address(),)
    node = Node(settings, client, recorder, Status(), known, addresses)
    shared = NodeInfo(addresses, known.memory, node.allocatable, services)
    sources = Sources(client)
    pod_setup = RealPodSetup(settings, sources, Tokens(client), shared)
    dependencies = Dependencies(settings, runtime, pod_setup, Puller(runtime), RealHandlers(runtime), sources, recorder)
    return Kubelet(client, dependencies, node, shared)


def simulated_kubelet(settings: Settings, client: Client, recorder: Recorder, index: int) -> Kubelet:
    """The kubelet of the index-th simulated node."""
    runtime = simulated.SimulatedRuntime(settings.pod_cidr or POD_CIDR)
    status = Status()
    address = _simulated_address(index)
    node = Node(settings, client, recorder, status, simulated.facts(), (address,))
    shared = NodeInfo((address,), 0, node.allocatable)
    dependencies = Dependencies(settings, runtime, PodSetup(), Puller(runtime), simulated.SimulatedHandlers(), Sources(client), recorder)
    return Kubelet(client, dependencies, node, shared)


def _simulated_address(index: int) -> str:
    """A loopback address of its own for each simulated node: the server finds the node by it. Only this machine reaches
    it."""
    return str(ipaddress.ip_address("127.1.0.1") + index)


def nodes(settings: Settings) -> list[Settings]:
    """The settings of each simulated node, with consecutive pod ranges."""
    first = ipaddress.ip_network(settings.pod_cidr or POD_CIDR)
    out = []
    for i, name in enumerate(simulated_names(settings.node_name, settings.nodes)):
        cidr = ipaddress.ip_network((int(first.network_address) + i * first.num_addresses, first.prefixlen))
        role = {CONTROL_PLANE: ""} if settings.control_plane and i == 0 else {}
        out.append(replace(settings, node_name=name, nodes=1, pod_cidr=str(cidr), node_labels={**settings.node_labels, **role}))
    return out


async def run(settings: Settings, client: Client, ready: Callable[[], None] = lambda: None) -> None:
    """Run the kubelet (or the simulated ones) until cancelled; `ready` is called once the nodes are registered and their pods known."""
    if not settings.node_name and not settings.simulate:
        settings = replace(settings, node_name=machine.hostname())
    with ExitStack() as sockets:  # which are bound before anything is served, and are not left open when that fails
        async with asyncio.TaskGroup() as group:
            if settings.simulate:
                await _run_simulated(settings, client, group, sockets)
            else:
                await _run_real(settings, client, group, sockets)
            ready()


async def _run_real(settings: Settings, client: Client, group: asyncio.TaskGroup, sockets: ExitStack) -> None:
    recorder = Recorder(client, "kubelet", host=settings.node_name)
    services = Informer(client, SERVICES, trim=_service)
    informer = Informer(client, PODS, fields=f"spec.nodeName={settings.node_name}")
    node_informer = Informer(client, NODES, fields=f"metadata.name={settings.node_name}")
    kubelet = real(settings, client, recorder, services)
    await kubelet.start()
    node_informer.add_handler(_node_handler(lambda name: kubelet))
    for component in (recorder, kubelet, services, informer, node_informer):
        group.create_task(component.run())
    if settings.pod_manifest_path:
        manifests = Manifests(settings, settings.pod_manifest_path, client, kubelet)
        manifests.read()
        group.create_task(manifests.run())
    await kubelet.node.register()
    await services.synced.wait()
    await informer.synced.wait()
    informer.add_handler(_pod_handler(lambda name: kubelet))
    await kubelet.terminate_orphans(informer.items())
    if settings.port and settings.tls_cert_file:
        listen = _listen(settings, kubelet.node.addresses)
        group.create_task(_serve(App(kubelet, client), listen, _bound(listen, sockets)))
    group.create_task(kubelet.node.run(kubelet.check_runtime))
    group.create_task(Housekeeping(settings, kubelet).run())


def _listen(settings: Settings, nodes: Iterable[str]) -> server.Listen:
    """Listen on the nodes' addresses, where the API server connects to, unless another address is configured."""
    addresses = (settings.address,) if settings.address else tuple(nodes)
    authorities = (settings.client_ca_file,) if settings.client_ca_file else ()
    return server.Listen(addresses, settings.port, settings.tls_cert_file, settings.tls_private_key_file, authorities)


def _bound(listen: server.Listen, sockets: ExitStack) -> list[socket.socket]:
    return [sockets.enter_context(sock) for sock in server.bound(listen)]


async def _serve(app: App | Nodes, listen: server.Listen, sockets: list[socket.socket]) -> None:
    """Serve the kubelet's API until cancelled."""
    kubelet_server = server.Server(app, listen)
    await kubelet_server.start(sockets)
    log.info("Serving", extra=logs.fields(address=", ".join("{}:{}".format(*sock.getsockname()[:2]) for sock in sockets[:3])))
    try:
        await asyncio.Event().wait()
    finally:
        await kubelet_server.stop(0)


async def _run_simulated(settings: Settings, client: Client, group: asyncio.TaskGroup, opened: ExitStack) -> None:
    """Simulated nodes share one server, on any free port if none is configured."""
    listen = _listen(settings, map(_simulated_address, range(max(1, settings.nodes)))) if settings.tls_cert_file else None
    sockets = _bound(listen, opened) if listen else []
    settings = replace(settings, port=sockets[0].getsockname()[1] if sockets else 0)
    each = nodes(settings)
    recorder = Recorder(client, "kubelet")
    kubelets = {one.node_name: simulated_kubelet(one, client, recorder.named("kubelet", one.node_name), i) for i, one in enumerate(each)}
    several = len(each) > 1
    informer = Informer(client, PODS, fields="" if several else f"spec.nodeName={each[0].node_name}")
    node_informer = Informer(client, NODES, fields="" if several else f"metadata.name={each[0].node_name}")
    node_informer.add_handler(_node_handler(kubelets.get))
    group.create_task(recorder.run())
    for kubelet in kubelets.values():
        await kubelet.start()
    await together.run(kubelet.node.register() for kubelet in kubelets.values())
    group.create_task(informer.run())
    group.create_task(node_informer.run())
    await informer.synced.wait()
    informer.add_handler(_pod_handler(kubelets.get))
    if listen:
        group.create_task(_serve(Nodes(kubelets.values(), client), listen, sockets))
    for kubelet in kubelets.values():
        group.create_task(kubelet.run())
        group.create_task(kubelet.node.run(kubelet.check_runtime))


def _pod_handler(kubelet_of: Callable[[str], Kubelet | None]) -> Callable[[Object | None, Object | None], None]:
    """An informer's handler that passes each pod to the kubelet of its node."""

    def handle(old: Object | None, new: Object | None) -> None:
        pod = new or old or {}
        kubelet = kubelet_of(pod["spec"].get("nodeName") or "")
        if kubelet is None:
            return
        if new is None:
            kubelet.drop(pod)
            return
        if old is not None and old["metadata"]["uid"] != new["metadata"]["uid"]:
            kubelet.drop(old)
        kubelet.put(new)

    return handle


def _node_handler(kubelet_of: Callable[[str], Kubelet | None]) -> Callable[[Object | None, Object | None], None]:
    """An informer's handler that passes each node to its kubelet."""

    def handle(old: Object | None, new: Object | None) -> None:
        if new is not None and (kubelet := kubelet_of(new["metadata"]["name"])):
            kubelet.node.observe(new)

    return handle


def _service(service: Object) -> Object:
    """Trim a Service to the fields that pod environments need."""
    meta, spec = service["metadata"], service.get("spec") or {}
    kept = {key: meta[key] for key in ("name", "namespace", "uid", "resourceVersion") if key in meta}
    return {"metadata": kept, "spec": {"clusterIP": spec.get("clusterIP"), "ports": spec.get("ports") or []}}
