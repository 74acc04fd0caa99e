"""Data directories: how one is recognized, and the rules for creating, using and deleting one.

A data directory has a file kapi.json, its identity, written when the directory was new or empty. `prepare` creates or checks one before
anything starts in it; `check_removable` checks whether it may be deleted. `kapi.cli.layout` has the table of its files.
"""

import contextlib
import errno
import json
import logging
import os
import pwd
import shlex
import stat
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from certs import files
from kapi import limits
from kapi.cli import advice, layout, locks
from kapi.cli.layout import IDENTITY, LEGACY_FILES
from kapi.process import PRIVATE, Failure
from kubelet import mounts

log = logging.getLogger(__name__)
FORMAT = 1
_OPTIONS_CHARS = 1024
"""The most characters of options that are kept."""
_ADVICE = {
    errno.ENOSPC: "Make room on its disk and try again.", errno.EDQUOT: "Make room in your quota and try again.",
    errno.EROFS: "Mount its file system so that it can be written, and try again.",
}  # fmt: skip
"""What to do when the directory of a cluster can't be used."""
_SHOWN_NAMES = 3
"""How many names a message lists; the others are counted."""


@dataclass(frozen=True)
class Identity:
    """The content of kapi.json: which cluster this is, and where its context is in the user's kubeconfig."""

    uid: str
    format: int = FORMAT
    context: str = ""
    """Name of its context; empty: derived from the directory's name."""
    kubeconfig: str = ""
    """The kubeconfig file that has the context; empty: none."""
    options: str = ""
    """Options of the last `kapi up`, quoted for a shell; empty: none, or too long."""
    directory: str = ""
    """Path of the data directory when it was last used, by which a copy is recognized."""


def read(directory: Path) -> Identity | None:
    """The identity of a data directory; None where there is none, or a broken one. Raises Failure for one of a newer kapi."""
    try:
        with open(directory / IDENTITY, "rb") as file:
            known = json.loads(file.read(limits.IDENTITY_BYTES))
        found = Identity(**{f.name: known[f.name] for f in fields(Identity) if f.name in known})
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    if not all(isinstance(getattr(found, f.name), f.type) for f in fields(Identity) if isinstance(f.type, type)):
        return None
    if found.format > FORMAT:
        raise Failure(f"{directory} was made by a newer kapi (format {found.format}, this one knows {FORMAT}).")
    return found


def write(directory: Path, identity: Identity) -> None:
    """Raises OSError."""
    files.write(directory / IDENTITY, json.dumps(asdict(identity)).encode() + b"\n", 0o600)


def update_identity(directory: Path, **facts: str) -> None:
    """Change fields of the identity, if there is one. Raises OSError."""
    if (known := read(directory)) and (new := replace(known, **facts)) != known:  # type: ignore[arg-type]
        write(directory, new)


def record_options(directory: Path, options: Sequence[str]) -> None:
    """Record the options of `kapi up` in the identity, unless they are too long. Raises OSError."""
    text = shlex.join(options)
    update_identity(directory, options=text if len(text) <= _OPTIONS_CHARS else "")


# which directory ----------------------------------------------------------------------------------------------------------------------


def exists(directory: Path, command: str, *options: str) -> bool:
    """Whether there is such a directory. Raises Failure for another user's, with the command to run as that user."""
    try:
        if (other := other_owner(directory)) is not None:
            raise Failure(f"{belongs_to(directory, other)}. Go on as {user(other)}: {as_owner(directory, other, command, *options)}")
        facts = os.stat(directory)
        if stat.S_ISDIR(facts.st_mode):
            os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as why:
        raise Failure(f"{directory} can't be read: {why.strerror}. Name another with --data-dir.") from None
    return stat.S_ISDIR(facts.st_mode)


def may_hold_cluster(directory: Path) -> bool:
    """Whether it is a data directory, or can become one: there is nothing yet, or what a start left that was cut short. Raises OSError."""
    if not os.path.lexists(directory):
        return True
    return directory.is_dir() and (_is_new(directory) or is_cluster(directory))


def absence(directory: Path) -> str:
    """What to do where there is no cluster."""
    if may_hold_cluster(directory):
        return f"There is no cluster in {directory}. Start one with: {start_command(directory)}"
    what = "data directory of kapi" if directory.is_dir() else "directory"
    return f"{directory} is not a {what}. Name another with --data-dir."


