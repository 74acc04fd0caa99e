"""Forged, changed, ended and strange credentials over TLS: none is more than it was, none is an error of the server's."""

import base64
import http.client
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from kapi.controllers import account_token
from kapi.objects import account_tokens, jwt
from kapi.objects.meta import Object
from tests.attacks.identities import identity
from tests.attacks.victim import Victim

pytestmark = pytest.mark.slow
ACCOUNTS, SECRETS, PODS = (f"/api/v1/namespaces/default/{plural}" for plural in ("serviceaccounts", "secrets", "pods"))
REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
TOKEN_REVIEWS, ACCESS_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews", "/apis/authorization.k8s.io/v1/subjectaccessreviews"


@pytest.fixture(scope="module")
def account(victim: Victim) -> Object:
    service_account: Object = victim.ask("POST", ACCOUNTS, {"metadata": {"name": "bot"}})[1]
    return service_account


def token(victim: Victim, **spec: Any) -> str:
    code, answer = victim.ask("POST", f"{ACCOUNTS}/bot/token", {"spec": spec})
    assert code == 201, answer
    text: str = answer["status"]["token"]
    return text


def who(victim: Victim, bearer: str) -> tuple[int, str]:
    """(status, user name) of a bearer of the token."""
    code, answer = victim.ask("POST", REVIEW, {}, token=bearer)
    return code, answer["status"]["userInfo"]["username"] if code == 201 else ""


BOT = (201, "system:serviceaccount:default:bot")


@contextmanager
def line(victim: Victim, certificate: Any = None) -> Iterator[http.client.HTTPSConnection]:
    """A connection that is kept."""
    kept = http.client.HTTPSConnection("127.0.0.1", victim.port, context=victim.tls(certificate), timeout=30)
    try:
        yield kept
    finally:
        kept.close()


def ask(kept: http.client.HTTPSConnection, headers: list[tuple[str, bytes]]) -> tuple[int, Any]:
    """SelfSubjectReview with headers as they are."""
    body = b"{}"
    kept.putrequest("POST", REVIEW)
    for name, value in [*headers, ("Content-Type", b"application/json"), ("Content-Length", b"%d" % len(body))]:
        kept.putheader(name, value)
    kept.endheaders(body)
    answer = kept.getresponse()
    return answer.status, json.loads(answer.read())


def user_of(answer: Any) -> Any:
    return answer["status"]["userInfo"]


# tokens -----------------------------------------------------------------------------------------------------------------------------


def test_junk_in_any_part_of_a_token(victim: Victim, account: Object) -> None:
    good = token(victim)
    assert who(victim, good) == BOT
    parts = good.split(".")
    for part in range(3):
        for junk in ("=", "==", "!", ".", "+", "/", "%41", "A", "AA", "AAAA", "\x80"):
            for changed in (parts[part] + junk, junk + parts[part], parts[part][:9] + junk + parts[part][9:]):
                code, _ = who(victim, ".".join([*parts[:part], changed, *parts[part + 1 :]]))
                assert code == 401, (part, changed)
    assert who(victim, good) == BOT


def test_forged_headers_and_claims(victim: Victim, account: Object) -> None:
    _, claims, signature = token(victim).split(".")
    heads: list[Any] = [{"alg": "none"}, {"alg": "None", "typ": "JWT"}, {"alg": "HS256"}, {"alg": "RS256"}, {"alg": "ES256", "jwk": {}}, []]
    for head in heads:
        text = base64.urlsafe_b64encode(json.dumps(head).encode()).decode().rstrip("=")
        for forged in (f"{text}.{claims}.", f"{text}.{claims}.{signature}", f"{text}.{claims}"):
            assert who(victim, forged)[0] == 401, forged
    planted = b'{"iss":"https://kubernetes.default.svc.cluster.local","iss":"x","exp":1e999,"sub":"system:serviceaccount:kube-system:x"}'
    text = base64.urlsafe_b64encode(planted).decode().rstrip("=")
    assert who(victim, f"e30.{text}.{signature}")[0] == 401


def test_claims_of_every_sort_signed_with_the_servers_key(victim: Victim, account: Object) -> None:
    """Nobody else can; still none of them is an error of the server's."""
    key = jwt.Key((victim.directory / "pki" / "sa.key").read_bytes())
    good = jwt.unverified_claims(token(victim))
    strange: list[Any] = [None, "", "x", -1, 0, True, 1e308, 2**63, [], [1], {}, {"a": 1}, ["x"] * 1000]
    for name in good:
        for value in strange:
            code, _ = who(victim, key.sign({**good, name: value}))
            assert code in (201, 401), (name, value)
            assert code == 401 or name in ("jti", "iat", "nbf", "sub", "exp"), (name, value)


