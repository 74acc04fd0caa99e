"""The kubelet's command line, derived from its settings."""

import argparse
import sys

from kapi import logs, settings
from kapi.cli import components, processes
from kapi.cli.progress import Failure
from kapi.client import config
from kubelet import assembly
from kubelet.settings import Settings

_EXAMPLES = """examples:
  kubelet --kubeconfig kubelet.conf --node-name n1 --pod-cidr 10.244.1.0/24
  kubelet --kubeconfig admin.conf --simulate --nodes 100
  kubelet --kubeconfig kubelet.conf --container-runtime-endpoint unix:///run/crio/crio.sock
"""


def parser() -> argparse.ArgumentParser:
    out = argparse.ArgumentParser(
        prog="kubelet", description="The node agent: runs the pods of one node.", epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    settings.add_arguments(out, logs.configurable(Settings))
    return out


async def kubelet(given: Settings) -> None:
    """The kubelet, until it is cancelled."""
    try:
        endpoint = config.from_kubeconfig(given.kubeconfig)
    except (OSError, config.ConfigError) as why:
        raise Failure(str(why)) from None
    client = config.connect(endpoint, agent="kubelet/v1.36")
    try:
        await assembly.run(given, client, processes.say_ready)
    except* OSError as several:
        raise Failure(str(several.exceptions[0])) from None
    finally:
        await client.close()


def main(arguments: list[str] | None = None) -> int:
    given = settings.from_arguments(logs.configurable(Settings), parser().parse_args(arguments))
    try:
        return components.supervise("kubelet", given, kubelet(given))
    except Failure as why:
        processes.say_failed(f"kubelet: {why}")
        print(f"kubelet: {why}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
