"""The file of static tokens: what is wrong is named with its line, and a token that is printed is one."""

from pathlib import Path

import pytest

from kapi.access import token_file
from kapi.apiserver.settings import Settings, static_tokens
from kapi.objects.user import AUTHENTICATED, User

EXPECTED = 'each line is token,user,uid or token,user,uid,"group1,group2"'
MENDED = "mend it, or delete it and the next start makes one with a new token"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens.csv"


def test_what_is_read(path: Path) -> None:
    path.write_text('# a comment,x\n\nt1,admin,1,"system:masters, more"\nt2,other,2\n')
    assert token_file.read(path) == {
        "t1": User("admin", ("system:masters", "more", AUTHENTICATED), "1"),
        "t2": User("other", (AUTHENTICATED,), "2"),
    }
    assert token_file.administrator(path) == "t1"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"junk\n", "line 1: must have at least 3 columns (token, user name, user uid), found 1"),
        (b"t,u,i,g\nt2,u\n", "line 2: must have at least 3 columns (token, user name, user uid), found 2"),
        (b"t,u,i,g,h\n", f"line 1: must have at most 4 columns, found 5; {EXPECTED}"),
        (b",admin,admin,system:masters\n", f"line 1: empty token; {EXPECTED}"),
        (b"  ,admin,admin,system:masters\n", f"line 1: empty token; {EXPECTED}"),
        (b"t,,admin\n", f"line 1: empty user name; {EXPECTED}"),
        (b"a b,u,i\n", "line 1: a token consists of printable ASCII characters other than spaces"),
        ("ö,u,i\n".encode(), "line 1: a token consists of printable ASCII characters other than spaces"),
        (b"t,u,i\nt,v,j\n", "line 2: the token is there twice"),
        (b't,"u,i\n', "is not a text of comma-separated values (unexpected end of data)"),
        (b"\xff\xfe\x00t", "is not a text of comma-separated values ('utf-8' codec can't decode byte 0xff"),
        (b"t,u\0,i\n", "line 1: a user's name, uid and groups consist of printable characters"),
    ],
)
def test_what_is_refused(path: Path, content: bytes, why: str) -> None:
    path.write_bytes(content)
    with pytest.raises(token_file.Malformed) as refused:
        token_file.read(path)
    assert str(refused.value).startswith(f"token file '{path}'")
    assert why in str(refused.value)
    with pytest.raises(token_file.Malformed, match=MENDED):
        token_file.administrator(path)


@pytest.mark.parametrize("content", ["", "\n\n", "# nothing\n", "t,u,i,other\n"])
def test_a_file_without_an_administrator(path: Path, content: str) -> None:
    """Other static tokens may be none; the file that the server made has the administrator's."""
    path.write_text(content)
    token_file.read(path)
    with pytest.raises(token_file.Malformed, match=rf"has no token of a member of system:masters; {MENDED}"):
        static_tokens(Settings(data_dir=path.parent))
    assert static_tokens(Settings(data_dir=path.parent, token_auth_file=path)) == path
    assert path.read_text() == content


def test_a_directory_and_nothing(path: Path) -> None:
    with pytest.raises(token_file.Malformed, match="can't be read: No such file or directory"):
        token_file.read(path)
    path.mkdir()
    with pytest.raises(token_file.Malformed, match="can't be read: Is a directory"):
        token_file.administrator(path)


def test_the_first_start_makes_one(path: Path) -> None:
    assert static_tokens(Settings(data_dir=path.parent)) == path
    assert len(token_file.administrator(path)) == 32
    assert path.stat().st_mode & 0o777 == 0o600
