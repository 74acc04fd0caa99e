"""Which directories are kapi's data directories, and the rules for making, using and deleting one.

A data directory has a file kapi.json, its identity, written when the directory was new or empty. `prepare` makes or checks one before
anything starts in it; `removable` says whether it may be deleted. What may be in one is in `kapi.cli.layout`.
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
from kapi.cli.layout import IDENTITY, SIGNS
from kapi.process import PRIVATE, Failure
from kubelet import mounts

log = logging.getLogger(__name__)
FORMAT = 1
_OPTIONS = 1024
"""Characters of the options that are kept."""
_WAYS = {
    errno.ENOSPC: "Make room on its disk and try again.", errno.EDQUOT: "Make room in your quota and try again.",
    errno.EROFS: "Mount its file system so that it can be written, and try again.",
}  # fmt: skip
"""What to do about a cluster whose directory can't be used."""
_LISTED = 3
"""So many names are said of what is foreign; of the others, how many there are."""


@dataclass(frozen=True)
class Identity:
    """What kapi.json holds: which cluster this is, and where its context is in the user's kubeconfig."""

    uid: str
    format: int = FORMAT
    context: str = ""
    """Name of its context; empty: it follows from the directory's name."""
    kubeconfig: str = ""
    """The file the context was put into; empty: none."""
    options: str = ""
    """Of the last `kapi up`, as a shell reads them; empty: none, or too many to keep."""
    directory: str = ""
    """Where the data directory was when it was used last: a copy is told from it by this."""


def read(directory: Path) -> Identity | None:
    """The identity of a data directory; None where there is none, or a broken one. Raises Failure for one of a newer kapi."""
    try:
        with open(directory / IDENTITY, "rb") as file:
            known = json.loads(file.read(limits.IDENTITY_BYTES))
        found = Identity(**{f.name: known[f.name] for f in fields(Identity) if f.name in known})
    except (OSError, ValueError, TypeError):
        return None
    if not all(isinstance(getattr(found, f.name), f.type) for f in fields(Identity) if isinstance(f.type, type)):
        return None
    if found.format > FORMAT:
        raise Failure(f"{directory} was made by a newer kapi (format {found.format}, this one knows {FORMAT}).")
    return found


def write(directory: Path, identity: Identity) -> None:
    """Raises OSError."""
    files.write(directory / IDENTITY, json.dumps(asdict(identity)).encode() + b"\n", 0o600)


def remember(directory: Path, **facts: str) -> None:
    """Keep facts of its identity: where the cluster's context is, how it was started. Raises OSError."""
    if (known := read(directory)) and (new := replace(known, **facts)) != known:  # type: ignore[arg-type]
        write(directory, new)


def remember_start(directory: Path, options: Sequence[str]) -> None:
    """Keep how it was started, where it is short enough. Raises OSError."""
    text = shlex.join(options)
    remember(directory, options=text if len(text) <= _OPTIONS else "")


# which directory ----------------------------------------------------------------------------------------------------------------------


def exists(directory: Path, command: str, *options: str) -> bool:
    """Whether there is such a directory. Raises Failure for another user's, whom to run the command as."""
    try:
        if (other := keeper(directory)) is not None:
            raise Failure(f"{belongs(directory, other)}. Go on as {user(other)}: {as_keeper(directory, other, command, *options)}")
        facts = os.stat(directory)
        if stat.S_ISDIR(facts.st_mode):
            os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as why:
        raise Failure(f"{directory} can't be read: {why.strerror}.") from None
    return stat.S_ISDIR(facts.st_mode)


def keeper(directory: Path) -> int | None:
    """The other user whose directory it is, or who hides it from this one; None where it is this one's or is not there. Raises OSError."""
    for path in (directory, *directory.absolute().parents):
        try:
            facts = os.stat(path)
        except PermissionError:
            continue
        except (FileNotFoundError, NotADirectoryError):
            return None
        return facts.st_uid if stat.S_ISDIR(facts.st_mode) and facts.st_uid != os.geteuid() else None
    return None


def belongs(directory: Path, other: int) -> str:
    """'/srv/demo belongs to root, not to me'."""
    return f"{directory} belongs to {user(other)}, not to {user(os.geteuid())}"


def as_keeper(directory: Path, other: int, command: str, *options: str) -> str:
    """The command for the user whose directory it is."""
    name = user(other)
    return advice.sudo(command, directory, *options, user=f"#{name}" if name.isdigit() else name)


def start(directory: Path) -> str:
    """The `kapi up` that starts the cluster as it was started last, or for the first time."""
    return advice.command("up", directory, *(started_with(directory) or advice.first_options()))


def started_with(directory: Path) -> list[str]:
    """The options of the last `kapi up`, where they are known."""
    known = read(directory)
    return shlex.split(known.options) if known else []


def is_cluster(directory: Path) -> bool:
    """Whether a directory that exists is kapi's: it has an identity, or is a cluster of a kapi that wrote none. Raises Failure."""
    return read(directory) is not None or (_has_signs(directory) and not _foreign(directory))


