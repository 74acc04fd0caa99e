"""Every program with a command line of ours: how it is called, its settings, and the examples of its help."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import bench.__main__ as bench
import kubelet.__main__ as kubelet
from conformance import fuzz, soak
from kapi import settings
from kapi.cli import commands as kapi
from kubelet.settings import Settings as KubeletSettings


@dataclass(frozen=True)
class Program:
    """One command line."""

    words: tuple[str, ...]
    """How it is called: ('kapi', 'up')."""
    parser: Callable[[], settings.Parser]
    cls: type[Any]
    examples: tuple[str, ...]
    positional: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return " ".join(self.words)


PROGRAMS = (
    *(
        Program(("kapi", c.name), lambda c=c: kapi.parser(c), c.load()[0], c.examples, c.positional)  # type: ignore[misc]
        for c in kapi.COMMANDS
    ),
    Program(("kubelet",), kubelet.parser, KubeletSettings, kubelet.EXAMPLES),
    Program(("python", "-m", "conformance.soak"), soak.parser, soak.Settings, soak.EXAMPLES),
    Program(("python", "-m", "conformance.fuzz"), fuzz.parser, fuzz.Settings, fuzz.EXAMPLES, ("documents",)),
    Program(("python", "-m", "bench"), bench.parser, bench.Settings, bench.EXAMPLES),
)