def other_owner(directory: Path) -> int | None:
    """The uid of the other user who owns the directory, or one above it that this user cannot enter; else None. Raises OSError."""
    for path in (directory, *directory.absolute().parents):
        try:
            facts = os.stat(path)
        except PermissionError:
            continue
        except (FileNotFoundError, NotADirectoryError):
            return None
        return facts.st_uid if stat.S_ISDIR(facts.st_mode) and facts.st_uid != os.geteuid() else None
    return None


def belongs_to(directory: Path, other: int) -> str:
    """'/srv/demo belongs to root, not to me', or '/root/x can't be looked into: /root belongs to root, not to me'."""
    closed = next(path for path in (directory, *directory.absolute().parents) if not _is_hidden(path))
    hidden = f"{directory} can't be looked into: " if closed != directory else ""
    return f"{hidden}{closed} belongs to {user(other)}, not to {user(os.geteuid())}"


def _is_hidden(path: Path) -> bool:
    try:
        os.stat(path)
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def as_owner(directory: Path, other: int, command: str, *options: str) -> str:
    """The command, run by sudo as the owner of the directory."""
    name = user(other)
    return advice.sudo(command, directory, *options, user=f"#{name}" if name.isdigit() else name)


def start_command(directory: Path) -> str:
    """The `kapi up` command with the options of the last start, or with those of a first one."""
    return advice.command("up", directory, *(last_options(directory) or advice.first_options()))


def last_options(directory: Path) -> list[str]:
    """The options of the last `kapi up`, where they are known."""
    known = read(directory)
    return shlex.split(known.options) if known else []


def is_cluster(directory: Path) -> bool:
    """Whether an existing directory is a data directory: it has an identity, or the layout of an older kapi. Raises Failure."""
    return read(directory) is not None or (_has_legacy_files(directory) and not _unknown_entries(directory))


def _has_legacy_files(directory: Path) -> bool:
    return all((directory / name).is_file() and not (directory / name).is_symlink() for name in LEGACY_FILES)


def _is_new(directory: Path) -> bool:
    """Whether it holds nothing, or only what is written before the identity."""
    return not _unknown_entries(directory, layout.NEW)


def _unknown_entries(directory: Path, table: layout.Table = layout.KNOWN) -> list[str]:
    with layout.open_directory(directory) as top:
        return layout.unknown_entries(top, table)


def user(uid: int) -> str:
    """The name of a user, or the number of one who has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _is_home(directory: Path) -> bool:
    uids = {os.geteuid(), directory.stat().st_uid, int(os.environ.get("SUDO_UID", "0"))}
    homes = {files.home()}
    for uid in uids:
        with contextlib.suppress(KeyError):
            homes.add(Path(pwd.getpwuid(uid).pw_dir))
    return directory.resolve() in {home.resolve() for home in homes}


def abbreviated(names: list[str]) -> str:
    """'a, b, c and 2 more'."""
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    return ", ".join(names[:_SHOWN_NAMES]) + more


# making one ---------------------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def locked(directory: Path, command: str, *options: str) -> Iterator[None]:
    """Lock the directory for one command. It is created where it is missing, and removed again if it is empty at the end."""
    missing: list[Path] = []
    try:
        if not exists(directory, command, *options):
            missing = [path for path in (directory, *directory.parents) if not path.exists()]
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locks.exclusive(directory):
            try:
                yield
            finally:
                if missing and not os.listdir(directory):
                    _remove(missing)
    except KeyboardInterrupt:
        if not locks.holders(directory):
            _remove(missing)  # it came before the directory was locked
        raise
    except OSError as why:
        raise unusable(directory, why) from None


def _remove(directories: list[Path]) -> None:
    """Remove the directories up to the first that is not empty."""
    with contextlib.suppress(OSError):
        for path in directories:
            path.rmdir()


def unusable(directory: Path, why: OSError) -> Failure:
    """The failure for a file of the cluster that can't be read or written."""
    file = f" ({why.filename})" if why.filename and str(why.filename) != str(directory) else ""
    another = "Name another with --data-dir."
    with contextlib.suppress(OSError):
        if read(directory):  # what it holds is nowhere else
            another = _ADVICE.get(why.errno or 0, another)
    return Failure(f"The data directory {directory} can't be used: {why.strerror or why}{file}. {another}")


