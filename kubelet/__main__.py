"""The kubelet's command line, derived from its settings."""

import argparse
import asyncio
import contextlib
import dataclasses
import logging
import signal
import sys

from kapi.cli import processes
from kapi.client import config
from kubelet import assembly
from kubelet.settings import Settings

_EXAMPLES = """examples:
  kubelet --kubeconfig kubelet.conf --node-name n1 --pod-cidr 10.244.1.0/24
  kubelet --kubeconfig admin.conf --simulate --nodes 100 --node-name sim
  kubelet --kubeconfig kubelet.conf --container-runtime-endpoint unix:///run/crio/crio.sock
"""


def parser() -> argparse.ArgumentParser:
    """--pod-cidr for Settings.pod_cidr, and so on."""
    out = argparse.ArgumentParser(
        prog="kubelet", description="The node agent: runs the pods of one node.", epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for field in dataclasses.fields(Settings):
        flag, text = "--" + field.name.replace("_", "-"), field.metadata["help"]
        if field.type is bool:
            out.add_argument(flag, action="store_true", help=text)
        else:
            shown = text if field.default in ("", 0) or "default" in text else f"{text} (default: {field.default})"
            kind = type(field.default)
            out.add_argument(flag, type=kind, default=field.default, help=shown, metavar=kind.__name__.upper())
    out.add_argument("-v", "--verbose", action="store_true", help="say more of what happens")
    return out


async def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT."""
    client = config.connect(config.from_kubeconfig(settings.kubeconfig), agent="kubelet/v1.36")
    task = asyncio.ensure_future(assembly.run(settings, client, processes.say_ready))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await task
    finally:
        await client.close()


def main(arguments: list[str] | None = None) -> int:
    given = vars(parser().parse_args(arguments))
    level = logging.DEBUG if given.pop("verbose") else logging.INFO
    logging.basicConfig(level=level, format="%(asctime)s %(levelname).1s %(name)s: %(message)s")
    try:
        asyncio.run(serve(Settings(**given)))
    except (config.ConfigError, OSError) as error:
        processes.say_failed(f"kubelet: {error}")
        print(f"kubelet: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
