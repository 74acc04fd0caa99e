"""`kapi doctor`: what it finds on machines that lack something, and that it changes nothing; a damaged cluster made whole again."""

import contextlib
import json
import os
import pty
import resource
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

import certs
from kapi.cli import cleanup, doctor, processes
from kapi.cli import commands as cli
from kapi.cli.checks import CHECKS, Finding, Scope, cluster, kernel, limits, network, programs, running, user
from tests.e2e.cluster import free_port
from tests.storage.served import MAPS, command, create, serving

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes bridges and nft tables, and becomes another user")


@pytest.fixture
def scope(tmp_path: Path) -> Scope:
    return Scope(tmp_path / "data", port=free_port())


def rows(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Finding]]:
    status = cli.main(["doctor", "-o", "json", *arguments])
    found = json.loads(capsys.readouterr().out)
    return status, {row.pop("what"): Finding(**row) for row in found}


def snapshot(directory: Path) -> dict[str, object]:
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"") for path in directory.rglob("*")}


def test_every_row_says_what_it_found(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, found = rows(capsys, "--data-dir", str(tmp_path / "data"), "--port", str(free_port()))
    assert list(found) == [check.name for check in CHECKS]
    for name, finding in found.items():
        assert finding.found, name
        assert "\n" not in finding.found, name
        assert bool(finding.mend) == (finding.state != "ok"), name
    assert status == any(finding.state == "wrong" for finding in found.values())
    assert not (tmp_path / "data").exists()


def test_a_simulated_cluster_needs_less(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    _, found = rows(capsys, "--simulate", "--data-dir", str(tmp_path / "data"), "--port", str(free_port()))
    assert found.keys() == {check.name for check in CHECKS if not check.containers}
    assert found["user"].state == "ok"


def test_lines_for_people(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.com:3128")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    (tmp_path / "kapi.db").write_bytes(b"")
    assert cli.main(["doctor", "--simulate", "--data-dir", str(tmp_path), "--port", str(free_port())]) == 1
    output = capsys.readouterr().out
    lines = output.splitlines()
    assert "\033" not in output
    assert "! proxies: HTTPS_PROXY would be asked for 127.0.0.1, localhost, 10.96.0.0/12" in output
    assert "; to mend: export NO_PROXY=127.0.0.1,localhost,10.96.0.0/12,10.244.0.0/16,.svc,.cluster.local no_proxy=" in output
    assert f"; to mend: kapi doctor --repair --data-dir {tmp_path}" in next(line for line in lines if line.startswith("✗ database: "))
    assert lines[-1].startswith(f"{len(lines) - 1} looked at: ")


def test_a_check_that_cannot_look_says_so(scope: Scope) -> None:
    def look(scope: Scope) -> Finding:
        raise PermissionError(13, "Permission denied", "/proc/secret")

    found = doctor.run_check(CHECKS[0].__class__("it", look), scope)
    assert (found.state, found.found) == ("odd", "cannot be told: /proc/secret: Permission denied")


# --- user


def test_containers_need_root(scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert user.privileges(scope).state == "wrong"
    assert user.privileges(Scope(scope.data_dir, simulate=True)).state == "ok"


@pytest.mark.parametrize(
    ("without", "state", "found"),
    [
        ((), "ok", "all that containers need"),
        ((24,), "odd", "missing: CAP_SYS_RESOURCE; processes are not protected from the OOM killer"),
        ((27,), "odd", "missing: CAP_MKNOD"),
        ((12, 21, 24), "wrong", "missing: CAP_NET_ADMIN, CAP_SYS_ADMIN"),
    ],
)
def test_capabilities(without: tuple[int, ...], state: str, found: str) -> None:
    finding = user.of_mask(((1 << 41) - 1) & ~sum(1 << bit for bit in without))
    assert (finding.state, finding.found) == (state, found)


@pytest.mark.parametrize(
    ("content", "mode", "state", "found"),
    [
        (b"apiVersion: v1\nkind: Config\n", 0o600, "ok", ""),
        (b"", 0o600, "ok", ""),
        (b"apiVersion: v1\n", 0o644, "odd", "can be read by others"),
        (b"a: b: c", 0o600, "wrong", "is no YAML"),
        (b"\xff\xfe\x00", 0o600, "wrong", "is no YAML"),
        (b"just words", 0o600, "wrong", "is no kubeconfig"),
    ],
)
def test_a_kubeconfig(
    scope: Scope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, mode: int, state: str, found: str
) -> None:  # fmt: skip
    path = tmp_path / "config"
    path.write_bytes(content)
    path.chmod(mode)
    monkeypatch.setenv("KUBECONFIG", str(path))
    finding = user.kubeconfig(scope)
    assert finding.state == state
    assert found in finding.found


def test_a_kubeconfig_that_was_left_locked(scope: Scope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    lock = tmp_path / "config.lock"
    lock.touch()
    assert user.kubeconfig(scope).state == "ok", "kubectl may be at work"
    os.utime(lock, (time.time() - 3600,) * 2)
    assert user.kubeconfig(scope).mend == f"rm {lock}"


def test_a_kubeconfig_that_cannot_be_made(scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/dev/null")
    finding = user.kubeconfig(scope)
    assert finding.state == "odd"
    assert finding.found.startswith("no context can go into /dev/null: it is not a regular file")
    assert finding.mend == "name another file in KUBECONFIG, or start clusters with --no-kubeconfig"


def test_paths_in_commands_are_quoted(scope: Scope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what mends a file can be pasted."""
    path = tmp_path / "my config"
    monkeypatch.setenv("KUBECONFIG", str(path))
    path.write_text("}")
    assert shlex.split(user.kubeconfig(scope).mend) == ["mv", str(path), f"{path}.broken"]
    path.write_text("")
    path.chmod(0o644)
    assert shlex.split(user.kubeconfig(scope).mend) == ["chmod", "600", str(path)]
    path.with_name("my config.lock").touch()
    os.utime(path.with_name("my config.lock"), (0, 0))
    assert user.kubeconfig(scope).mend.startswith(f"rm '{path}.lock'")
    monkeypatch.setattr(limits, "LITTLE_DISK", 1 << 60)
    monkeypatch.setattr(limits, "FEW_INODES", 1 << 60)
    place = tmp_path / "a place"
    place.mkdir()
    there = replace(scope, data_dir=place)
    assert f"'{place}'" in limits.disk_space(there).mend
    assert f"'{place}'" in limits.inodes(there).mend


def test_some_ports_are_its_own_and_others_free(scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a simulated cluster, when one with containers is asked about."""
    server = running.Running(7, "kapi simulated", scope.data_dir, False)
    monkeypatch.setattr(network, "_listening", lambda: {scope.port: {"1"}})
    monkeypatch.setattr(network, "_holder", lambda inodes: server)
    monkeypatch.setattr(network, "running", lambda: [server])
    assert network.ports(scope) == Finding("ok", f"{scope.port}: held by this cluster; 10250, 10257, 10259: free")


def test_a_directory_whose_path_is_too_long(scope: Scope, tmp_path: Path) -> None:
    long = replace(scope, data_dir=tmp_path / ("d" * 100))
    assert cluster.directory(replace(long, simulate=True)).state == "ok"
    finding = cluster.directory(long)
    assert (finding.state, finding.mend) == ("wrong", "name another with --data-dir")
    assert "104 are allowed" in finding.found


# --- kernel, programs, limits


def test_programs_that_are_missing(scope: Scope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runc").write_text("#!/bin/sh\necho runc version 1.1.5\n")
    (tmp_path / "runc").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    finding = programs.programs(scope)
    assert finding.found == "missing: containerd, ctr, nft, ip, conntrack, catatonit, busybox"
    assert finding.mend == "apt-get install --no-install-recommends busybox-static catatonit conntrack containerd iproute2 nftables"
    assert programs.version(str(tmp_path / "runc")) == "1.1.5"
    assert programs.kubectl(scope).state == "odd"
    assert kernel.nftables(scope).mend == "apt-get install --no-install-recommends nftables"


@pytest.mark.parametrize(
    ("version", "state"), [("v1.36.0", "ok"), ("v1.35.9", "ok"), ("v1.37.2", "ok"), ("v1.34.0", "odd"), ("v2.36.0", "odd"), ("junk", "odd")]
)
def test_versions_of_kubectl(version: str, state: str) -> None:
    assert programs.skew(version).state == state


def test_packages_of_python(scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    assert programs.python(scope).state == "ok"
    monkeypatch.setattr(metadata, "requires", lambda name: ["orjson>=99", "nosuchthing", "PyYAML>=6", 'pytest>=99; extra == "dev"'])
    finding = programs.python(scope)
    assert finding.state == "wrong"
    assert finding.found.endswith("missing or too old: orjson>=99, nosuchthing")


def test_a_kernel_that_lacks_something(monkeypatch: pytest.MonkeyPatch, scope: Scope) -> None:
    monkeypatch.setattr(kernel, "configuration", lambda: {"CONFIG_BRIDGE": "m"})
    assert kernel.lacks("no_such_module", "CONFIG_NO_SUCH_MODULE")
    assert not kernel.lacks("no_such_module", "CONFIG_BRIDGE")
    assert kernel.bridge(scope) == Finding("wrong", "the kernel has no veth", "run a kernel with CONFIG_BRIDGE and CONFIG_VETH")
    monkeypatch.setattr(kernel, "configuration", dict)
    assert not kernel.lacks("no_such_module", "CONFIG_NO_SUCH_MODULE"), "not known is not lacking"


def test_limits_that_are_low(scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "text", lambda path: "128" if "instances" in str(path) else "1000000")
    assert limits.inotify(scope) == Finding("odd", "max_user_instances is 128", "sysctl -w fs.inotify.max_user_instances=512")
    for files, state in ((100, "wrong"), (1024, "odd"), (65536, "ok")):
        monkeypatch.setattr(resource, "getrlimit", lambda kind, files=files: (min(files, 256), files))
        finding = limits.open_files(scope)
        assert finding.state == state, "components raise the limit to the hard one"
        assert "4096" in finding.mend or state == "ok"


@pytest.mark.parametrize(
    ("mounts", "state", "found"),
    [
        ("1 0 8:1 / / rw - ext4 /dev/sda1 rw", "ok", "/ (ext4)"),
        ("1 0 8:1 / / rw - ext4 /dev/sda1 ro", "wrong", "/ is mounted read-only"),
        ("1 0 8:1 / / rw,noexec - ext4 /dev/sda1 rw", "wrong", "/ is mounted noexec: containers do not run on it"),
        ("1 0 0:9 / / rw - overlay overlay rw", "wrong", "/ is an overlay"),
        ("1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:9 / /tmp rw - tmpfs tmpfs rw", "odd", "/tmp is kept in memory"),
        ("1 0 8:1 / / ro - ext4 /dev/sda1 ro\n2 1 8:2 / /tmp rw - xfs /dev/b rw", "ok", "/tmp (xfs)"),
        ("1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:9 / /tmpx ro - tmpfs tmpfs rw", "ok", "/ (ext4)"),
        ("1 0 0:5 / / rw - nfs4 server:/ rw", "odd", "/ is nfs4"),
    ],
)
def test_how_the_directory_is_mounted(monkeypatch: pytest.MonkeyPatch, mounts: str, state: str, found: str) -> None:
    monkeypatch.setattr(limits, "text", lambda path: mounts)
    finding = limits.mount(Scope(Path("/tmp/no-such-directory")))
    assert (finding.state, finding.found[: len(found)]) == (state, found)


def test_a_full_disk(scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    for free, state in ((1 << 20, "wrong"), (1 << 30, "odd"), (1 << 34, "ok")):
        monkeypatch.setattr(shutil, "disk_usage", lambda place, free=free: shutil._ntuple_diskusage(1 << 40, 0, free))
        assert limits.disk_space(scope).state == state


def test_a_clock_that_is_behind(scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    certs.ensure(scope.data_dir / "pki")
    assert limits.clock(scope).state != "wrong"
    monkeypatch.setattr(time, "time", lambda: 1_000_000_000.0)
    finding = limits.clock(scope)
    assert finding.state == "wrong"
    assert finding.found.startswith("it is 2001-09-09 01:46:40 UTC, before admin.crt, ")


# --- network


def test_a_port_that_is_taken(scope: Scope) -> None:
    simulated = Scope(scope.data_dir, port=scope.port, simulate=True)
    assert network.ports(simulated) == Finding("ok", f"{scope.port}: free")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", scope.port))
        taken.listen()
        finding = network.ports(simulated)
    name = Path(f"/proc/{os.getpid()}/cmdline").read_bytes().split(b"\0")[0].decode().rpartition("/")[2]
    assert finding.state == "wrong"
    assert finding.found.startswith(f"{scope.port}, for the API server, is taken by ")
    assert finding.found.endswith(f"(pid {os.getpid()})")
    assert name in finding.found or "pytest" in finding.found


@pytest.mark.parametrize(
    ("environment", "caught"),
    [
        ({}, ""),
        ({"FTP_PROXY": "x"}, ""),
        ({"http_proxy": "x", "no_proxy": "*"}, ""),
        ({"http_proxy": "x", "no_proxy": "localhost,127.0.0.0/8,10.0.0.0/8,.svc,.cluster.local"}, ""),
        ({"http_proxy": "x", "no_proxy": "localhost, 127.0.0.1, 10.96.0.0/12, 10.244.0.0/16, .svc, cluster.local"}, ""),
        ({"https_proxy": "x", "NO_PROXY": "localhost,127.0.0.1,.svc,.cluster.local,10.96.0.0/16"}, "10.96.0.0/12, 10.244.0.0/16"),
        ({"ALL_PROXY": "x", "no_proxy": "10.0.0.0/8,localhost,127.0.0.1"}, ".svc, .cluster.local"),
    ],
)
def test_proxies_in_the_environment(environment: dict[str, str], caught: str) -> None:
    finding = network.of_environment(environment)
    assert finding.state == ("odd" if caught else "ok")
    assert finding.found.endswith(f" would be asked for {caught}" if caught else finding.found)


# --- clusters


def test_commands_of_clusters_are_known() -> None:
    def known(*words: str) -> tuple[Path | None, bool]:
        found = running.of_command(1, list(words))
        return found.data_dir, found.shim

    assert known("/usr/bin/python3", "-m", "kapi", "apiserver", "--data-dir", "/a/b", "--port", "1") == (Path("/a/b"), False)
    assert known("/usr/bin/python3", "-m", "kapi", "control", "--pki", "/a/b/pki", "--table", "kapi") == (Path("/a/b"), False)
    assert known("/usr/bin/python3", "-m", "kubelet", "--root-dir", "/a/b/kubelet") == (Path("/a/b"), False)
    assert known("/usr/sbin/nginx", "--data-dir", "/a/b") == (None, False)
    assert known("vi") == (None, False)


@needs_root
def test_a_directory_of_another_user_is_not_looked_into(tmp_path: Path) -> None:
    (tmp_path / "closed" / "pki").mkdir(parents=True)
    (tmp_path / "closed").chmod(0o700)
    words = ["/usr/bin/containerd", "--root", str(tmp_path / "closed" / "containerd")]
    assert running.of_command(1, words).data_dir == tmp_path / "closed"
    os.seteuid(65534)
    try:
        assert running.of_command(1, words).data_dir is None
    finally:
        os.seteuid(0)


def test_a_directory_others_can_read(scope: Scope) -> None:
    assert cluster.directory(scope).state == "ok"
    scope.data_dir.mkdir(mode=0o755)
    assert cluster.directory(scope) == Finding("wrong", f"others can read {scope.data_dir}", f"chmod -R go= {scope.data_dir}")
    scope.data_dir.chmod(0o700)
    assert cluster.directory(scope).state == "ok"
    scope.data_dir.rmdir()
    scope.data_dir.touch()
    assert cluster.directory(scope).state == "wrong"


def test_a_directory_of_somebody_s_files(scope: Scope) -> None:
    scope.data_dir.mkdir(mode=0o755)
    (scope.data_dir / "letter").write_text("dear all")
    finding = cluster.directory(scope)
    assert (finding.state, finding.found) == ("wrong", f"{scope.data_dir} is not a data directory of kapi")
    assert "chmod" not in finding.mend


def test_certificates(scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cluster.certificates(scope) == Finding("ok", "none yet")
    pki = scope.data_dir / "pki"
    certs.ensure(pki)
    assert cluster.certificates(scope).found.startswith("9 valid, the first until ")
    now = time.time()
    for days, word in ((340, "ends"), (366, "ended")):
        with monkeypatch.context() as later:
            later.setattr(time, "time", lambda days=days: now + 86400 * days)
            finding = cluster.certificates(scope)
        assert f"{pki}/apiserver.crt {word} on " in finding.found
        assert finding.mend == f"kapi down --data-dir {scope.data_dir} && kapi up --data-dir {scope.data_dir}"
    (pki / "admin.crt").write_text("junk")
    (pki / "ca.key").unlink()
    assert cluster.certificates(scope).found == f"{pki}/admin.crt is no certificate; {pki}/ca.crt has no key beside it"
    (pki / "replaced" / "20260101T000000Z").mkdir(parents=True)
    (pki / "admin.crt").rename(pki / "replaced" / "20260101T000000Z" / "admin.crt")
    assert cluster.certificates(scope).found == f"{pki}/ca.crt has no key beside it", "what was set aside is left out"


def test_what_killed_clusters_left(scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two clusters one was killed: what is the other's is not spoken of."""
    own = cleanup.machine_names(scope.data_dir)
    shim = ("/usr/bin/containerd-shim-runc-v2", "-namespace", "k8s.io", "-address", f"{scope.data_dir}/containerd/containerd.sock")
    (scope.data_dir / "pki").mkdir(parents=True)
    there = [running.of_command(7, list(shim)), running.of_command(8, ["python", "-m", "kapi", "apiserver", "--data-dir", "/other"])]
    monkeypatch.setattr(cluster, "processes_of", lambda: iter(there))
    monkeypatch.setattr(
        cluster, "_tables", lambda names: [] if "kapi" in names else [(own.table, f"nft table ip {own.table}", "nft …")]
    )
    monkeypatch.setattr(cluster, "_links", lambda names: [])
    monkeypatch.setattr(cluster, "_cgroups", lambda names: [])
    finding = cluster.leftovers(scope)
    assert finding.found == f"1 pods of {scope.data_dir}; nft table ip {own.table}"
    assert finding.mend == f"kapi down --data-dir {scope.data_dir}"


def test_a_socket_nobody_answers_on(scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    path = cleanup.runtime(scope.data_dir).socket
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        assert cluster.containerd(scope).found == f"{path} answers"
    assert cluster.containerd(scope) == Finding("ok", "not running")
    alive = running.of_command(7, ["python", "-m", "kapi", "apiserver", "--data-dir", str(scope.data_dir)])
    monkeypatch.setattr(cluster, "processes_of", lambda: iter([alive]))
    assert cluster.containerd(scope).state == "wrong"


LEFT = """
mount -t sysfs sysfs /sys
ip link add kapi-deadbeef type bridge
ip link add other0 type bridge
nft add table ip kapi-deadbeef
nft add table ip6 kapi-deadbeef-pods
nft add table ip other
exec "$0" -m kapi doctor --data-dir "$1"
"""
"""In a network of its own, what a killed cluster leaves."""


@pytest.mark.slow
@needs_root
def test_bridges_and_tables_of_killed_clusters(tmp_path: Path) -> None:
    alone = ["unshare", "--net", "--mount", "sh", "-e", "-c", LEFT, sys.executable, str(tmp_path)]
    looked = subprocess.run(alone, capture_output=True, text=True, timeout=60, check=False)
    assert looked.stderr == ""
    row = next(line for line in looked.stdout.splitlines() if " leftovers: " in line)
    for thing, mend in (
        ("bridge kapi-deadbeef", "ip link delete kapi-deadbeef"),
        ("nft table ip kapi-deadbeef", "nft delete table ip kapi-deadbeef"),
        ("nft table ip6 kapi-deadbeef-pods", "nft delete table ip6 kapi-deadbeef-pods"),
    ):
        found, _, way = row.partition("; to mend: ")
        assert thing in found
        assert mend in way
    assert "other" not in row


STRANGER = """
import os, sys
from pathlib import Path
from kapi.cli import doctor

given = doctor.Settings(Path(sys.argv[1]), simulate=sys.argv[2] == "simulate", port=int(sys.argv[3]), output="json")
doctor.run(given)
os.setuid(65534)
print("\\0")
sys.exit(doctor.run(given))
"""
"""The doctor as another user; everything is loaded before, since Python may lie where others cannot read it."""


def as_nobody(directory: Path, kind: str, port: int) -> tuple[dict[str, dict[str, str]], int]:
    """The rows, and the exit status."""
    looked = subprocess.run(
        [sys.executable, "-c", STRANGER, str(directory), kind, str(port)], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "HOME": "/nonexistent", "KUBECONFIG": "/nonexistent/config"},
    )  # fmt: skip
    assert looked.stderr == ""
    return {row["what"]: row for row in json.loads(looked.stdout.partition("\0")[2])}, looked.returncode


@pytest.mark.slow
@needs_root
@pytest.mark.parametrize("kind", ["simulate", "containers"])
def test_the_doctor_without_root(tmp_path: Path, kind: str) -> None:
    directory = tmp_path / "mine"
    directory.mkdir(mode=0o700)
    for parent in (tmp_path, *list(tmp_path.parents)[:2]):
        parent.chmod(0o711)
    port = free_port()
    found, code = as_nobody(directory, kind, port)
    assert found["user"]["state"] == ("ok" if kind == "simulate" else "wrong")
    assert found["data directory"]["found"] == f"{directory} belongs to root, not to nobody"
    ask = shlex.split(found["data directory"]["mend"])
    assert ask[0] == "sudo"
    assert ask[ask.index("doctor") :] == [
        "doctor", *(["--simulate"] if kind == "simulate" else []), "--port", str(port), "--data-dir", str(directory)
    ]
    assert list(found) == [check.name for check in CHECKS if not check.inside and (kind == "containers" or not check.containers)]
    assert [row for row in found.values() if "cannot be told" in row["found"]] == []
    assert code == 1


@pytest.mark.slow
@needs_root
def test_a_directory_that_is_hidden(tmp_path: Path) -> None:
    """It is in another user's closed directory: one row says so, whether it is there or not."""
    closed = tmp_path / "closed"
    (closed / "home" / "data").mkdir(parents=True)
    closed.chmod(0o700)
    for parent in (tmp_path, *list(tmp_path.parents)[:2]):
        parent.chmod(0o711)
    for directory in (closed / "home" / "data", closed / "nothing"):
        found, _ = as_nobody(directory, "containers", free_port())
        assert found["data directory"]["found"] == f"{directory} can't be looked into: {closed} belongs to root, not to nobody"
        assert [row for row in found.values() if "cannot be told" in row["found"]] == []


@pytest.mark.slow
def test_colours_only_on_a_terminal(tmp_path: Path) -> None:
    output = {}
    for colours in ("", "1"):
        ours, theirs = pty.openpty()
        arguments = processes.python("kapi", "doctor", "--simulate", "--data-dir", str(tmp_path), "--port", str(free_port()))
        child = subprocess.Popen(arguments, stdout=theirs, stderr=theirs, env={**os.environ, "NO_COLOR": colours})
        os.close(theirs)
        text = b""
        with contextlib.suppress(OSError):  # the other end is closed
            while part := os.read(ours, 65536):
                text += part
        os.close(ours)
        child.wait()
        output[colours] = text.decode()
    assert "\033[32m✓\033[0m user: " in output[""]
    assert "… user\r" in output[""]
    assert "\r✓ user: " in output["1"].replace("\033[K", "")


# --- a cluster that is damaged


@pytest.mark.slow
def test_a_damaged_cluster_is_refused_repaired_and_started(tmp_path: Path) -> None:
    port = free_port()
    with serving(tmp_path, port) as server:
        for number in range(20):
            status, newest = create(server, f"m{number}")
            assert status == 201
        busy = command("doctor", "--repair", "--data-dir", str(tmp_path))
        assert busy.stderr == f"kapi doctor: The data in {tmp_path}/kapi.db is in use by another server.\n"
        running = command("doctor", "--simulate", "--data-dir", str(tmp_path), "--port", str(port)).stdout
        assert "✓ database: in use by a running server" in running
        assert f"✓ ports: {port}: held by this cluster" in running
        other = command("doctor", "--simulate", "--data-dir", str(tmp_path / "other"), "--port", str(port)).stdout
        assert f"✗ ports: {port}, for the API server, is taken by kapi apiserver (pid {server.pid}), a cluster of {tmp_path}" in other
    with contextlib.closing(sqlite3.connect(tmp_path / "kapi.db")) as db:
        db.execute("UPDATE log SET body = 'nonsense' WHERE key = '/core/configmaps/default/m7'")
        db.commit()
    refused = command("apiserver", "--data-dir", str(tmp_path), "--port", str(port))
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "object /core/configmaps/default/m7 (revision " in refused.stderr
    assert f"`kapi doctor --repair --data-dir {tmp_path}`" in refused.stderr
    before = snapshot(tmp_path)
    looked = command("doctor", "--simulate", "--data-dir", str(tmp_path), "--port", str(port))
    assert looked.returncode == 1
    assert "✗ database: object /core/configmaps/default/m7" in looked.stdout
    assert snapshot(tmp_path) == before
    mended = command("doctor", "--repair", "--simulate", "--data-dir", str(tmp_path), "--port", str(port))
    assert "object /core/configmaps/default/m7" in mended.stderr
    assert "✓ database: " in mended.stdout
    assert (
        command("doctor", "--repair", "--simulate", "--data-dir", str(tmp_path)).stderr
        == f"There is nothing to repair in {tmp_path}/kapi.db.\n"
    )
    with serving(tmp_path, port) as server:
        _, found = server.ask("GET", MAPS)
        assert {item["metadata"]["name"] for item in found["items"]} == {"kube-root-ca.crt", *(f"m{n}" for n in range(20) if n != 7)} - {
            "kube-root-ca.crt"
        }
        assert int(found["metadata"]["resourceVersion"]) > newest
        status, late = server.ask("GET", f"{MAPS}?watch=true&resourceVersion={newest}&timeoutSeconds=1")
        assert (late["object"]["code"] if status == 200 else late["code"]) == 410
