"""A database with history, stopped in order or killed, and ways to damage its files."""

import asyncio
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from kapi import storage
from kapi.storage.store import Store
from tests.storage.conftest import put

ALL = "/core/configmaps/"
States = dict[str, tuple[int, bytes]]
"""Key -> revision and body."""


async def opened(path: Path) -> Store:
    store = storage.open(str(path))
    await store.start()
    return store


def states(store: Store) -> States:
    return {entry.key: (entry.revision, entry.body) for entry in store.list(ALL).entries}


async def make(directory: Path, *, killed: bool) -> States:
    """Write `directory`/kapi.db: small and large objects, states that were replaced, objects that were deleted."""
    work = directory.with_name(f"{directory.name}-work")
    store = await opened(work / "kapi.db")
    sizes = random.Random(1)
    for turn in range(3):
        texts = {f"c{n}": f"{turn}-" * sizes.choice([5, 150, 2000, 10_000]) for n in range(turn * 30, 100)}
        await asyncio.gather(*(put(store, name, app="web", text=text) for name, text in texts.items()))
    for number in range(95, 100):
        await store.commit(f"{ALL}default/c{number}", None, expect=None)
    if killed:
        shutil.copytree(work, directory)
    kept = states(store)
    await store.close()
    if not killed:
        shutil.copytree(work, directory)
    shutil.rmtree(work)
    return kept


def flipped(file: Path, chance: random.Random, bits: int) -> None:
    data = bytearray(file.read_bytes())
    for _ in range(bits):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    file.write_bytes(data)


def page(file: Path, chance: random.Random, fill: Callable[[int], bytes]) -> None:
    data = bytearray(file.read_bytes())
    start = 4096 * chance.randrange(len(data) // 4096)
    data[start : start + 4096] = fill(4096)
    file.write_bytes(data)


def cut(file: Path, size: int) -> None:
    with file.open("r+b") as data:
        data.truncate(size)


def at_random(directory: Path, chance: random.Random) -> str:
    """Damage one of the files in one way; what was done."""
    file = directory / chance.choice([name for name in ("kapi.db", "kapi.db-wal") if (directory / name).exists()])
    way = chance.choice(["bit", "bits", "noise", "zeros", "cut"])
    if way in ("bit", "bits"):
        flipped(file, chance, 1 if way == "bit" else chance.randrange(2, 30))
    elif way in ("noise", "zeros"):
        page(file, chance, chance.randbytes if way == "noise" else bytes)
    else:
        cut(file, chance.randrange(file.stat().st_size))
    return f"{way} of {file.name}"