def prepare(directory: Path) -> list[str]:
    """Make sure that an existing directory is a data directory, that only its user can read it, and that it is writable.

    An empty one becomes one. Returns what was changed, a sentence each. Raises Failure for a foreign directory, OSError.
    """
    if directory == Path("/") or _is_home(directory):
        raise Failure(f"{directory} can't be a data directory: kapi needs one of its own. Name another with --data-dir.")
    notes = _ensure_identity(directory)
    with layout.open_directory(directory) as top:
        if others := layout.owned_by_others(top):
            me, path = user(os.geteuid()), directory / others[0]
            mend = f"chown {me} {shlex.quote(str(path))}"
            raise Failure(f"{path} belongs to {user(path.lstat().st_uid)}, not to {me}. Give it back: {mend}")
        mended = layout.fix_permissions(top)
        if os.fstat(top).st_mode & PRIVATE:
            os.fchmod(top, 0o700)
            mended.append(str(directory))
    if mended:
        notes.append(f"Permissions in {directory} were mended, only you may use what is there: {abbreviated(mended)}.")
    return notes


def _ensure_identity(directory: Path) -> list[str]:
    """Write the identity of a directory that has none. Returns notes. Raises Failure for a foreign directory."""
    if known := read(directory):
        return _update_location(directory, known)
    empty = _is_new(directory)
    if not empty and not is_cluster(directory):
        raise Failure(_not_ours(directory))
    broken = (directory / IDENTITY).exists()
    write(directory, Identity(str(uuid.uuid4()), directory=str(directory)))
    if broken:
        return [f"{directory / IDENTITY} was broken and has been written anew."]
    return [] if empty else [f"The cluster in {directory} was made by an earlier kapi: it now has an identity ({IDENTITY})."]


def _update_location(directory: Path, known: Identity) -> list[str]:
    """Record the directory's path. A copy of a directory that still exists is another cluster, with its own identity and context."""
    if known.directory == str(directory):
        return []
    original = Path(known.directory)
    if known.directory and (other := read(original)) and other.uid == known.uid and not os.path.samefile(original, directory):
        options = "" if "--context" in known.options else known.options  # a copy has a context of its own
        write(directory, Identity(str(uuid.uuid4()), options=options, directory=str(directory)))
        return [f"{directory} is a copy of {original}: it is a cluster of its own now."]
    write(directory, replace(known, directory=str(directory)))
    return []


def _not_ours(directory: Path) -> str:
    state = "a broken" if (directory / IDENTITY).exists() else "no"
    names = abbreviated(_unknown_entries(directory) or sorted(os.listdir(directory)))
    what = f"it has {state} {IDENTITY} and holds {names}"
    return f"{directory} is not a data directory of kapi: {what}. Name a new or empty one with --data-dir."


# deleting one -------------------------------------------------------------------------------------------------------------------------


def check_removable(directory: Path) -> None:
    """Raises Failure for a directory that must not be deleted, with what to do. `directory` is the path as the user wrote it."""
    kept = "Nothing was deleted"
    again = advice.command("reset", directory)
    if directory.is_symlink():
        other = advice.command("reset", directory.resolve())
        raise Failure(f"{directory} is a link to {directory.resolve()}. {kept}; name the directory itself: {other}")
    directory = directory.resolve()
    if directory == Path("/") or _is_home(directory):
        raise Failure(f"{directory} is {'the root' if directory == Path('/') else 'a home'} directory. {kept}.")
    if not is_cluster(directory):
        holds = "is empty" if not os.listdir(directory) else f"has {'a broken' if (directory / IDENTITY).exists() else 'no'} {IDENTITY}"
        raise Failure(f"{directory} is not a data directory of kapi: it {holds}. {kept}.")
    if foreign := _unknown_entries(directory):
        raise Failure(f"{directory} holds what is not kapi's: {abbreviated(foreign)}. {kept}; move it away, then: {again}")
    if mounted := [m for m in mounts.below(directory) if not m.startswith((f"{directory}/containerd/", f"{directory}/kubelet/pods/"))]:
        what = "is a mount point" if str(directory) in mounted else f"has something mounted at {abbreviated(mounted)}"
        raise Failure(f"{directory} {what}. {kept}; unmount it first: umount {shlex.quote(mounted[0])}")
    for path in (directory, directory.parent):
        if not os.access(path, os.W_OK):
            why = "Read-only file system" if os.statvfs(path).f_flag & os.ST_RDONLY else "Permission denied"
            raise Failure(f"{directory} can't be deleted: {why} ({path}). {kept}.")
