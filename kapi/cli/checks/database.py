"""Whether the objects can be read: the database of the data directory."""

import os

from kapi.cli.checks.finding import Finding, Scope, ok, quoted, wrong
from kapi.storage import Unusable, opening, repair

_SHOWN = 3


def database(scope: Scope) -> Finding:
    """Every page and every row is looked at, unless a server has it."""
    path = scope.database
    if scope.storage == "memory:":
        return ok("kept in memory")
    if os.path.lexists(path) and not os.access(path, os.R_OK):
        return wrong(f"{path} cannot be read by user {os.geteuid()}", f"ls -l {quoted(path)}")
    try:
        found = repair.problems(path)
    except Unusable as why:
        return ok("in use by a running server") if "in use" in str(why) else wrong(why.reason, f"ls -l {quoted(f'{path}.lock')}")
    if not found:
        return ok(f"{path} is whole" if path.exists() else "not there yet")
    more = f", and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return wrong("; ".join(found[:_SHOWN]) + more, opening.repair_command(path))
