"""`kapi`: the table of commands, and running one. They are implemented in modules beside it, the components in packages of their own."""

import errno
import json
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import kapi
from kapi import settings
from kapi.documents.version import VERSION
from kapi.process import Failure, find_system_programs, notify_failed, open_standard_streams

Run = tuple[type[Any], Callable[[Any], int]]
"""The settings class of a command, and the function that runs it."""


_HELP = ("-h", "--help", "help")
_OUTPUT_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""Errors of writing to a file or terminal: the disk is full, the terminal is gone."""
_OTHER_NAMES = {"start": "up", "create": "up", "stop": "down", "delete": "reset", "remove": "reset", "log": "logs"}
"""What others call a command, for suggestions."""


@dataclass(frozen=True)
class Command:
    """One subcommand. Its settings class and function are imported when it is used, so that help stays fast."""

    name: str
    summary: str
    load: Callable[[], Run]
    examples: tuple[str, ...]
    positional: tuple[str, ...] = ()
    """Fields of the settings that are given without a flag."""


def _cluster(name: str) -> Callable[[], Run]:
    def load() -> Run:
        from kapi.cli import cluster

        return cluster.COMMANDS[name]

    return load


def _component(name: str) -> Callable[[], Run]:
    def load() -> Run:
        from kapi.cli import components

        return components.command(name)

    return load


def _module(name: str) -> Callable[[], Run]:
    """A command with a module of its own in kapi.cli."""

    def load() -> Run:
        module = import_module(f"kapi.cli.{name}")
        return module.Settings, module.run

    return load


def _completion() -> Run:
    from kapi.cli import completion

    return completion.Settings, partial(completion.run, commands=COMMANDS)


COMMANDS = (
    Command("up", "start a cluster on this machine", _cluster("up"), ("kapi up", "kapi up --simulate --nodes 100", "kapi up --foreground")),
    Command("down", "stop it and clean up; its data stays", _cluster("down"), ("kapi down",)),
    Command("status", "show its processes, their memory and its nodes", _cluster("status"), ("kapi status",)),
    Command(
        "doctor", "show what is missing or odd on this machine, and how to mend it", _module("doctor"),
        ("kapi doctor", "kapi doctor --simulate", "kapi doctor --repair"),
    ),
    Command(
        "logs", "print and follow a component's log", _module("logs"),
        ("kapi logs --tail 20 --since 5m", "kapi logs apiserver -f"), ("component",),
    ),
    Command("kubeconfig", "print the administrator's kubeconfig", _cluster("kubeconfig"), ("kapi kubeconfig > admin.conf",)),
    Command("token", "print the administrator's bearer token", _cluster("token"), ("kapi token",)),
    Command("reset", "stop it and delete its data", _cluster("reset"), ("kapi reset --yes",)),
    Command(
        "image", "load an image archive into the cluster's containerd", _module("image"),
        ("kapi image load busybox.tar", "kapi image load unnamed.tar.gz --name example.com/team/web:1"), ("action", "file"),
    ),
    Command(
        "certs", "check the cluster's keys and certificates, or replace an authority", _module("certificates"),
        ("kapi certs check", "kapi certs replace ca"), ("action", "name"),
    ),
    Command(
        "version", "print the versions of kapi, the cluster and this machine", _module("version"),
        ("kapi version", "kapi version --client -o json"),
    ),
    Command(
        "completion", "print a script that completes commands and options in a shell", _completion,
        ("source <(kapi completion bash)", "source <(kapi completion zsh)", "kapi completion fish | source"), ("shell",),
    ),
    Command(
        "apiserver", "run an API server in the foreground", _component("apiserver"),
        ("kapi apiserver --data-dir kapi-data --port 6443", "kapi apiserver --storage memory:"),
    ),
    Command(
        "controllers", "run the controllers", _component("controllers"),
        ("kapi controllers --kubeconfig kapi-data/pki/controller-manager.conf",),
    ),
    Command("scheduler", "run the scheduler", _component("scheduler"), ("kapi scheduler --kubeconfig kapi-data/pki/scheduler.conf",)),
    Command("proxy", "run the service proxy (root, nftables)", _component("proxy"), ("kapi proxy --kubeconfig kapi-data/pki/proxy.conf",)),
    Command("simulated", "run a whole simulated cluster in one process", _component("simulated"), ("kapi simulated --nodes 100",)),
    Command("control", "run controllers, scheduler and proxy in one process", _component("control"), ("kapi control --pki kapi-data/pki",)),
)  # fmt: skip
BY_NAME = {command.name: command for command in COMMANDS}


def parser(command: Command) -> settings.Parser:
    """The parser of one command's options."""
    out = settings.Parser(f"kapi {command.name}", command.summary, command.examples)
    settings.add_arguments(out, command.load()[0], positional=command.positional)
    return out


def usage() -> str:
    """The output of `kapi` without a command."""
    lines = ["usage: kapi COMMAND [options]", "", "Kubernetes in Python.", "", "commands:"]
    lines += [f"  {command.name:12} {command.summary}" for command in COMMANDS]
    return "\n".join([*lines, "", "Start with: kapi up", "Options of a command: kapi COMMAND --help"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    open_standard_streams()
    find_system_programs()
    try:
        try:
            status = _main(list(sys.argv[1:] if arguments is None else arguments))
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:  # the reader of our output has closed the pipe
        _forget_output()
        return 128 + signal.SIGPIPE
    except OSError as why:
        if why.filename is not None or why.errno not in _OUTPUT_ERRORS:
            raise
        _forget_output()
        print(f"kapi: The output can't be written: {why.strerror}.", file=sys.stderr)
        return 1
    return status


def _forget_output() -> None:
    """Redirect standard output to /dev/null, so that Python does not flush it again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _main(arguments: list[str]) -> int:
    if arguments[1:] and arguments[0] in _HELP:
        arguments = [arguments[1], "--help"]
    name = arguments[0] if arguments else "help"
    if name in _HELP:
        print(usage())
    elif name == "--version":
        print(f"kapi {kapi.__version__} (Kubernetes {VERSION['gitVersion']})")
    elif name not in BY_NAME:
        print(f"kapi: error: {_unknown(arguments)} (see kapi --help)", file=sys.stderr)
        return 2
    else:
        return _run(BY_NAME[name], arguments[1:])
    return 0


def _unknown(arguments: list[str]) -> str:
    """What is wrong with a command line that begins with no command."""
    name = arguments[0]
    if name.startswith("-"):
        commands = [word for word in arguments if word in BY_NAME]
        rest = [word for word in arguments if word not in commands]
        return f"options follow the command: {shlex.join(['kapi', *(commands or ['COMMAND']), *rest])}"
    known = _OTHER_NAMES.get(name.lower(), name.lower())
    meant = f"; did you mean {known}?" if known in BY_NAME else settings.suggestion(name, BY_NAME)
    return f"unknown command {json.dumps(name)}{meant}"


def _run(command: Command, arguments: list[str]) -> int:
    cls, run = command.load()
    chosen = settings.parse(parser(command), cls, arguments)
    try:
        return run(chosen)
    except Failure as why:
        message = str(why)
    except OSError as why:
        if why.filename is None:
            raise
        message = f"{why.filename} can't be used: {why.strerror}."
    notify_failed(message)
    print(f"kapi {command.name}: {message}", file=sys.stderr)
    return 1