def _has_signs(directory: Path) -> bool:
    return all((directory / name).is_file() and not (directory / name).is_symlink() for name in SIGNS)


def _foreign(directory: Path, table: layout.Table = layout.KNOWN) -> list[str]:
    with layout.opened(directory) as top:
        return layout.foreign(top, table)


def user(uid: int) -> str:
    """The name of a user, or the number of one who has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _is_home(directory: Path) -> bool:
    uids = {os.geteuid(), directory.stat().st_uid, int(os.environ.get("SUDO_UID", "0"))}
    homes = {Path.home()}
    for uid in uids:
        with contextlib.suppress(KeyError):
            homes.add(Path(pwd.getpwuid(uid).pw_dir))
    return directory.resolve() in {home.resolve() for home in homes}


def listed(names: list[str]) -> str:
    """'a, b, c and 2 more'."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


# making one ---------------------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def entered(directory: Path, command: str, *options: str) -> Iterator[None]:
    """The directory, made where it is missing and locked for one command; a new one goes again when nothing was put into it."""
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
    except OSError as why:
        raise unusable(directory, why) from None


def _remove(directories: list[Path]) -> None:
    """Those that are empty, from the first on."""
    with contextlib.suppress(OSError):
        for path in directories:
            path.rmdir()


def unusable(directory: Path, why: OSError) -> Failure:
    """The sentence for a file of the cluster that can't be read or written."""
    file = f" ({why.filename})" if why.filename and str(why.filename) != str(directory) else ""
    another = "Name another with --data-dir."
    with contextlib.suppress(OSError):
        if read(directory):  # what it holds is nowhere else
            another = _WAYS.get(why.errno or 0, another)
    return Failure(f"The data directory {directory} can't be used: {why.strerror or why}{file}. {another}")


def prepare(directory: Path) -> list[str]:
    """Make sure that an existing directory is a data directory, that only its user gets at it, and that it can be written.

    An empty one becomes one. What was mended is returned, a sentence each. Raises Failure for a foreign directory, OSError.
    """
    if directory == Path("/") or _is_home(directory):
        raise Failure(f"{directory} can't be a data directory: kapi needs one of its own. Name another with --data-dir.")
    said = _identified(directory)
    with layout.opened(directory) as top:
        if others := layout.owned_by_others(top):
            me, path = user(os.geteuid()), directory / others[0]
            mend = f"chown {me} {shlex.quote(str(path))}"
            raise Failure(f"{path} belongs to {user(path.lstat().st_uid)}, not to {me}. Give it back: {mend}")
        mended = layout.mend(top)
        if os.fstat(top).st_mode & PRIVATE:
            os.fchmod(top, 0o700)
            mended.append(str(directory))
    if mended:
        said.append(f"Permissions in {directory} were mended, only you may use what is there: {listed(mended)}.")
    return said


def _identified(directory: Path) -> list[str]:
    """Give a directory its identity where it has none."""
    if known := read(directory):
        return _placed(directory, known)
    empty = not _foreign(directory, layout.NEW)
    if not empty and not is_cluster(directory):
        raise Failure(_not_ours(directory))
    broken = (directory / IDENTITY).exists()
    write(directory, Identity(str(uuid.uuid4()), directory=str(directory)))
    if broken:
        return [f"{directory / IDENTITY} was broken and has been written anew."]
    return [] if empty else [f"The cluster in {directory} was made by an earlier kapi: it now has an identity ({IDENTITY})."]


def _placed(directory: Path, known: Identity) -> list[str]:
    """Note where the directory is now. A copy of one that is still there is another cluster: with an identity and a context of its own."""
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
    names = listed(_foreign(directory) or sorted(os.listdir(directory)))
    what = f"it has {state} {IDENTITY} and holds {names}"
    return f"{directory} is not a data directory of kapi: {what}. Name a new or empty one with --data-dir."


# deleting one -------------------------------------------------------------------------------------------------------------------------


def removable(directory: Path) -> None:
    """Raises Failure for a directory that must not be deleted, with what to do about it. `directory` is as the user named it."""
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
    if foreign := _foreign(directory):
        raise Failure(f"{directory} holds what is not kapi's: {listed(foreign)}. {kept}; move it away, then: {again}")
    if mounted := [m for m in mounts.below(directory) if not m.startswith((f"{directory}/containerd/", f"{directory}/kubelet/pods/"))]:
        what = "is a mount point" if str(directory) in mounted else f"has something mounted at {listed(mounted)}"
        raise Failure(f"{directory} {what}. {kept}; unmount it first: umount {shlex.quote(mounted[0])}")
    for path in (directory, directory.parent):
        if not os.access(path, os.W_OK):
            why = "Read-only file system" if os.statvfs(path).f_flag & os.ST_RDONLY else "Permission denied"
            raise Failure(f"{directory} can't be deleted: {why} ({path}). {kept}.")
