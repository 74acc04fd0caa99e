"""`kapi doctor`: runs the table of checks in kapi.cli.checks and prints a row each, with how to fix it; `--repair` repairs the database.

Nothing is changed without --repair.
"""

import dataclasses
import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Literal

from kapi.cli import advice, checks, datadir
from kapi.cli.checks import Check, Finding, Scope
from kapi.cli.cluster import ClusterSettings
from kapi.cli.processes import Process
from kapi.process import Failure, reason
from kapi.settings import types
from kapi.storage import Unusable, repair

_SIGNS = {"ok": "✓", "odd": "!", "wrong": "✗"}
_COLOURS = {"ok": "32", "odd": "33", "wrong": "31"}
_SHOWN = 20
"""Damaged objects that are printed; all are in the report."""


@dataclass(frozen=True)
class Settings(ClusterSettings):
    """What is missing or odd on this machine."""

    simulate: bool = False
    """Only what a simulated cluster needs, as when the cluster that runs is one."""
    port: types.Port = 6443
    """Port of the API server."""
    storage: types.Storage = ""
    """Path of the database, when it is not kapi.db in the data directory."""
    repair: bool = False
    """Repair a damaged database: what is damaged is set aside, the original is kept."""
    output: Literal["text", "json"] = field(default="text", metadata={"short": "-o"})
    """How to print: text or json."""


def run(settings: Settings) -> int:
    """Run all checks. Returns 1 when something is wrong."""
    directory = settings.data_dir.absolute()
    simulate = settings.simulate or bool(Process("simulated", directory).pid)
    scope = Scope(directory, settings.storage, settings.port, simulate)
    closed = datadir.other_owner(scope.data_dir) is not None
    if settings.repair:
        settings.directory_exists("doctor", *advice.options(settings))
        _repair(scope)
    shown = _Text() if settings.output == "text" else _Json()
    for check in checks.CHECKS:
        if not (check.containers and simulate) and not (check.inside and closed):
            shown.begin(check)
            shown.row(check, run_check(check, scope))
    shown.end()
    return 1 if shown.count["wrong"] else 0


def run_check(check: Check, scope: Scope) -> Finding:
    """The finding of a check, or why it could not run."""
    try:
        return check.look(scope)
    except (OSError, ValueError, subprocess.SubprocessError) as why:
        again = advice.sudo("doctor", scope.data_dir, *scope.options) if os.geteuid() else advice.command("doctor", scope.data_dir)
        return Finding("odd", f"cannot be told: {reason(why)}", again)


class _Json:
    """Prints all findings at the end, as a JSON list."""

    def __init__(self) -> None:
        self.count = dict.fromkeys(_SIGNS, 0)
        self._rows: list[dict[str, str]] = []

    def begin(self, check: Check) -> None:
        """Nothing is printed before the end."""

    def row(self, check: Check, finding: Finding) -> None:
        self.count[finding.state] += 1
        self._rows.append({"what": check.name, **dataclasses.asdict(finding)})

    def end(self) -> None:
        print(json.dumps(self._rows, indent=2, ensure_ascii=False))


class _Text(_Json):
    """Prints a row at a time; on a terminal in colours, with the check that is running."""

    def __init__(self) -> None:
        super().__init__()
        self._live = sys.stdout.isatty()
        self._coloured = self._live and not os.environ.get("NO_COLOR")

    def begin(self, check: Check) -> None:
        if self._live:
            print(f"… {check.name}", end="\r", flush=True)

    def row(self, check: Check, finding: Finding) -> None:
        super().row(check, finding)
        sign = _SIGNS[finding.state]
        sign = f"\033[{_COLOURS[finding.state]}m{sign}\033[0m" if self._coloured else sign
        mend = f"; to mend: {finding.mend}" if finding.mend else ""
        print(f"{sign} {check.name}: {finding.found}{mend}" + ("\033[K" if self._live else ""), flush=True)

    def end(self) -> None:
        wrong, odd = self.count["wrong"], self.count["odd"]
        print(f"{len(self._rows)} looked at: {wrong} wrong, {odd} odd." if wrong or odd else f"{len(self._rows)} looked at: all is well.")


def _repair(scope: Scope) -> None:
    """Repair the database if it is damaged, and print the report to standard error."""
    from kapi.apiserver import assembly  # the whole server: only to repair
    from kapi.registry import catalogue

    path = scope.database
    describe = assembly.describer(catalogue.standard({}))
    try:
        found = repair.problems(path, describe)
        report = repair.repair(path, describe) if found else None
    except Unusable as why:
        raise Failure(f"{str(why)[:1].upper()}{str(why)[1:]}") from None
    except (OSError, sqlite3.Error) as why:
        raise Failure(f"{path} cannot be repaired: {reason(why)}. What was there is unchanged, or below {path}.set-aside.") from None
    for line in lines(report) if report else [f"There is nothing to repair in {path}."]:
        print(line, file=sys.stderr)


def lines(report: repair.Report) -> list[str]:
    """The report of a repair as sentences."""
    out = [f"Repaired: {report.objects} objects are whole. The original is kept in {report.directory}."]
    for damage in report.damaged[:_SHOWN]:
        outcome = f"went back to its state of revision {damage.older}" if damage.older else "is set aside"
        out.append(f"  {damage.key} (revision {damage.revision}) {outcome}: {damage.why}; its bytes are in {damage.file}.")
    if len(report.damaged) > _SHOWN:
        out.append(f"  {len(report.damaged) - _SHOWN} more are listed in {report.directory}/report.json.")
    if report.newest < report.acknowledged:
        out.append(f"  What was written after revision {report.newest}, up to {report.acknowledged}, is lost.")
    if report.unreadable:
        out.append(f"  {report.unreadable} pages could not be read; objects whose names are not known may have been in them.")
    return [*out, f"The cluster goes on at revision {report.revision}; start it as usual."]
