"""Service account tokens: what is in them, who is told no, and when they stop being good."""

import base64
import hmac
import re
from pathlib import Path

import orjson
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa, utils

from certs import making
from kapi import limits
from kapi.access.authentication import Authenticator, Settings
from kapi.access.tokens import ISSUER, Tokens
from kapi.access.tokens import Settings as TokenSettings
from kapi.objects import jwt, time
from kapi.objects.errors import BadRequest, Conflict, Invalid, NotFound, Unauthorized
from kapi.storage.store import Store
from tests.access.conftest import NOON, put


@pytest.fixture
async def tokens(store: Store, key: Path, clock: list[float]) -> Tokens:
    await put(store, "core/serviceaccounts", "s", namespace="ns")
    return Tokens(TokenSettings(signing_key=key), store)


@pytest.fixture
def authenticator(tokens: Tokens, store: Store) -> Authenticator:
    return Authenticator(Settings(), tokens, store)


def wish(**spec: object) -> dict[str, object]:
    return {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": spec}


def bound(kind: str, name: str, **more: str) -> dict[str, object]:
    return wish(boundObjectRef={"kind": kind, "apiVersion": "v1", "name": name, **more})


def issued(tokens: Tokens, wanted: dict[str, object] | None = None) -> str:
    token: str = tokens.request("ns", "s", wanted or wish())["status"]["token"]
    return token


def test_the_answer_to_a_request(tokens: Tokens) -> None:
    answer = tokens.request("ns", "s", wish(expirationSeconds=600))
    assert answer["spec"] == {"expirationSeconds": 600, "audiences": [ISSUER]}
    assert answer["metadata"] == {"name": "s", "namespace": "ns", "creationTimestamp": time.stamp(NOON)}
    assert answer["status"]["expirationTimestamp"] == time.stamp(NOON + 600)


def test_the_claims_are_stocks(tokens: Tokens) -> None:
    said = jwt.unverified_claims(issued(tokens))
    assert len(said.pop("jti")) == 36
    assert said == {
        "aud": [ISSUER],
        "exp": NOON + 3600,
        "iat": NOON,
        "iss": ISSUER,
        "kubernetes.io": {"namespace": "ns", "serviceaccount": {"name": "s", "uid": "uid-s"}},
        "nbf": NOON,
        "sub": "system:serviceaccount:ns:s",
    }


async def test_a_pods_token_names_pod_and_node_and_lives_a_year(store: Store, tokens: Tokens, authenticator: Authenticator) -> None:
    await put(store, "core/nodes", "n1")
    await put(store, "core/pods", "p", namespace="ns", spec={"serviceAccountName": "s", "nodeName": "n1"})
    answer = tokens.request("ns", "s", {"spec": {"expirationSeconds": 3607, **bound("Pod", "p")["spec"]}})  # type: ignore[dict-item]
    said = jwt.unverified_claims(answer["status"]["token"])
    assert said["kubernetes.io"]["pod"] == {"name": "p", "uid": "uid-p"}
    assert said["kubernetes.io"]["node"] == {"name": "n1", "uid": "uid-n1"}
    assert (said["kubernetes.io"]["warnafter"], said["exp"]) == (NOON + 3607, NOON + 365 * 86400)
    assert answer["status"]["expirationTimestamp"] == time.stamp(NOON + 3607)
    user = authenticator.authenticate(f"Bearer {answer['status']['token']}")
    assert user.extra == {
        "authentication.kubernetes.io/credential-id": [f"JTI={said['jti']}"],
        "authentication.kubernetes.io/pod-name": ["p"],
        "authentication.kubernetes.io/pod-uid": ["uid-p"],
        "authentication.kubernetes.io/node-name": ["n1"],
        "authentication.kubernetes.io/node-uid": ["uid-n1"],
    }


async def test_requests_that_are_refused(store: Store, tokens: Tokens) -> None:
    await put(store, "core/pods", "p", namespace="ns", spec={"serviceAccountName": "other"})
    await put(store, "core/secrets", "c", namespace="ns")
    with pytest.raises(Invalid, match="may not specify a duration less than 10 minutes"):
        tokens.request("ns", "s", wish(expirationSeconds=5))
    with pytest.raises(NotFound, match='serviceaccounts "none" not found'):
        tokens.request("ns", "none", wish())
    with pytest.raises(NotFound, match='pods "nope" not found'):
        tokens.request("ns", "s", bound("Pod", "nope"))
    with pytest.raises(BadRequest, match='cannot bind token for serviceaccount "s" to pod running with different'):
        tokens.request("ns", "s", bound("Pod", "p"))
    with pytest.raises(BadRequest, match="cannot bind token to object of type"):
        tokens.request("ns", "s", bound("ConfigMap", "p"))
    with pytest.raises(Conflict, match="does not match the UID in record"):
        tokens.request("ns", "s", bound("Secret", "c", uid="another"))


def test_a_token_speaks_for_its_account(tokens: Tokens, authenticator: Authenticator) -> None:
    user = authenticator.authenticate(f"Bearer {issued(tokens)}")
    assert user.name == "system:serviceaccount:ns:s"
    assert user.groups == ("system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated")
    assert user.uid == "uid-s"


def test_a_token_ends(tokens: Tokens, authenticator: Authenticator, clock: list[float]) -> None:
    """Clocks may differ by a minute."""
    header = f"Bearer {issued(tokens)}"
    authenticator.authenticate(header)
    clock[0] += 3659
    authenticator.authenticate(header)
    clock[0] += 2
    with pytest.raises(Unauthorized):
        authenticator.authenticate(header)


@pytest.mark.parametrize("step", [-3600, -62, 3700, 10 * 365 * 86400])
def test_a_remembered_token_does_not_outlive_a_step_of_the_clock(
    tokens: Tokens, authenticator: Authenticator, clock: list[float], step: float
) -> None:
    header = f"Bearer {issued(tokens)}"
    authenticator.authenticate(header)
    clock[0] += step
    with pytest.raises(Unauthorized):
        authenticator.authenticate(header)
    clock[0] -= step
    authenticator.authenticate(header)


async def test_a_token_ends_with_its_account(store: Store, tokens: Tokens, authenticator: Authenticator) -> None:
    header = f"Bearer {issued(tokens)}"
    authenticator.authenticate(header)
    await put(store, "core/serviceaccounts", "s", namespace="ns", metadata={"uid": "another"})
    with pytest.raises(Unauthorized):
        authenticator.authenticate(header)
    await put(store, "core/serviceaccounts", "s", namespace="ns")
    authenticator.authenticate(header)
    await store.commit("/core/serviceaccounts/ns/s", None, expect=None)
    with pytest.raises(Unauthorized):
        authenticator.authenticate(header)


async def test_a_token_ends_a_minute_after_its_pod_was_deleted(
    store: Store, tokens: Tokens, authenticator: Authenticator, clock: list[float]
) -> None:
    await put(store, "core/pods", "p", namespace="ns", spec={"serviceAccountName": "s"})
    header = f"Bearer {issued(tokens, bound('Pod', 'p'))}"
    authenticator.authenticate(header)
    await put(store, "core/pods", "p", namespace="ns", metadata={"deletionTimestamp": time.stamp(NOON)})
    authenticator.authenticate(header)
    clock[0] += 61
    with pytest.raises(Unauthorized):
        authenticator.authenticate(header)


def test_a_token_is_for_its_audiences(tokens: Tokens, authenticator: Authenticator) -> None:
    token = issued(tokens, wish(audiences=["vault", "x"]))
    with pytest.raises(Unauthorized):
        authenticator.authenticate(f"Bearer {token}")
    assert authenticator.authenticate_token(token, ("a", "vault")).audiences == ("vault",)
    with pytest.raises(jwt.InvalidToken, match=r'token audiences \["vault" "x"\] is invalid for the target audiences \["a"\]'):
        authenticator.authenticate_token(token, ("a",))


@pytest.mark.parametrize("token", ["abc", "a.b.c", "e30.e30.e30", ".."])
def test_nonsense_is_refused(authenticator: Authenticator, token: str) -> None:
    with pytest.raises(jwt.InvalidToken, match=r"^invalid bearer token$"):
        authenticator.authenticate_token(token, (ISSUER,))


def test_a_changed_token_is_refused(tokens: Tokens, authenticator: Authenticator) -> None:
    head, said, signature = issued(tokens).split(".")
    other = issued(tokens, wish(expirationSeconds=700)).split(".")
    for forged in (f"{head}.{other[1]}.{signature}", f"{head}.{said}.", f"{head}.{said}.{signature[:-4]}AAAA"):
        with pytest.raises(jwt.InvalidToken):
            authenticator.authenticate_token(forged, (ISSUER,))


ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@pytest.mark.parametrize("part", [0, 1, 2])
@pytest.mark.parametrize("junk", ["=", "==", "!", "!!!!", ".", " ", "\n", "\t", "+", "/", "%41", "A", "AA", "AAA", "AAAA", "\x00", "é"])
def test_junk_in_a_token_is_refused(tokens: Tokens, authenticator: Authenticator, part: int, junk: str) -> None:
    parts = issued(tokens).split(".")
    for changed in (parts[part] + junk, junk + parts[part], parts[part][:7] + junk + parts[part][7:]):
        with pytest.raises(jwt.InvalidToken, match=f"^{jwt.INVALID}$"):
            authenticator.authenticate_token(".".join([*parts[:part], changed, *parts[part + 1 :]]), (ISSUER,))


def test_bits_that_say_nothing_are_refused(tokens: Tokens, authenticator: Authenticator) -> None:
    """64 bytes leave two bits of the last character free: one of four spellings is the token."""
    token = issued(tokens)
    place = ALPHABET.index(token[-1])
    others = [ALPHABET[place & ~3 | bits] for bits in range(4) if place & ~3 | bits != place]
    authenticator.authenticate_token(token, (ISSUER,))
    for last in others:
        with pytest.raises(jwt.InvalidToken):
            authenticator.authenticate_token(token[:-1] + last, (ISSUER,))


def encoded(said: object) -> str:
    raw = said if isinstance(said, bytes) else orjson.dumps(said)
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


@pytest.mark.parametrize(
    "head",
    [
        {"alg": "none"}, {"alg": "HS256"}, {"alg": "RS256"}, {"alg": ["ES256"]}, {"alg": "ES256", "kid": "another"}, {}, [], "ES256",
        b"{", b'{"alg":"none","alg":"ES256"}',
    ],
)  # fmt: skip
def test_headers_that_do_not_fit(tokens: Tokens, authenticator: Authenticator, key: Path, head: object) -> None:
    """None of them is signed with the key as it says; HS256 with the public key for a secret is the old trick."""
    said = issued(tokens).split(".")[1]
    text = f"{encoded(head)}.{said}"
    public = making.public_key(key.read_bytes())
    for signature in (b"", b"\0" * 64, hmac.digest(public, text.encode(), "sha256")):
        with pytest.raises(jwt.InvalidToken):
            authenticator.authenticate_token(f"{text}.{encoded(signature)}", (ISSUER,))


@pytest.mark.parametrize(("head", "good"), [({}, True), ({"crit": ["b64"]}, False)])
def test_extensions_that_must_be_understood(
    tokens: Tokens, authenticator: Authenticator, key: Path, head: dict[str, object], good: bool
) -> None:
    text = f"{encoded({'alg': 'ES256', **head})}.{issued(tokens).split('.')[1]}"
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    r, s = utils.decode_dss_signature(private.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
    token = f"{text}.{encoded(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"
    if good:
        authenticator.authenticate_token(token, (ISSUER,))
    else:
        with pytest.raises(jwt.InvalidToken):
            authenticator.authenticate_token(token, (ISSUER,))


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": None}, {"exp": "9999999999"}, {"exp": True}, {"exp": -1}, {"exp": 0}, {"exp": [1]}, {"nbf": "0"}, {"nbf": 9e99},
        {"iat": {}}, {"aud": None}, {"aud": {}}, {"aud": [1]}, {"aud": []}, {"aud": "x"}, {"aud": [ISSUER, 1]}, {"iss": [ISSUER]},
        {"kubernetes.io": "x"}, {"kubernetes.io": None}, {"kubernetes.io": {"namespace": 1}},
        {"kubernetes.io": {"namespace": "ns", "serviceaccount": []}},
        {"kubernetes.io": {"namespace": "ns", "serviceaccount": {"name": "s"}}},
        {"kubernetes.io": {"namespace": "ns", "serviceaccount": {"name": "s", "uid": "uid-s"}, "pod": "p"}},
        {"kubernetes.io": {"namespace": "ns", "serviceaccount": {"name": "s", "uid": "uid-s"}, "pod": {}}},
        {"kubernetes.io": {"namespace": "ns", "serviceaccount": {"name": "s", "uid": "uid-s"}, "node": {"name": ["n"]}}},
    ],
)  # fmt: skip
def test_claims_of_the_wrong_sort(tokens: Tokens, authenticator: Authenticator, claims: dict[str, object]) -> None:
    said = {**jwt.unverified_claims(issued(tokens)), **claims}
    with pytest.raises(jwt.InvalidToken):
        authenticator.authenticate_token(tokens.sign(said), (ISSUER,))


