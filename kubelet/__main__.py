"""The kubelet's command line, derived from its settings."""

import argparse
import asyncio
import contextlib
import logging
import signal
import sys

from kapi import settings
from kapi.cli import processes
from kapi.client import config
from kapi.http import connections
from kubelet import assembly
from kubelet.settings import Settings

_EXAMPLES = """examples:
  kubelet --kubeconfig kubelet.conf --node-name n1 --pod-cidr 10.244.1.0/24
  kubelet --kubeconfig admin.conf --simulate --nodes 100 --node-name sim
  kubelet --kubeconfig kubelet.conf --container-runtime-endpoint unix:///run/crio/crio.sock
"""


def parser() -> argparse.ArgumentParser:
    out = argparse.ArgumentParser(
        prog="kubelet", description="The node agent: runs the pods of one node.", epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    settings.add_arguments(out, Settings)
    out.add_argument("-v", "--verbose", action="store_true", help="say more of what happens")
    return out


async def serve(wish: Settings) -> None:
    """Run until SIGTERM or SIGINT."""
    client = config.connect(config.from_kubeconfig(wish.kubeconfig), agent="kubelet/v1.36")
    task = asyncio.ensure_future(assembly.run(wish, client, processes.say_ready))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await task
    finally:
        await client.close()


def main(arguments: list[str] | None = None) -> int:
    given = parser().parse_args(arguments)
    level = logging.DEBUG if given.verbose else logging.INFO
    logging.basicConfig(level=level, format="%(asctime)s %(levelname).1s %(name)s: %(message)s")
    connections.raise_file_limit()
    try:
        asyncio.run(serve(settings.from_arguments(Settings, given)))
    except (config.ConfigError, OSError) as error:
        processes.say_failed(f"kubelet: {error}")
        print(f"kubelet: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
