"""Certificates, the token file, anonymous callers, and acting as somebody else."""

import hashlib
import time as clock
from pathlib import Path

import pytest
from cryptography import x509

from kapi.access.authentication import ANONYMOUS_USER, Authenticator, Settings
from kapi.access.impersonation import impersonate
from kapi.access.tokens import Settings as TokenSettings
from kapi.access.tokens import Tokens
from kapi.objects import certificates, time
from kapi.objects.errors import BadRequest, Forbidden, Unauthorized
from kapi.objects.user import Attributes, Decision, User
from kapi.storage.store import Store
from tests.certificates import client

ADMIN = User("admin", ("system:masters", "system:authenticated"))


@pytest.fixture
def authenticator(store: Store, tmp_path: Path) -> Authenticator:
    (tmp_path / "tokens").write_text('# token,user,uid,groups\nsecret,admin,u1,"system:masters, ops"\nplain,joe,u2\n')
    return Authenticator(Settings(token_file=tmp_path / "tokens"), Tokens(TokenSettings(), store), store)


def test_a_certificate_speaks_for_its_subject(authenticator: Authenticator) -> None:
    der = client("system:node:n1", "system:nodes", "Übung")
    user = authenticator.authenticate("", der)
    assert (user.name, user.groups) == ("system:node:n1", ("system:nodes", "Übung", "system:authenticated"))
    assert user.extra == {certificates.CREDENTIAL: [f"X509SHA256={hashlib.sha256(der).hexdigest()}"]}


def test_what_is_no_certificate_is_an_error() -> None:
    for data in (b"", b"0", b"\x30\x82\xff\xff", client("x")[:40], b"\x30\x03\x30\x01\x02"):
        with pytest.raises(ValueError):
            certificates.read(data)


def test_a_certificate_says_how_long_it_is_good() -> None:
    der = client("x")
    read, parsed = certificates.read(der), x509.load_der_x509_certificate(der)
    assert (read.begin, read.end) == (parsed.not_valid_before_utc.timestamp(), parsed.not_valid_after_utc.timestamp())
    assert read.issuer == "kubernetes"


@pytest.mark.parametrize("days", [400, -2])
def test_a_certificate_ends_on_a_connection_that_is_kept(authenticator: Authenticator, days: int) -> None:
    der = client("jane")
    assert authenticator.authenticate("", der).name == "jane"
    time.set_clock(lambda: clock.time() + days * 86400)
    try:
        with pytest.raises(Unauthorized):
            authenticator.authenticate("", der)
        assert authenticator.authenticate("Bearer plain", der).name == "joe"
    finally:
        time.set_clock(None)


def test_strange_subjects(authenticator: Authenticator) -> None:
    """Without a common name a certificate speaks for nobody; one whose name is no text is refused; the last of several counts."""
    der = client("jane", *(f"g{i}" for i in range(300)))
    assert len(authenticator.authenticate("", der).groups) == 301
    nameless = der.replace(b"\x55\x04\x03", b"\x55\x04\x07")
    assert authenticator.authenticate("", nameless) is ANONYMOUS_USER
    with pytest.raises(Unauthorized):
        authenticator.authenticate("", der.replace(b"jane", b"j\xff\xfe\x80"))


def test_a_proxy_names_the_user(authenticator: Authenticator) -> None:
    headers = [(b"x-remote-user", b"jane"), (b"x-remote-group", b"a"), (b"x-remote-extra-acme%2fp", b"1")]
    proxy = client("front-proxy-client", issuer="front-proxy-ca")
    assert authenticator.authenticate("", proxy, headers) == User("jane", ("a", "system:authenticated"), "", {"acme/p": ["1"]})
    assert authenticator.authenticate("", proxy) is ANONYMOUS_USER


def test_headers_that_are_no_text() -> None:
    """As stock shows them in JSON; a key with a broken escape is taken as it stands."""
    headers = [
        (b"impersonate-user", b"\xff\xfejane"), (b"impersonate-extra-a%zz%41", b"\xe9"), (b"impersonate-extra-%41%ff", b"1"),
    ]  # fmt: skip
    user = impersonate(ADMIN, headers, Asked())
    assert (user.name, user.extra) == ("\ufffd\ufffdjane", {"a%zz%41": ["\ufffd"], "A\ufffd": ["1"]})


def test_a_proxys_headers_that_are_no_text(authenticator: Authenticator) -> None:
    proxy = client("front-proxy-client", issuer="front-proxy-ca")
    headers = [(b"x-remote-user", b"j\xff"), (b"x-remote-group", b"\xff"), (b"x-remote-group", b""), (b"x-remote-extra-\xff", b"\xff")]
    assert authenticator.authenticate("", proxy, headers) == User(
        "j\ufffd", ("\ufffd", "system:authenticated"), "", {"\xff": ["\ufffd"]}
    )


