"""The kubelet's command line, derived from its settings."""

import sys

from kapi import settings
from kapi.client import config
from kapi.process import Failure, find_system_programs, notify_failed, notify_ready, open_standard_streams, reason, supervise
from kapi.settings.logs import configurable
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
    settings.add_arguments(out, configurable(Settings))
    return out


async def kubelet(options: Settings) -> None:
    """The kubelet, until it is cancelled."""
    try:
        endpoint = config.from_kubeconfig(options.kubeconfig or "")
    except (OSError, config.ConfigError) as why:
        raise Failure(f"There is no usable kubeconfig: {reason(why)}. Name one with --kubeconfig.") from None
    client = config.connect(endpoint, agent="kubelet/v1.36")
    try:
        await assembly.run(options, client, notify_ready)
    except* OSError as several:
        raise Failure(str(several.exceptions[0])) from None
    finally:
        await client.close()


def main(arguments: list[str] | None = None) -> int:
    open_standard_streams()
    find_system_programs()
    options = settings.parse(parser(), configurable(Settings), arguments)
    try:
        return supervise("kubelet", VERSION, options, kubelet(options))
    except Failure as why:
        notify_failed(f"kubelet: {why}")
        print(f"kubelet: {why}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
