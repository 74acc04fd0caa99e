"""Which connections are closed when the table is full."""

import socket
from collections.abc import Callable, Iterator

import pytest

from kapi import limits
from kapi.http.connections import Connection, Connections

MOST = 4 * limits.USERS_SHARING
Open = Callable[[str], Connection | None]


class Busy:
    """A connection with a watch."""

    def idle_since(self) -> float | None:
        return None

    def waiting(self) -> int:
        return 0

    def sending(self) -> bytes:
        return b""

    def refuse(self) -> bool:
        return False


@pytest.fixture
def table() -> Connections:
    return Connections(MOST)


@pytest.fixture
def opened(table: Connections) -> Iterator[Open]:
    """Opens a connection of a user who watches on it; None when it is not admitted."""
    sockets: list[socket.socket] = []

    def make(user: str) -> Connection | None:
        ours, theirs = socket.socketpair()
        sockets.extend((ours, theirs))
        connection = table.admit(ours, "10.0.0.1")
        if connection is not None:
            connection.served = Busy()
            connection.set_user(user)
        return connection

    yield make
    for sock in sockets:
        sock.close()


async def test_whoever_has_most_makes_room_for_others(table: Connections, opened: Open) -> None:
    few = [opened("bob") for _ in range(2)]
    many = [opened("eve") for _ in range(MOST - 2)]
    assert opened("ann") is not None
    assert len(table) == MOST
    assert few[0] in table._authenticated
    assert few[1] in table._authenticated
    assert many[0] not in table._authenticated
    assert many[1] in table._authenticated


async def test_nobody_loses_its_share(table: Connections, opened: Open) -> None:
    users = [f"user-{number}" for number in range(limits.USERS_SHARING)]
    held = [opened(user) for user in users for _ in range(MOST // limits.USERS_SHARING)]
    assert opened("ann") is None
    assert all(connection in table._authenticated for connection in held)
