"""The cluster's context in the user's kubeconfig: its name, adding and removing it.

It is called kapi for the default directory's cluster and kapi-NAME for one in a directory NAME, unless `--context` is set; the identity of
the data directory records the name and the file.
"""

import re
from pathlib import Path

import yaml

from certs import userconfig
from certs.kubeconfig import NAME
from certs.userconfig import Entries, Taken
from kapi.cli import advice, datadir
from kapi.cli.progress import Progress
from kapi.process import Failure

_ERRORS = (OSError, ValueError, yaml.YAMLError)


def name(directory: Path) -> str:
    """The name of the cluster's context: the recorded one, else one derived from the directory."""
    known = datadir.read(directory)
    return (known.context if known else "") or _default(directory)


def _default(directory: Path) -> str:
    if directory.resolve() == advice.standard_directory().resolve():
        return NAME
    base = re.sub(r"[^A-Za-z0-9._-]+", "-", directory.name).strip("-") or "cluster"
    return base if base.startswith(f"{NAME}-") else f"{NAME}-{base}"


def _entries(directory: Path, context: str) -> Entries:
    try:
        admin = (directory / "pki" / "admin.conf").read_bytes()
    except OSError:
        admin = b""
    return Entries(context, str(directory), userconfig.authority(admin))


def check(directory: Path, context: str) -> None:
    """Raises Failure when the context cannot be added to the user's kubeconfig."""
    try:
        userconfig.check(_entries(directory, context))
    except Taken as why:
        raise _taken(context, why) from None
    except _ERRORS as why:
        raise _unusable(context, why) from None


def add(directory: Path, context: str, progress: Progress) -> None:
    """Add the context to the user's kubeconfig, and record it in the identity. Raises Failure."""
    path = userconfig.default_path().resolve()
    admin = (directory / "pki" / "admin.conf").read_bytes()
    datadir.update_identity(directory, context=context, kubeconfig=str(path))
    try:
        was_readable = userconfig.merge(admin, _entries(directory, context))
    except Taken as why:
        raise _taken(context, why) from None
    except _ERRORS as why:
        raise _unusable(context, why) from None
    if was_readable:
        progress.note(f"Others could read {path}: now it has the keys of your cluster and is yours alone (mode 0600).")


def remove(directory: Path, progress: Progress) -> list[str]:
    """Remove the context, and return its name if it was there. A kubeconfig that cannot be changed is only noted: the cluster goes down
    all the same."""
    known = datadir.read(directory)
    path = Path(known.kubeconfig) if known and known.kubeconfig else userconfig.default_path()
    context = name(directory)
    try:
        return [context] if userconfig.remove(_entries(directory, context), path) else []
    except _ERRORS as why:
        progress.note(f"The context {context} can't be taken out of {path}: {_reason(why)}.")
        return []


def forget(directory: Path, progress: Progress) -> list[str]:
    """Remove the context of a cluster whose directory is gone, with the record of its name; the kubeconfig knows the directory, too."""
    try:
        return [name for path, name in userconfig.of_directory(directory) if userconfig.remove(Entries(name, str(directory)), path)]
    except _ERRORS as why:
        progress.note(f"Your kubeconfig can't be looked through for the context of {directory}: {_reason(why)}.")
        return []


def rendered(directory: Path) -> str:
    """The administrator's kubeconfig with the name of the cluster's context. Raises OSError, ValueError."""
    data = (directory / "pki" / "admin.conf").read_bytes()
    try:
        config = userconfig.renamed(yaml.safe_load(data), name(directory))
    except (yaml.YAMLError, LookupError, TypeError, ValueError):
        raise ValueError("it is not a kubeconfig") from None
    return str(yaml.safe_dump(config, default_flow_style=False, width=1 << 20))


def _taken(context: str, why: Taken) -> Failure:
    return Failure(f"The context {context} in your kubeconfig {why}. Choose another with --context NAME, or none with --no-kubeconfig.")


def _unusable(context: str, why: Exception) -> Failure:
    path = userconfig.default_path()
    return Failure(f"The context {context} can't go into {path}: {_reason(why)}. Leave it out with --no-kubeconfig.")


def _reason(why: Exception) -> str:
    """One line of an error."""
    if isinstance(why, yaml.YAMLError):
        mark = getattr(why, "problem_mark", None)
        return f"it is not YAML{f' (line {mark.line + 1})' if mark else ''}"
    return str(getattr(why, "strerror", None) or why)
