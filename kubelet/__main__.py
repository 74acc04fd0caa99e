"""The kubelet's command line, derived from its settings."""

import asyncio
import contextlib
import logging
import signal
import sys

from kapi import settings
from kapi.cli import processes
from kapi.client import config
from kubelet import assembly
from kubelet.node import VERSION
from kubelet.settings import Settings

EXAMPLES = (
    "kubelet --kubeconfig kapi-data/pki/admin.conf --node-name n1 --pod-cidr 10.244.1.0/24",
    "kubelet --kubeconfig kapi-data/pki/admin.conf --simulate --nodes 100 --node-name sim",
    "kubelet --kubeconfig kapi-data/pki/admin.conf --container-runtime-endpoint unix:///run/containerd/containerd.sock",
)


def parser() -> settings.Parser:
    out = settings.Parser("kubelet", "The node agent: runs the pods of one node.", EXAMPLES)
    out.add_argument("--version", action="version", version=f"Kubernetes {VERSION}", help="print the version")
    settings.add_arguments(out, Settings)
    return out


async def serve(given: Settings) -> None:
    """Run until SIGTERM or SIGINT."""
    client = config.connect(config.from_kubeconfig(given.kubeconfig or ""), agent="kubelet/v1.36")
    task = asyncio.ensure_future(assembly.run(given, client, processes.say_ready))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await task
    finally:
        await client.close()


def main(arguments: list[str] | None = None) -> int:
    given = settings.parse(parser(), Settings, arguments)
    level = logging.DEBUG if given.verbose else logging.INFO
    logging.basicConfig(level=level, format="%(asctime)s %(levelname).1s %(name)s: %(message)s")
    try:
        asyncio.run(serve(given))
    except (config.ConfigError, OSError) as error:
        what = f"There is no usable kubeconfig: {error}. Name one with --kubeconfig." if isinstance(error, config.ConfigError) else error
        processes.say_failed(f"kubelet: {what}")
        print(f"kubelet: {what}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
