"""`kapi version`: of this program, of the cluster that runs, and of what pods need of the machine."""

import asyncio
import json
import platform
import re
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

import kapi
from kapi.cli.cluster import ClusterSettings
from kapi.client import config
from kapi.documents.version import VERSION
from kapi.objects import errors
from kapi.process import reason

_PROGRAMS = ("containerd", "runc")
SECONDS = 5.0
"""Timeout of the API server and of programs that print their version."""


@dataclass(frozen=True)
class Settings(ClusterSettings):
    """Versions."""

    output: Literal["text", "json", "yaml"] = field(default="text", metadata={"short": "-o"})
    """How they are printed."""
    client: bool = False
    """Of this program only; no cluster is asked."""


def run(settings: Settings) -> int:
    """Print them. Returns 0 also when the cluster does not run."""
    versions: dict[str, Any] = {"clientVersion": VERSION, "kapiVersion": kapi.__version__}
    missing = ""
    if not settings.client:
        try:
            versions["serverVersion"] = asyncio.run(_server(settings.admin))
        except (OSError, errors.StatusError, config.ConfigError) as why:
            missing = _absent(settings.data_dir, why)
        versions["storage"] = _storage(settings.data_dir / "kapi.db")
        versions["machine"] = {"kernel": f"{platform.system()} {platform.release()}", **{name: _program(name) for name in _PROGRAMS}}
    if settings.output == "text":
        print("\n".join(_lines(versions)))
    else:
        print(json.dumps(versions, indent=2) if settings.output == "json" else yaml.safe_dump(versions, sort_keys=False).rstrip())
    if missing:
        print(missing, file=sys.stderr)
    return 0


def _absent(data_dir: Path, why: Exception) -> str:
    """Why there is no server version."""
    if isinstance(why, FileNotFoundError | NotADirectoryError | ConnectionRefusedError):
        return f"No cluster is running from {data_dir}."
    return f"The cluster in {data_dir} does not answer: {reason(why) or 'it takes too long'}."


def _lines(versions: dict[str, Any]) -> list[str]:
    """As kubectl prints versions."""
    lines = [f"Client Version: {VERSION['gitVersion']} (kapi {versions['kapiVersion']}, {VERSION['goVersion']})"]
    if server := versions.get("serverVersion"):
        lines.append(f"Server Version: {server['gitVersion']}")
    if storage := versions.get("storage"):
        lines.append(f"Storage: SQLite {storage['version']}, {storage['bytes'] / 2**20:.1f} MB in {storage['path']}")
    if machine := versions.get("machine"):
        lines += [f"{name}: {machine[name] or 'not installed'}" for name in _PROGRAMS]
        lines.append(f"Kernel: {machine['kernel']}")
    return lines


async def _server(kubeconfig: Path) -> dict[str, Any]:
    """The document of /version. Raises OSError, errors.StatusError, config.ConfigError."""
    client = config.connect(config.from_kubeconfig(kubeconfig), agent="kapi-version")
    try:
        async with asyncio.timeout(SECONDS):
            answer: dict[str, Any] = await client.send("GET", "/version")
            return answer
    finally:
        await client.close()


def _storage(database: Path) -> dict[str, Any] | None:
    """The database with what is still in its write-ahead log; None where there is none, or it is not ours to see."""
    parts = [database.with_name(database.name + suffix) for suffix in ("", "-wal")]
    try:
        size = sum(part.stat().st_size for part in parts if part.exists())
    except OSError:
        return None
    return {"kind": "sqlite", "version": sqlite3.sqlite_version, "bytes": size, "path": str(database)} if size else None


def _program(name: str) -> str:
    """'1.6.20' of `containerd --version`; '' when it is not installed."""
    path = shutil.which(name)
    if path is None:
        return ""
    output = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=SECONDS, check=False).stdout
    match = re.search(r"\bv?(\d+\.\d+[^\s]*)", output)
    return match[1] if match else "unknown"