def test_several_authorization_headers(victim: Victim, account: Object) -> None:
    """The first counts, as in stock."""
    good = b"Bearer " + token(victim).encode()
    with line(victim) as kept:
        assert user_of(ask(kept, [("Authorization", good), ("Authorization", b"Bearer x")])[1])["username"] == BOT[1]
        assert ask(kept, [("Authorization", b"Bearer x"), ("Authorization", good)])[0] == 401
        assert ask(kept, [("Authorization", b"Bearer \xff\xfe")])[0] == 401
        assert ask(kept, [("Authorization", good + b" more")])[0] == 201
        assert ask(kept, [("Authorization", good.replace(b" ", b"  "))])[0] == 403  # no token: system:anonymous


def test_huge_tokens(victim: Victim) -> None:
    with victim.watched("bearer tokens of 200 kB and reviews of 2 MB") as cost, line(victim) as kept:
        for length in (10_000, 60_000, 200_000):
            code = ask(kept, [("Authorization", b"Bearer " + b"a" * length + b"." + b"e30." + b"a")])[0]
            assert code in (401, 431)
        for text in ("a" * 2_000_000, "a.b." * 500_000, "e30." + "e" * 2_000_000 + ".x"):
            code, answer = victim.ask("POST", TOKEN_REVIEWS, {"spec": {"token": text}})
            assert (code, answer["status"]["error"]) == (201, "invalid bearer token")
    cost.check()


def test_what_is_remembered_stays_small(victim: Victim, account: Object) -> None:
    """Whoever may review tokens and access could have the server remember what it was asked."""
    good, names = token(victim), ["x" * 900 for _ in range(1000)]
    with victim.watched("100 reviews with 900 kB of audiences, groups and names each") as cost:
        for number in range(100):
            mine = [f"a{number}", *names]
            victim.ask("POST", TOKEN_REVIEWS, {"spec": {"token": good, "audiences": mine}})
            attributes = {"verb": "get", "resource": "pods", "name": "n" * 900_000 + str(number)}
            victim.ask("POST", ACCESS_REVIEWS, {"spec": {"user": "u", "groups": mine, "resourceAttributes": attributes}})
            victim.ask("POST", ACCESS_REVIEWS, {"spec": {"user": "v", "resourceAttributes": attributes}})
    cost.check()


# what a token is bound to -----------------------------------------------------------------------------------------------------------


def test_a_token_ends_with_what_it_is_bound_to(victim: Victim, account: Object) -> None:
    pod = {"metadata": {"name": "p"}, "spec": {"serviceAccountName": "bot", "containers": [{"name": "c", "image": "i"}]}}
    plain = {"metadata": {"name": "p"}}
    for kind, path, body in (("Pod", PODS, pod), ("Secret", SECRETS, plain), ("Node", "/api/v1/nodes", plain)):
        assert victim.ask("POST", path, body)[0] == 201
        bound = token(victim, boundObjectRef={"kind": kind, "apiVersion": "v1", "name": "p"})
        assert who(victim, bound) == BOT
        assert victim.ask("DELETE", f"{path}/p?gracePeriodSeconds=0")[0] == 200
        assert who(victim, bound)[0] == 401, kind
        assert victim.ask("POST", path, body)[0] == 201
        assert who(victim, bound)[0] == 401, f"{kind} made anew"


