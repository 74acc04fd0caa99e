"""`kapi`: one table of commands. What they do is in kapi.cli; the components themselves are rooms of their own."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from kapi import settings
from kapi.cli import processes
from kapi.cli.progress import Failure


@dataclass(frozen=True)
class Command:
    """One subcommand: its settings class and what runs it are looked up when it is chosen, so that help stays quick."""

    name: str
    summary: str
    load: Callable[[], tuple[type[Any], Callable[[Any], int]]]
    examples: tuple[str, ...]
    positional: tuple[str, ...] = ()
    """Fields of the settings that are given without a flag."""


def _cluster(name: str) -> Callable[[], tuple[type[Any], Callable[[Any], int]]]:
    def load() -> tuple[type[Any], Callable[[Any], int]]:
        from kapi.cli import cluster

        return cluster.COMMANDS[name]

    return load


def _module(name: str) -> Callable[[], tuple[type[Any], Callable[[Any], int]]]:
    """A command with a module of its own in kapi.cli."""

    def load() -> tuple[type[Any], Callable[[Any], int]]:
        module = import_module(f"kapi.cli.{name}")
        return module.Settings, module.run

    return load


def _component(name: str) -> Callable[[], tuple[type[Any], Callable[[Any], int]]]:
    def load() -> tuple[type[Any], Callable[[Any], int]]:
        from kapi.cli import components

        return components.command(name)

    return load


COMMANDS = (
    Command("up", "start a cluster on this machine", _cluster("up"), ("kapi up", "kapi up --simulate --nodes 100", "kapi up --foreground")),
    Command("down", "stop it and clean up; its data stays", _cluster("down"), ("kapi down",)),
    Command("status", "show its processes, their memory and its nodes", _cluster("status"), ("kapi status",)),
    Command(
        "doctor", "show what is missing or odd on this machine, and how to mend it", _module("doctor"),
        ("kapi doctor", "kapi doctor --simulate", "kapi doctor --repair --data-dir kapi-data"),
    ),
    Command(
        "logs", "print and follow a component's log", _module("logs"),
        ("kapi logs apiserver -f", "kapi logs kubelet --tail 20 --since 5m"), ("component",),
    ),
    Command("kubeconfig", "print the administrator's kubeconfig", _cluster("kubeconfig"), ("kapi kubeconfig > admin.conf",)),
    Command("token", "print the administrator's bearer token", _cluster("token"), ("kapi token",)),
    Command("reset", "stop it and delete its data", _cluster("reset"), ("kapi reset --yes",)),
    Command(
        "image", "load an image archive into the cluster's containerd", _cluster("image"),
        ("kapi image load busybox.tar",), ("action", "file"),
    ),
    Command(
        "apiserver", "run an API server in the foreground", _component("apiserver"),
        ("kapi apiserver --data-dir kapi-data --port 6443", "kapi apiserver --storage memory:"),
    ),
    Command("controllers", "run the controllers", _component("controllers"), ("kapi controllers --kubeconfig controller-manager.conf",)),
    Command("scheduler", "run the scheduler", _component("scheduler"), ("kapi scheduler --kubeconfig scheduler.conf",)),
    Command("proxy", "run the service proxy (root, nftables)", _component("proxy"), ("kapi proxy --kubeconfig proxy.conf",)),
    Command("simulated", "run a whole simulated cluster in one process", _component("simulated"), ("kapi simulated --nodes 100",)),
    Command("control", "run controllers, scheduler and proxy in one process", _component("control"), ("kapi control --pki kapi-data/pki",)),
)  # fmt: skip


def parser(chosen: str = "") -> argparse.ArgumentParser:
    """The parser; only the chosen command's options are worked out."""
    top = argparse.ArgumentParser(
        prog="kapi", description="Kubernetes in Python.", formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Start with: kapi up",
    )  # fmt: skip
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    for command in COMMANDS:
        examples = "examples:\n" + "\n".join(f"  {e}" for e in command.examples)
        sub = commands.add_parser(
            command.name, help=command.summary, description=command.summary, epilog=examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        if command.name == chosen:
            settings.add_arguments(sub, command.load()[0], positional=command.positional)
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    chosen = next((a for a in given if not a.startswith("-")), "")
    top = parser(chosen)
    parsed = top.parse_args(given)
    command = next((c for c in COMMANDS if c.name == parsed.command), None)
    if command is None:
        top.print_help()
        return 1
    cls, run = command.load()
    try:
        return run(settings.from_arguments(cls, parsed))
    except Failure as why:
        processes.say_failed(str(why))
        print(f"kapi {command.name}: {why}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