def test_an_empty_name_is_nobody_to_act_as() -> None:
    assert impersonate(ADMIN, [(b"impersonate-user", b"")], Asked("users")) is ADMIN
    assert impersonate(ADMIN, [(b"impersonate-user", b"a"), (b"impersonate-user", b"b")], Asked()).name == "a"


def test_nobody_else_can_name_another(authenticator: Authenticator) -> None:
    headers = [(b"x-remote-user", b"jane")]
    assert authenticator.authenticate("", client("other", issuer="front-proxy-ca"), headers) is ANONYMOUS_USER
    assert authenticator.authenticate("", client("front-proxy-client"), headers).name == "front-proxy-client"
    assert authenticator.authenticate("", None, headers) is ANONYMOUS_USER


def test_the_token_file(authenticator: Authenticator) -> None:
    assert authenticator.authenticate("Bearer secret") == User("admin", ("system:masters", "ops", "system:authenticated"), "u1")
    assert authenticator.authenticate("bearer plain more") == User("joe", ("system:authenticated",), "u2")
    assert authenticator.authenticate("bearer  plain") is ANONYMOUS_USER


def test_a_token_file_with_too_few_columns(tmp_path: Path, store: Store) -> None:
    (tmp_path / "tokens").write_text("a,b\n")
    with pytest.raises(ValueError, match="at least 3 columns"):
        Authenticator(Settings(token_file=tmp_path / "tokens"), Tokens(TokenSettings(), store), store)


def test_without_credentials_one_is_nobody_and_with_wrong_ones_refused(authenticator: Authenticator) -> None:
    assert authenticator.authenticate() is ANONYMOUS_USER
    assert authenticator.authenticate("Basic abc") is ANONYMOUS_USER
    with pytest.raises(Unauthorized):
        authenticator.authenticate("Bearer wrong")


def test_anonymous_callers_can_be_refused(store: Store) -> None:
    with pytest.raises(Unauthorized):
        Authenticator(Settings(anonymous=False), Tokens(TokenSettings(), store), store).authenticate()


class Asked:
    """Says yes, and remembers the questions."""

    def __init__(self, no: str = "") -> None:
        self.questions: list[Attributes] = []
        self._no = no

    def authorize(self, asked: Attributes) -> Decision:
        self.questions.append(asked)
        return Decision(asked.resource != self._no)


def test_impersonation_asks_for_every_part() -> None:
    asked = Asked()
    headers = [
        (b"impersonate-user", b"jane"), (b"impersonate-group", b"a"), (b"impersonate-group", b"b"), (b"impersonate-uid", b"1"),
        (b"impersonate-extra-acme.com%2fproject", b"p"), (b"accept", b"*/*"),
    ]  # fmt: skip
    user = impersonate(ADMIN, headers, asked)
    assert user == User("jane", ("a", "b", "system:authenticated"), "1", {"acme.com/project": ["p"]})
    assert {q.verb for q in asked.questions} == {"impersonate"}
    assert [(q.group, q.resource, q.subresource, q.name) for q in asked.questions] == [
        ("", "users", "", "jane"),
        ("", "groups", "", "a"),
        ("", "groups", "", "b"),
        ("authentication.k8s.io", "userextras", "acme.com/project", "p"),
        ("authentication.k8s.io", "uids", "", "1"),
    ]


def test_impersonating_a_service_account_brings_its_groups() -> None:
    asked = Asked()
    user = impersonate(ADMIN, [(b"impersonate-user", b"system:serviceaccount:ns:s")], asked)
    assert user.groups == ("system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated")
    (question,) = asked.questions
    assert (question.resource, question.namespace, question.name) == ("serviceaccounts", "ns", "s")


def test_impersonating_nobody() -> None:
    assert impersonate(ADMIN, [(b"impersonate-user", b"system:anonymous")], Asked()) == ANONYMOUS_USER


def test_without_headers_one_stays_oneself() -> None:
    assert impersonate(ADMIN, [(b"accept", b"*/*")], Asked("users")) is ADMIN


def test_impersonation_may_be_refused() -> None:
    text = 'users "jane" is forbidden: User "admin" cannot impersonate resource "users" in API group "" at the cluster scope'
    with pytest.raises(Forbidden) as refused:
        impersonate(ADMIN, [(b"impersonate-user", b"jane")], Asked("users"))
    assert refused.value.message == text


def test_a_group_without_a_user_is_a_bad_request() -> None:
    with pytest.raises(BadRequest, match="without impersonating a user"):
        impersonate(ADMIN, [(b"impersonate-group", b"a")], Asked())
