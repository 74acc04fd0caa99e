"""The static token file, as of kube-apiserver's --token-auth-file: CSV lines of token,user,uid,"group1,group2"."""

import csv
from pathlib import Path

from kapi.objects.user import AUTHENTICATED, MASTERS, User

_EXPECTED = 'each line is token,user,uid or token,user,uid,"group1,group2"'
_REPAIR_ADVICE = "mend it, or delete it and the next start makes one with a new token"


class Malformed(ValueError):
    """A token file that cannot be used; the message is one sentence for the user."""


def read(path: Path) -> dict[str, User]:
    """{token: user}. Raises Malformed."""
    users: dict[str, User] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.reader(file, skipinitialspace=True, strict=True)
            for row in rows:
                if row and not row[0].startswith("#"):
                    token, user = _user(path, rows.line_num, row)
                    if token in users:
                        raise Malformed(f"token file '{path}', line {rows.line_num}: the token is there twice")
                    users[token] = user
    except (UnicodeDecodeError, csv.Error) as why:
        raise Malformed(f"token file '{path}' is not a text of comma-separated values ({why}); {_EXPECTED}") from None
    except OSError as why:
        raise Malformed(f"token file '{path}' can't be read: {why.strerror}") from None
    return users


def _user(path: Path, line: int, row: list[str]) -> tuple[str, User]:
    """(token, user) of one line. Raises Malformed."""
    where = f"token file '{path}', line {line}"
    if len(row) < 3:
        raise Malformed(f"{where}: must have at least 3 columns (token, user name, user uid), found {len(row)}")
    if len(row) > 4:
        raise Malformed(f"{where}: must have at most 4 columns, found {len(row)}; {_EXPECTED}")
    token, name, uid, *more = row
    if not token.strip() or not name.strip():
        raise Malformed(f"{where}: empty {'token' if not token.strip() else 'user name'}; {_EXPECTED}")
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise Malformed(f"{where}: a token consists of printable ASCII characters other than spaces")
    if not f"{name}{uid}{''.join(more)}".isprintable():
        raise Malformed(f"{where}: a user's name, uid and groups consist of printable characters")
    groups = tuple(group.strip() for text in more for group in text.split(",") if group.strip())
    return token, User(name, (*groups, *(() if AUTHENTICATED in groups else (AUTHENTICATED,))), uid)


def administrator(path: Path) -> str:
    """The first token of a member of system:masters in the generated file. Raises Malformed."""
    try:
        for token, user in read(path).items():
            if MASTERS in user.groups:
                return token
    except Malformed as why:
        raise Malformed(f"{why}; {_REPAIR_ADVICE}") from None
    raise Malformed(f"token file '{path}' has no token of a member of {MASTERS}; {_REPAIR_ADVICE}")
