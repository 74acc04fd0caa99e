"""Certificates, the token file, anonymous callers, and acting as somebody else."""

import hashlib
import ssl
import time as clock
from pathlib import Path

import pytest

from certs import making
from certs.wish import Wish
from kapi.access import certificates
from kapi.access.authentication import NOBODY, Authenticator, Settings
from kapi.access.impersonation import impersonate
from kapi.access.tokens import Settings as TokenSettings
from kapi.access.tokens import Tokens
from kapi.objects.errors import BadRequest, Forbidden, Unauthorized
from kapi.objects.user import Attributes, Decision, User
from kapi.storage.store import Store

ADMIN = User("admin", ("system:masters", "system:authenticated"))


def certificate(name: str, *groups: str, issuer: str = "kubernetes") -> bytes:
    key = making.new_key()
    ca = making.authority(Wish("ca", issuer), key, clock.time())
    return ssl.PEM_cert_to_DER_cert(making.certificate(Wish("x", name, groups, ("client",)), key, ca, key, clock.time()).decode())


@pytest.fixture
def authenticator(store: Store, tmp_path: Path) -> Authenticator:
    (tmp_path / "tokens").write_text('# token,user,uid,groups\nsecret,admin,u1,"system:masters, ops"\nplain,joe,u2\n')
    return Authenticator(Settings(token_file=tmp_path / "tokens"), Tokens(TokenSettings(), store), store)


def test_a_certificate_speaks_for_its_subject(authenticator: Authenticator) -> None:
    der = certificate("system:node:n1", "system:nodes", "Übung")
    user = authenticator.authenticate("", der)
    assert (user.name, user.groups) == ("system:node:n1", ("system:nodes", "Übung", "system:authenticated"))
    assert user.extra == {certificates.CREDENTIAL: [f"X509SHA256={hashlib.sha256(der).hexdigest()}"]}


def test_what_is_no_certificate_is_an_error() -> None:
    for data in (b"", b"0", b"\x30\x82\xff\xff", certificate("x")[:40], b"\x30\x03\x30\x01\x02"):
        with pytest.raises(ValueError):
            certificates.user(data)


def test_a_proxy_names_the_user(authenticator: Authenticator) -> None:
    headers = [(b"x-remote-user", b"jane"), (b"x-remote-group", b"a"), (b"x-remote-extra-acme%2fp", b"1")]
    proxy = certificate("front-proxy-client", issuer="front-proxy-ca")
    assert authenticator.authenticate("", proxy, headers) == User("jane", ("a", "system:authenticated"), "", {"acme/p": ["1"]})
    assert authenticator.authenticate("", proxy) is NOBODY


def test_nobody_else_can_name_another(authenticator: Authenticator) -> None:
    headers = [(b"x-remote-user", b"jane")]
    assert authenticator.authenticate("", certificate("other", issuer="front-proxy-ca"), headers) is NOBODY
    assert authenticator.authenticate("", certificate("front-proxy-client"), headers).name == "front-proxy-client"
    assert authenticator.authenticate("", None, headers) is NOBODY


def test_the_token_file(authenticator: Authenticator) -> None:
    assert authenticator.authenticate("Bearer secret") == User("admin", ("system:masters", "ops", "system:authenticated"), "u1")
    assert authenticator.authenticate("bearer  plain") == User("joe", ("system:authenticated",), "u2")


def test_a_token_file_with_too_few_columns(tmp_path: Path, store: Store) -> None:
    (tmp_path / "tokens").write_text("a,b\n")
    with pytest.raises(ValueError, match="at least 3 columns"):
        Authenticator(Settings(token_file=tmp_path / "tokens"), Tokens(TokenSettings(), store), store)


def test_without_credentials_one_is_nobody_and_with_wrong_ones_refused(authenticator: Authenticator) -> None:
    assert authenticator.authenticate() is NOBODY
    assert authenticator.authenticate("Basic abc") is NOBODY
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
    assert impersonate(ADMIN, [(b"impersonate-user", b"system:anonymous")], Asked()) == NOBODY


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