def test_a_token_of_a_secret(victim: Victim, account: Object) -> None:
    """It is good while the Secret holds it; one that is made anew by somebody else does not bring it back."""
    secret = {"metadata": {"name": "held", "namespace": "default", "annotations": {account_tokens.ACCOUNT_NAME: "bot"}}}
    signed = account_token.token(account, secret, victim.directory / "pki" / "sa.key")

    def hold(text: str) -> None:
        data = {"token": base64.b64encode(text.encode()).decode()}
        code, answer = victim.ask("POST", SECRETS, {**secret, "type": account_tokens.TYPE, "data": data})
        assert code == 201, answer

    assert who(victim, signed)[0] == 401
    hold(signed)
    assert who(victim, signed) == BOT
    today = time.strftime("%Y-%m-%d", time.gmtime())
    deadline = time.monotonic() + 10
    while victim.ask("GET", f"{SECRETS}/held")[1]["metadata"].get("labels") != {account_tokens.LAST_USED: today}:
        assert time.monotonic() < deadline, "the use was not noted"
    assert who(victim, signed) == BOT
    victim.ask("DELETE", f"{SECRETS}/held")
    assert who(victim, signed)[0] == 401
    hold("another")
    assert who(victim, signed)[0] == 401
    victim.ask("DELETE", f"{SECRETS}/held")
    hold(signed)
    change = {"metadata": {"labels": {account_tokens.INVALID_SINCE: today}}}
    victim.ask("PATCH", f"{SECRETS}/held", change, headers={"Content-Type": "application/merge-patch+json"})
    assert who(victim, signed)[0] == 401
    victim.ask("DELETE", f"{ACCOUNTS}/bot")
    assert who(victim, signed)[0] == 401
    account.update(victim.ask("POST", ACCOUNTS, {"metadata": {"name": "bot"}})[1])
    assert who(victim, signed)[0] == 401


# certificates -----------------------------------------------------------------------------------------------------------------------


def test_a_certificate_that_ends_on_a_kept_connection(victim: Victim) -> None:
    """Seconds before its end a connection begins; afterwards it is of no use, also for a watch that begins then."""
    lasts = identity(victim, "leaving", "system:masters", now=time.time() - 86400 + 6)
    with line(victim, lasts) as kept:
        assert user_of(ask(kept, [])[1])["username"] == "leaving"
        deadline = time.monotonic() + 30
        while (code := ask(kept, [])[0]) == 201:
            assert time.monotonic() < deadline, "it goes on working"
        assert code == 401
        assert ask(kept, [("Authorization", f"Bearer {victim.token}".encode())])[0] == 201


@pytest.mark.parametrize(
    ("name", "groups"),
    [("ü" * 30, ()), ("many", tuple(f"g{i}" for i in range(500))), ("system:node:", ("system:nodes",)), ("a\nb", ("c\rd", "\x00"))],
)
def test_strange_subjects(victim: Victim, name: str, groups: tuple[str, ...]) -> None:
    with line(victim, identity(victim, name, *groups)) as kept:
        code, answer = ask(kept, [])
    assert code == 201
    assert (user_of(answer)["username"], user_of(answer)["groups"]) == (name, [*groups, "system:authenticated"])


# headers ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [b"\xff\xfe", b"jane\x80", b"\xed\xa0\x80", b"\xc3\x28", "ü".encode(), "ü".encode("latin-1")])
@pytest.mark.parametrize("header", ["Impersonate-User", "Impersonate-Group", "Impersonate-Uid", "Impersonate-Extra-A"])
def test_impersonation_headers_that_are_no_text(victim: Victim, account: Object, header: str, value: bytes) -> None:
    """Who may act as anybody does so under a name with U+FFFD in it; who may not is refused."""
    headers = [(header, value)] + ([("Impersonate-User", b"jane")] if header != "Impersonate-User" else [])
    with line(victim) as kept:
        code, answer = ask(kept, [("Authorization", f"Bearer {victim.token}".encode()), *headers])
        assert code == 201, answer
        assert value.decode("utf-8", "replace") in json.dumps(user_of(answer), ensure_ascii=False)
        code, answer = ask(kept, [("Authorization", f"Bearer {token(victim)}".encode()), *headers])
        assert code == 403
        assert "cannot impersonate resource" in answer["message"]


def test_headers_of_a_proxy_that_are_no_text(victim: Victim) -> None:
    pki = victim.directory / "pki"
    headers = [("X-Remote-User", b"\xffjane"), ("X-Remote-Group", b"\xfe"), ("X-Remote-Extra-A%2fb", b"\x80"), ("X-Remote-Extra-%zz", b"1")]
    with line(victim, (pki / "front-proxy-client.crt", pki / "front-proxy-client.key")) as kept:
        code, answer = ask(kept, headers)
        assert code == 201, answer
        assert user_of(answer)["username"] == "\ufffdjane"
        assert user_of(answer)["extra"] == {"a/b": ["\ufffd"], "%zz": ["1"]}
    with line(victim, identity(victim, "stranger")) as kept:
        assert user_of(ask(kept, headers)[1])["username"] == "stranger"
