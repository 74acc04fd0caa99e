"""Eviction signals and the thresholds of `--eviction-hard`. Pure."""

import re

from kapi.objects import quantity

# signal: (condition, what runs short); memory goes first
SIGNALS = {
    "memory.available": ("MemoryPressure", "memory"),
    "nodefs.available": ("DiskPressure", "ephemeral-storage"),
    "imagefs.available": ("DiskPressure", "ephemeral-storage"),
    "nodefs.inodesFree": ("DiskPressure", "inodes"),
    "imagefs.inodesFree": ("DiskPressure", "inodes"),
    "pid.available": ("PIDPressure", "pids"),
}


def parse(text: str) -> dict[str, str]:
    """'memory.available<100Mi,nodefs.available<10%' -> {signal: threshold}. Raises ValueError."""
    found: dict[str, str] = {}
    for word in text.split(",") if text else ():
        signal, less, amount = word.partition("<")
        if not less or not amount:
            raise ValueError(f"invalid eviction threshold syntax {word}, expected <signal><operator><value>, e.g. memory.available<100Mi")
        if signal not in SIGNALS:
            raise ValueError(f"unknown eviction signal {signal}; known are {', '.join(SIGNALS)}")
        if signal in found:
            raise ValueError(f"duplicate eviction threshold {signal}")
        found[signal] = _amount(amount)
    return found


def _amount(text: str) -> str:
    """A threshold '100Mi' or '10%', checked and unchanged. Raises ValueError."""
    if text.endswith("%"):
        if not re.fullmatch(r"[0-9]+(\.[0-9]+)?%", text) or float(text[:-1]) > 100:
            raise ValueError(f"eviction percentage threshold {text} must be between 0% and 100%")
    elif quantity.milli(text) < 0:
        raise ValueError(f"eviction threshold {text} must not be negative")
    return text


def bound(threshold: str, capacity: int) -> int:
    """A threshold ('100Mi' or '10%') in the unit of the capacity."""
    return int(capacity * float(threshold[:-1]) / 100) if threshold.endswith("%") else quantity.value(threshold)


def binary(amount: int) -> str:
    """1048576 -> '1Mi': how messages print amounts."""
    return quantity.to_text(amount * 10**9, quantity.BINARY)
