"""No setting of any program takes nonsense: each refuses with its own name, the value and what is allowed, and nothing is made."""

import os
import subprocess
import sys
import typing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from kapi import settings
from tests.cli.programs import PROGRAMS, Program

JUNK = (
    "", "nonsense !", "-1", "0", "70000", "99999999999999999999", "1e400", "nan", "1_000", "0x10", "٣", "1.2.3", "1.2.3.4/99", "::/129",
    "fe80::1%eth0", "10.0.0.0/30", "a/b/c/d=true", "no.such.group/v1=true", "api/all=false", "a=b=c", "=", ",", "a:b", "Bad Name!",
    "x" * 300, "/dev/null/x", "/" + "x" * 300, "sqlite://x", "tcp://host:1", "unix://relative", "\udcff", "\u202e", "\n", "cpu=-1",
    "memory.available<x", "nodefs.available<101%", "%s %(prog)s {0}",
)  # fmt: skip
FREE = {"identity", "documents"}
"""Fields that take (nearly) any text: a holder's name, names that the server knows."""
FLAGS = [(program, field.name) for program in PROGRAMS for field in settings.options(program.cls)]


def hint(program: Program, name: str) -> Any:
    return typing.get_type_hints(program.cls, include_extras=True)[name]


def given(program: Program, name: str, text: str) -> list[str]:
    """A command line with one value; what is required besides is there."""
    required = {p: (settings.choices(hint(program, p)) or [os.devnull])[0] for p in program.positional if p not in ("name", "documents")}
    words = [text if p == name else required[p] for p in program.positional if p == name or p in required]
    return ["--", *words] if name in program.positional else [f"{settings.flag_of(name)}={text}", *words]


def refusal(program: Program, line: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line a command line is refused with, '' when it is taken."""
    try:
        settings.parse(program.parser(), program.cls, line)
    except SystemExit as ended:
        status = ended.code
    else:
        return ""
    output = capsys.readouterr().err
    assert (status, output.count("\n")) == (2, 1), output
    return output


@pytest.mark.parametrize(("program", "name"), FLAGS, ids=lambda p: p if isinstance(p, str) else p.name)
def test_junk(program: Program, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    refused = 0
    for text in JUNK:
        if sentence := refusal(program, given(program, name, text), capsys):
            refused += 1
            assert sentence.startswith(f"{program.name}: error: ")
            assert (name if name in program.positional else settings.flag_of(name)) in sentence
            assert "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text[: settings.SHOWN]) in sentence
    assert list(tmp_path.iterdir()) == []
    if name in FREE:
        assert refused >= 0
    elif hint(program, name) is bool:
        assert refused == len(JUNK), "a switch takes no value"
    else:
        assert refused > 2, f"takes {len(JUNK) - refused} of {len(JUNK)} pieces of junk"


REFUSED = {
    "kapi apiserver --port 70000": "argument --port: invalid value '70000': must be between 1 and 65535, inclusive",
    "kapi apiserver --port 0": "argument --port: invalid value '0': must be between 1 and 65535, inclusive",
    "kapi up --simulate --port 0": "argument --port: invalid value '0': must be between 1 and 65535, inclusive",
    "kapi apiserver --service-cluster-ip-range 1.2.3": "argument --service-cluster-ip-range: invalid value '1.2.3': must be a valid CIDR",
    "kapi apiserver --service-cluster-ip-range 10.0.0.0/30": "the service cluster IP range must be at least 8 IP addresses",
    "kapi apiserver --service-cluster-ip-range fd00::/108": '"fd00::/108" must match public address family "127.0.0.1"',
    "kapi up --simulate --nodes -1": "argument --nodes: invalid value '-1': must be an integer of at least 1",
    "kapi up --simulate --node-name Bad_Name!": "argument --node-name: invalid value 'Bad_Name!': a lowercase RFC 1123 subdomain must",
    "kapi up --simulate --pod-cidr nonsense": "argument --pod-cidr: invalid value 'nonsense': must be a valid CIDR value",
    "kapi simulated --pod-cidr 255.255.255.0/24 --nodes 2": "--pod-cidr 255.255.255.0/24 leaves no room for the pods of 2 nodes",
    "kapi up --simulate --pod-cidr 255.255.0.0/16 --nodes 2": "--pod-cidr 255.255.0.0/16 leaves no room for the pods of 2 nodes",
    "kapi apiserver --runtime-config nonsense": "argument --runtime-config: invalid value 'nonsense': runtime-config invalid key nonsense",
    "kapi apiserver --runtime-config no/v1=true": "unknown api groups no",
    "kapi apiserver --storage sqlite://x": "argument --storage: invalid value 'sqlite://x': must be \"memory:\" or the path of",
    "kapi apiserver --data-dir /dev/null": "argument --data-dir: invalid value '/dev/null': must be a directory",
    "kubelet --image-gc-high-threshold 50": "--image-gc-low-threshold 80 must be less than --image-gc-high-threshold 50",
    "kubelet --nodes 2": "--nodes 2 needs --simulate",
    "kubelet --tls-cert-file /dev/null": "--tls-cert-file and --tls-private-key-file must be given together",
    "kubelet --eviction-hard memory.available<x": "quantities must match",
    "python -m conformance.soak --clients 0": "argument --clients: invalid value '0': must be an integer of at least 1",
    "python -m bench --seconds nan": "argument --seconds: invalid value 'nan': must be a duration greater than zero",
    "kapi apiserver --prot 1": "unrecognized arguments: --prot 1; did you mean --port?",
    "kapi image remove x": "argument action: invalid value 'remove': must be load",
    "kapi apiservr": 'unknown command "apiservr"; did you mean apiserver?',
}
"""A command line, and a part of the one sentence that is said."""


@pytest.mark.parametrize("line", REFUSED)
@pytest.mark.slow
def test_one_sentence(line: str, tmp_path: Path) -> None:
    """As a user sees it: a process of its own."""
    program, *rest = line.split()
    command = [sys.executable, *rest] if program == "python" else [sys.executable, "-m", program, *rest]
    places = {"KAPI_DATA_DIR": str(tmp_path / "data"), "KUBECONFIG": str(tmp_path / "config"), "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, **places}, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert REFUSED[line] in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.name)
def test_defaults_are_allowed(program: Program) -> None:
    """What help shows as the default may be given, and means the same."""
    by_default = settings.parse(program.parser(), program.cls, given(program, "", "")[1:])
    for field in settings.options(program.cls):
        form, value = settings.form_of(hint(program, field.name)), getattr(by_default, field.name)
        if value and not isinstance(value, bool) and field.name not in program.positional and field.name != "pki":
            line = given(program, field.name, form.show(value))
            assert getattr(settings.parse(program.parser(), program.cls, line), field.name) == value


def test_every_field_is_typed() -> None:
    """A field that any text will do for is one that is listed."""
    plain = {field.name for program in PROGRAMS for field in fields(program.cls) if hint(program, field.name) is str}
    assert plain <= FREE | {"cluster_ca"}


@dataclass(frozen=True)
class Percent:
    rate: str = "10%"
    """100 % of %s and %(prog)s."""


def test_percent_signs_in_help(capsys: pytest.CaptureFixture[str]) -> None:
    parser = settings.Parser("sample", "50 % off", ("sample --rate 3%",))
    settings.add_arguments(parser, Percent)
    with pytest.raises(SystemExit, match="0"):
        parser.parse_args(["--help"])
    output = capsys.readouterr().out
    for text in ("100 % of %s and %(prog)s. (default: 10%)", "50 % off", "sample --rate 3%"):
        assert text in output
