"""Tokens that a Secret holds: good as long as the Secret holds them and the account is the same."""

import base64
import re
from pathlib import Path
from typing import Any

import pytest

from kapi.access.authentication import Authenticator, Settings
from kapi.access.tokens import ISSUER, Tokens
from kapi.access.tokens import Settings as TokenSettings
from kapi.controllers import account_token
from kapi.objects import account_tokens, jwt, time
from kapi.storage.store import Store
from tests.access.conftest import NOON, put

USED, INVALID = account_tokens.LAST_USED, account_tokens.INVALID_SINCE


class World:
    """An account, its Secret with a token made by the controller, and who understands it."""

    def __init__(self, store: Store, key: Path) -> None:
        self.store, self.key = store, key
        self.tokens = Tokens(TokenSettings(signing_key=key), store)
        self.uses: list[tuple[str, ...]] = []
        self.tokens.note_use = lambda *use: self.uses.append(use)
        self.authenticator = Authenticator(Settings(), self.tokens, store)
        self.token = ""

    async def begin(self) -> None:
        account = await put(self.store, "core/serviceaccounts", "s", namespace="ns")
        self.token = account_token.token(account, {"metadata": {"name": "t", "namespace": "ns"}}, self.key)
        await self.secret()

    async def secret(self, token: str | None = None, **metadata: Any) -> None:
        data = {"token": base64.b64encode((self.token if token is None else token).encode()).decode()}
        await put(self.store, "core/secrets", "t", namespace="ns", metadata=metadata, type=account_tokens.TYPE, data=data)

    def refused(self, token: str | None = None) -> str:
        try:
            self.authenticator.authenticate_token(token or self.token, self.tokens.audiences)
        except jwt.InvalidToken as why:
            return str(why)
        return ""


@pytest.fixture
async def world(store: Store, key: Path, clock: list[float]) -> World:
    world = World(store, key)
    await world.begin()
    return world


def test_it_speaks_for_its_account(world: World) -> None:
    found = world.authenticator.authenticate_token(world.token, (ISSUER, "x"))
    assert (found.user.name, found.user.uid, found.audiences) == ("system:serviceaccount:ns:s", "uid-s", (ISSUER,))
    assert found.user.groups == ("system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated")
    with pytest.raises(jwt.InvalidToken, match="is invalid for the target audiences"):
        world.authenticator.authenticate_token(world.token, ("x",))


async def test_the_secret_must_hold_this_token(world: World, store: Store) -> None:
    assert world.refused() == ""
    await world.secret("another")
    assert world.refused() == "Token does not match server's copy"
    await world.secret()
    assert world.refused() == ""
    await world.secret(deletionTimestamp=time.stamp())
    assert world.refused() == "Token has been invalidated"
    await store.commit("/core/secrets/ns/t", None, expect=None)
    assert world.refused() == "Token has been invalidated"
    await put(store, "core/secrets", "t", namespace="ns", type="Opaque", data={})
    assert world.refused() == "Token does not match server's copy"


async def test_the_account_must_be_the_same(world: World, store: Store) -> None:
    assert world.refused() == ""
    await put(store, "core/serviceaccounts", "s", namespace="ns", metadata={"uid": "another"})
    assert world.refused() == "ServiceAccount UID (another) does not match claim (uid-s)"
    await put(store, "core/serviceaccounts", "s", namespace="ns", metadata={"deletionTimestamp": time.stamp()})
    assert world.refused() == "ServiceAccount ns/s has been deleted"
    await store.commit("/core/serviceaccounts/ns/s", None, expect=None)
    assert world.refused() == 'serviceaccounts "s" not found'


async def test_a_use_is_noted_once_a_day(world: World, clock: list[float]) -> None:
    today, tomorrow = (time.stamp(NOON + 86400 * days)[:10] for days in (0, 1))
    for _ in range(3):
        assert world.refused() == ""
    assert world.uses == [("ns", "t", "uid-t", today)]
    await world.secret(labels={USED: today})
    assert world.refused() == ""
    assert len(world.uses) == 1
    clock[0] += 86400
    assert world.refused() == ""
    assert world.uses[1:] == [("ns", "t", "uid-t", tomorrow)]


async def test_one_that_is_marked_invalid(world: World) -> None:
    await world.secret(labels={INVALID: "2026-01-01", USED: time.stamp()[:10]})
    assert world.refused().startswith("the token in secret ns/t for service account ns/s has been marked invalid. Use tokens from the")
    await world.secret()
    assert world.refused() == ""


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"sub": ""}, "sub claim is missing"),
        ({"sub": "system:serviceaccount:ns:other"}, "sub claim is invalid"),
        ({account_tokens.NAMESPACE: None}, "namespace claim is missing"),
        ({account_tokens.SECRET: 1}, "secretName claim is missing"),
        ({account_tokens.NAME: []}, "serviceAccountName claim is missing"),
        ({account_tokens.UID: ""}, "serviceAccountUID claim is missing"),
    ],
)
def test_claims_that_do_not_fit(world: World, claims: dict[str, Any], why: str) -> None:
    assert re.fullmatch(why, world.refused(world.tokens.sign({**jwt.unverified_claims(world.token), **claims})))