def test_times_of_a_token_may_have_fractions(tokens: Tokens, authenticator: Authenticator) -> None:
    said = {**jwt.unverified_claims(issued(tokens)), "exp": NOON + 10.5, "nbf": NOON - 0.5, "aud": ISSUER}
    assert authenticator.authenticate_token(tokens.sign(said), (ISSUER,)).audiences == (ISSUER,)


def test_a_huge_token_is_refused_unread(authenticator: Authenticator) -> None:
    with pytest.raises(jwt.InvalidToken):
        authenticator.authenticate_token("a." + encoded({"iss": ISSUER, "x": "x" * limits.TOKEN_BYTES}) + ".a", (ISSUER,))


def test_what_is_remembered_is_bounded(tokens: Tokens, authenticator: Authenticator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TOKENS_REMEMBERED", 3)
    for _ in range(5):
        authenticator.authenticate_token(issued(tokens), (ISSUER,))
    authenticator.authenticate_token(issued(tokens, wish(audiences=[ISSUER, "x" * limits.TOKEN_REMEMBERED_BYTES])), (ISSUER,))
    authenticator.authenticate_token(issued(tokens, wish(audiences=["other"])), ("other",))
    assert len(authenticator._cached) == 2


def test_a_token_of_another_key_is_refused(store: Store, authenticator: Authenticator, tmp_path: Path) -> None:
    other = tmp_path / "key"
    other.write_bytes(making.new_key())
    forged = issued(Tokens(TokenSettings(signing_key=other), store))
    with pytest.raises(Unauthorized):
        authenticator.authenticate(f"Bearer {forged}")


@pytest.mark.slow
async def test_rsa_keys_are_understood(store: Store, tokens: Tokens, tmp_path: Path) -> None:
    pem = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    (tmp_path / "rsa.key").write_bytes(pem)
    theirs = Tokens(TokenSettings(signing_key=tmp_path / "rsa.key"), store)
    token = issued(theirs)
    assert Authenticator(Settings(), theirs, store).authenticate(f"Bearer {token}").name == "system:serviceaccount:ns:s"
    (shown,) = theirs.key_set()["keys"]
    assert (shown["kty"], shown["alg"], shown["e"]) == ("RSA", "RS256", "AQAB")


def test_the_key_set_shows_the_public_key(tokens: Tokens) -> None:
    (shown,) = tokens.key_set()["keys"]
    assert set(shown) == {"use", "kty", "kid", "alg", "crv", "x", "y"}


async def test_a_token_is_refused_once_what_it_is_bound_to_is_another(store: Store, tokens: Tokens, authenticator: Authenticator) -> None:
    await put(store, "core/secrets", "c", namespace="ns")
    await put(store, "core/pods", "p", namespace="ns", spec={"serviceAccountName": "s"})
    await put(store, "core/nodes", "n")
    texts = {"Secret": "secret", "Pod": "pod", "Node": "node"}
    for kind, name in (("Secret", "c"), ("Pod", "p"), ("Node", "n")):
        token = issued(tokens, bound(kind, name))
        authenticator.authenticate_token(token, (ISSUER,))
        plural, namespace = f"core/{kind.lower()}s", "" if kind == "Node" else "ns"
        await put(store, plural, name, namespace=namespace, metadata={"uid": "another"})
        said = f"{texts[kind]} UID (another) does not match service account {texts[kind]} ref claim (uid-{name})"
        with pytest.raises(jwt.InvalidToken, match=f"^{re.escape(said)}$"):
            authenticator.authenticate_token(token, (ISSUER,))
        await store.commit(f"/{plural}/{namespace}/{name}" if namespace else f"/{plural}/{name}", None, expect=None)
        with pytest.raises(jwt.InvalidToken, match=r"^service account token has been invalidated$"):
            authenticator.authenticate_token(token, (ISSUER,))
