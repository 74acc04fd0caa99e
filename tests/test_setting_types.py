"""Types of settings: what a text means. What is refused is in tests/cli/test_junk.py, for every option."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kapi.settings import types


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (types.seconds, "90", 90.0), (types.seconds, "1.5", 1.5), (types.seconds, "1m30s", 90.0), (types.seconds, "250ms", 0.25),
        (types.seconds, "1h0m0.5s", 3600.5), (types.size, "10Mi", 10 << 20),
        (types.size, "10485760", 10 << 20), (types.size, "1k", 1000),
        (types.address, "010.0.0.1", "10.0.0.1"), (types.address, "FD00:0::1", "fd00::1"),
        (types.cidr, "10.1.2.3/16", "10.1.0.0/16"), (types.cidr, "fd00::1/64", "fd00::/64"),
        (types.service_range, "10.0.0.0/29", "10.0.0.0/29"),
        (types.addresses, "10.96.0.10,fd00::a", ("10.96.0.10", "fd00::a")),
        (types.node_addresses, "fd00::1,10.0.0.1", ("fd00::1", "10.0.0.1")),
        (types.labels, "a=b,example.com/c=", {"a": "b", "example.com/c": ""}),
        (types.reserved, "cpu=100m,memory=1Gi,pid=100", {"cpu": "100m", "memory": "1Gi", "pid": "100"}),
        (types.taint, "a=b:NoSchedule", {"key": "a", "value": "b", "effect": "NoSchedule"}),
        (types.taint, "a:NoExecute", {"key": "a", "effect": "NoExecute"}),
        (types.sysctl, "net.ipv4.*", "net.ipv4.*"), (types.sysctl, "kernel/msgmax", "kernel/msgmax"),
        (types.endpoint, "unix:///run/c.sock", "unix:///run/c.sock"), (types.endpoint, "/run/c.sock", "unix:///run/c.sock"),
        (types.storage, "memory:", "memory:"), (types.storage, "a/b.db", "a/b.db"),
        (types.directory, "not/there/yet", Path("not/there/yet")),
        (types.integer(1, 65535), "65535", 65535), (types.integer(0), "0", 0),
    ],
)  # fmt: skip
def test_what_is_read(parse: Callable[[str], Any], text: str, value: Any) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text", "why"),
    [
        (types.node_addresses, "10.0.0.1,10.0.0.2", "must be one IP address or a dual-stack pair of them"),
        (types.addresses, "10.0.0.1,x", "'x' must be a valid IP address"),
        (types.labels, "a=b,a=c", "each key once"), (types.labels, "-a=b", "invalid label -a=b: name part must consist of"),
        (types.reserved, "gpu=1", 'cannot reserve "gpu" resource; allowed are cpu, memory, ephemeral-storage, pid'),
        (types.reserved, "cpu=x", 'failed to parse quantity "x" for "cpu" resource'),
        (types.reserved, "cpu=-1", 'resource quantity for "cpu" cannot be negative: -1'),
        (types.taint, "a=b", "the effect one of NoSchedule, PreferNoSchedule, NoExecute"),
        (types.taint, "=b:NoExecute", "name part must be non-empty"),
        (types.endpoint, "unix:///" + "x" * 107, "a Unix socket of at most 107 bytes"),
        (types.existing_directory, "/dev/null", "must be a directory that exists"),
        (types.absolute, "/a/../b", "must be an absolute path without .."),
    ],
)  # fmt: skip
def test_what_is_refused(parse: Callable[[str], Any], text: str, why: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse(text)
    assert why in str(refused.value)


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert types.existing_file(str(tmp_path / "file")) == tmp_path / "file"
    with pytest.raises(ValueError, match="must be a file that can be read: Is a directory"):
        types.existing_file(str(tmp_path))
    with pytest.raises(ValueError, match=f"must be a directory, but {tmp_path}/file is none"):
        types.directory(str(tmp_path / "file" / "below"))
