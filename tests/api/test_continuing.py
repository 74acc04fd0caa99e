import base64
from typing import Any

import orjson
import pytest

from kapi.api import continuing
from kapi.objects import errors

SAID = "invalid continue token: continue key is not valid"


def token(value: Any) -> str:
    raw = value if isinstance(value, bytes) else orjson.dumps(value)
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def made(**fields: Any) -> str:
    return token({"v": "meta.k8s.io/v1", "rv": 5, "start": "default/a\0"} | fields)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("abc!e", ": illegal base64 data at input byte 3"),
        ("ü", ": illegal base64 data at input byte 0"),
        ("abcd=", ": illegal base64 data at input byte 4"),
        ("abcde", ": illegal base64 data at input byte 4"),
        ("e", ": illegal base64 data at input byte 0"),
        (token(b"{"), ": unexpected end of JSON input"),
        (token(b"x\0"), ": invalid character 'x' looking for beginning of value"),
        (token(b"{\0"), r": invalid character '\x00' looking for beginning of object key string"),
        (token([1]), ": json: cannot unmarshal array into Go value of type storage.continueToken"),
        (token(1.5), ": json: cannot unmarshal number into Go value of type storage.continueToken"),
        (made(rv="5"), ": json: cannot unmarshal string into Go struct field continueToken.rv of type int64"),
        (made(rv=1.5), ": json: cannot unmarshal number 1.5 into Go struct field continueToken.rv of type int64"),
        (made(rv=2**63), ": json: cannot unmarshal number 9223372036854775808 into Go struct field continueToken.rv of type int64"),
        (made(start=1), ": json: cannot unmarshal number into Go struct field continueToken.start of type string"),
        (made(v=True), ": json: cannot unmarshal bool into Go struct field continueToken.v of type string"),
        (made(v="v2"), ": server does not recognize this encoded version v2"),
        (token(None), ": server does not recognize this encoded version "),
        (made(rv=0), ": incorrect encoded start resourceVersion (version meta.k8s.io/v1)"),
        (made(start=""), ": encoded start key empty (version meta.k8s.io/v1)"),
        (made(start="../.."), ": ../.."),
        (made(start="default/../kube-system/a"), ": default/../kube-system/a"),
        (made(start="//a"), ": //a"),
        (made(start="a/./b"), ": a/./b"),
        (made(start="a/"), ": a/"),
    ],
)
def test_what_is_wrong_with_a_token(given: str, said: str) -> None:
    with pytest.raises(errors.BadRequest) as refused:
        continuing.decode(given)
    assert str(refused.value) == SAID + said


def test_what_else_stands_in_a_token_does_not_matter() -> None:
    assert continuing.decode(made(more=[2**63], v="meta.k8s.io/v1")) == (5, "default/a")
    assert continuing.decode(made(start="/default/a\0")) == (5, "default/a")
    long = made()
    assert continuing.decode(long[:8] + "\r\n" + long[8:]) == (5, "default/a")


@pytest.mark.parametrize("revision", [continuing.ANY_STATE, -7])
def test_a_negative_revision_goes_on_with_any_state(revision: int) -> None:
    assert continuing.decode(made(rv=revision)) == (0, "default/a")
