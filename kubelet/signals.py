"""Eviction signals: what may run short on a node, and the thresholds of `--eviction-hard`. Pure."""

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
    """'memory.available<100Mi,nodefs.available<10%' as thresholds by signal. Raises ValueError."""
    found = dict(word.split("<", 1) for word in text.split(",") if "<" in word)
    if unknown := found.keys() - SIGNALS.keys():
        raise ValueError(f"unknown eviction signals: {', '.join(sorted(unknown))}")
    return found


def bound(threshold: str, capacity: int) -> int:
    """A threshold, e.g. '100Mi' or '10%', in units of the capacity."""
    return int(capacity * float(threshold[:-1]) / 100) if threshold.endswith("%") else quantity.value(threshold)


def binary(amount: int) -> str:
    """1048576 as '1Mi': how messages print amounts."""
    return quantity.to_text(amount * 10**9, quantity.BINARY)
